"""What a metric is: the interface, and the kind that is a function of sums."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

Better = Literal["lower", "higher"]


def sum_dtype(device: torch.device) -> torch.dtype:
    """Return the type in which sums are kept: float64, or float32 on Apple GPUs, which know no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


class Metric(ABC):
    """One figure per pass. Derive from `SumMetric` unless the figure cannot be had from sums.

    Attributes:
        name: Key of the figure in `learn.results` and in the history.
        better: Which values are better: "lower" or "higher".
        reads_pred: Whether `update` looks at the prediction; if no metric does, it need not be made.
    """

    name: str
    better: Better
    reads_pred: bool = True

    @abstractmethod
    def reset(self) -> None:
        """Forget everything: a pass begins."""

    @abstractmethod
    def update(self, pred: Tensor, target: Tensor, n: int, loss: Tensor) -> None:
        """Take in one batch. Must not wait for the device (no `item()`, no indexing by a mask).

        Args:
            pred: What the model predicts, (..., C).
            target: What it should predict, (...).
            n: Number of targets that count.
            loss: Mean loss of the batch, a detached scalar.
        """

    @abstractmethod
    def compute(self) -> float:
        """Return the figure of all batches since `reset`; NaN if there were none."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return what a run resumed in the middle of the pass needs: a flat dict of tensors and JSON values."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned.

        Args:
            state: The same keys and values, read from a file; tensors are on the CPU.
        """

    def is_better(self, new: float, old: float) -> bool:
        """Whether `new` is a better figure than `old`. NaN is worse than any number.

        Args:
            new: Figure of a later pass.
            old: Figure of an earlier pass, such as the best so far.
        """
        if math.isnan(new) or math.isnan(old):
            return math.isnan(old) and not math.isnan(new)
        return new < old if self.better == "lower" else new > old

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class SumMetric(Metric):
    """A metric that is a function of sums over the batches.

    A subclass says what one batch adds (`sums`) and what the figure is (`value`).

    Attributes:
        totals: The sums so far, a vector on the device; None before the first batch. Totals of several processes may
            be added up, and `compute` then gives the figure of them all.
    """

    def __init__(self) -> None:
        self.totals: Tensor | None = None

    @abstractmethod
    def sums(self, pred: Tensor, target: Tensor, n: int, loss: Tensor) -> Tensor:
        """Return what one batch adds: a vector, (K,), of the same length K for each batch, any numeric type.

        Args: as `Metric.update`.
        """

    @abstractmethod
    def value(self, totals: Sequence[float]) -> float:
        """Return the figure that belongs to the sums.

        Args:
            totals: The sums over all batches, as numbers.
        """

    def reset(self) -> None:
        """Forget everything: a pass begins."""
        self.totals = None

    @torch.no_grad()
    def update(self, pred: Tensor, target: Tensor, n: int, loss: Tensor) -> None:
        """Add the sums of one batch; a batch in which nothing counts adds nothing, whatever its loss."""
        if n == 0:
            return
        sums = self.sums(pred, target, n, loss)
        sums = sums.to(sum_dtype(sums.device))
        self.totals = sums if self.totals is None else self.totals.to(sums.device) + sums

    def compute(self) -> float:
        """Return the figure of all batches since `reset`; NaN if there were none."""
        return math.nan if self.totals is None else self.value(self.totals.tolist())

    def state_dict(self) -> dict[str, Any]:
        """Return the sums so far."""
        return {} if self.totals is None else {"totals": self.totals.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from sums that `state_dict` returned; they move to the device of the next batch."""
        totals = state.get("totals")
        self.totals = None if totals is None else totals.clone()
