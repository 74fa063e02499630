"""Dropout masks: random bits compared with a threshold.

Torch's own dropout draws one random number per element, serially on the CPU. Sixteen bits decide an element just as
well, so one 64-bit draw serves four of them: several times faster, from the same default generator, hence covered by
the generator state that a checkpoint keeps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from textxfer.chance import generator

_LEVELS = 2**16
_INT16_MIN, _INT16_MAX = -(2**15), 2**15 - 1


def keep_mask(shape: Sequence[int], p: float, like: Tensor) -> Tensor:
    """Draw a dropout mask: 0 with probability `p`, else 1 / (1 - p).

    The probability is exact to 1/65,536. On the CPU the numbers come from torch's default generator, or from the one
    that the thread has of its own (`own_generator`); on another device from that device's default generator.

    Args:
        shape: Shape of the mask, such as (1, B, E).
        p: Probability of a zero, 0 <= p < 1.
        like: A tensor that gives the mask its dtype and device.

    Returns:
        The mask, without gradient.

    Raises:
        ValueError: `p` is not a probability below 1.
    """
    return draw_kept(shape, p, like.device).to(like.dtype).mul_(1 / (1 - p))


def draw_kept(shape: Sequence[int], p: float, device: torch.device) -> Tensor:
    """Draw what a dropout keeps, a byte per element: True with probability 1 - `p`.

    The generator is that of `keep_mask`.

    Args:
        shape: Shape of the result, such as (4H, H).
        p: Probability of False, 0 <= p < 1.
        device: Where to draw.

    Returns:
        The truth values.

    Raises:
        ValueError: `p` is not a probability below 1.
    """
    check_dropout(p)
    n = math.prod(shape)
    own = generator() if device.type == "cpu" else None
    bits = torch.empty((n + 3) // 4, dtype=torch.int64, device=device).random_(-(2**63), None, generator=own)
    # Clamped because a threshold of 2**15 would not fit the 16 bits that it is compared with.
    threshold = min(round(p * _LEVELS) + _INT16_MIN, _INT16_MAX)
    return (bits.view(torch.int16)[:n] >= threshold).view(*shape)


def check_dropout(p: float, name: str = "p") -> None:
    """Refuse a dropout probability outside of [0, 1).

    Args:
        p: The probability.
        name: What the error calls it.

    Raises:
        ValueError: `p` is outside.
    """
    if not 0 <= p < 1:
        raise ValueError(f"{name} must be at least 0 and below 1, not {p!r}")
