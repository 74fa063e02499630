"""Concat pooling: last, maximum and mean of a document's states (Howard & Ruder 2018, 3.3).

Shapes: T time, B batch, E embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor

from textxfer.models.windows import Window, WindowPlan
from textxfer.upload import upload


def concat_pool(states: Tensor, lengths: Tensor) -> Tensor:
    """Pool the valid states of each row: [last, maximum, mean].

    Args:
        states: Left-aligned states, zero from `lengths[b]` on, (T, B, E).
        lengths: Valid steps of each row, at least 1, (B,), on the device of `states`.

    Returns:
        Pooled vectors in float32, or in float64 if the states are, (B, 3E).
    """
    states = states.to(_pooled_dtype(states.dtype))
    step = torch.arange(len(states), device=states.device)[:, None, None]
    rows = torch.arange(len(lengths), device=states.device)
    last = states[lengths - 1, rows]
    peak = states.masked_fill(step >= lengths[:, None], -torch.inf).max(dim=0).values
    return torch.cat([last, peak, states.sum(dim=0) / lengths[:, None]], dim=-1)


class StreamingPool:
    """`concat_pool` for states that arrive window by window and are not kept; without gradient.

    Args:
        plan: The plan of the windows.
        features: Size of the states, E.
        device: Device of the states.
        dtype: Dtype of the states; what is pooled is float64 if they are, and float32 otherwise.
    """

    def __init__(
        self, plan: WindowPlan, features: int, device: torch.device, dtype: torch.dtype = torch.float32
    ) -> None:
        self.plan = plan
        self._bounds = upload(torch.stack([plan.first_kept, plan.lengths]), device)
        self._last, self._total = torch.zeros(2, len(plan.lengths), features, device=device, dtype=_pooled_dtype(dtype))
        self._peak = torch.full_like(self._total, -torch.inf)

    def add(self, window: Window, states: Tensor) -> None:
        """Take in the states of the documents `skip` to `rows` of a window, (steps, rows - skip, E)."""
        states, rows = states.to(self._total.dtype), slice(window.skip, window.rows)
        step = torch.arange(window.start, window.stop, device=states.device)[:, None]
        first, stop = self._bounds[:, rows]
        outside = ((step < first) | (step >= stop)).unsqueeze(-1)
        self._total[rows] += states.masked_fill(outside, 0.0).sum(dim=0)
        self._peak[rows] = self._peak[rows].maximum(states.masked_fill(outside, -torch.inf).amax(dim=0))
        # Each window overwrites the last state of the documents it holds; the one a document ends in does so last.
        final = stop.clamp(max=window.stop) - 1 - window.start
        self._last[rows] = states[final, torch.arange(len(final), device=states.device)]

    def result(self) -> Tensor:
        """Return the pooled vectors, (B, 3E)."""
        kept = self._bounds[1] - self._bounds[0]
        return torch.cat([self._last, self._peak, self._total / kept[:, None]], dim=-1)


def _pooled_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return in what to pool: 16 bits are too few for a sum over a document."""
    return torch.promote_types(dtype, torch.float32)
