"""Schedules: functions of the share of a fit that is done. Pure values; `ParamSchedule` applies them.

A schedule of learning rates gives multipliers of a group's base rate, so that one schedule serves layer groups of
different rates; a schedule of momentum gives the momentum itself.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import accumulate
from typing import Any

from textxfer.training.schedule_base import Schedule, positive, schedule_from_dict

__all__ = [
    "Constant",
    "Cosine",
    "Linear",
    "OneCycle",
    "Piecewise",
    "Schedule",
    "SlantedTriangular",
    "one_cycle_momentum",
    "schedule_from_dict",
]


@dataclass(frozen=True)
class Constant(Schedule):
    """The same value throughout.

    Args:
        level: The value, >= 0.
    """

    level: float = 1.0

    def __post_init__(self) -> None:
        _check(self, "level", 0 <= self.level < math.inf, "at least 0")

    def value(self, fraction: float) -> float:
        """Return the level."""
        return self.level


@dataclass(frozen=True)
class Linear(Schedule):
    """A straight line.

    Args:
        start: First value, >= 0.
        end: Last value, >= 0.
    """

    start: float = 1.0
    end: float = 0.0

    def __post_init__(self) -> None:
        _check_ends(self, self.start, self.end)

    def value(self, fraction: float) -> float:
        """Return the mean of both ends, weighted by the fraction."""
        return _between(self.start, self.end, fraction)


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine wave: flat at both ends, steepest in the middle (Loshchilov & Hutter 2017).

    Args:
        start: First value, >= 0.
        end: Last value, >= 0.
    """

    start: float = 1.0
    end: float = 0.0

    def __post_init__(self) -> None:
        _check_ends(self, self.start, self.end)

    def value(self, fraction: float) -> float:
        """Return `start` at 0, `end` at 1, their mean at 1/2."""
        return _between(self.start, self.end, (1 - math.cos(math.pi * fraction)) / 2)


@dataclass(frozen=True)
class OneCycle(Schedule):
    """One cycle of the learning rate, with cosine slopes (Smith 2018; the shape is fastai's).

    Args:
        warmup: Share of the updates on the way up, in [0, 1).
        div: The first value is 1 / div, div >= 1.
        final_div: The last value is 1 / final_div, final_div >= 1.
    """

    warmup: float = 0.25
    div: float = 25.0
    final_div: float = 1e5

    def __post_init__(self) -> None:
        _check(self, "warmup", 0 <= self.warmup < 1, "at least 0 and less than 1")
        _check(self, "div", 1 <= self.div < math.inf, "at least 1")
        _check(self, "final_div", 1 <= self.final_div < math.inf, "at least 1")

    def value(self, fraction: float) -> float:
        """Return the multiple of the highest rate; it is 1 at `warmup`."""
        if fraction < self.warmup:
            return Cosine(1 / self.div, 1.0).value(fraction / self.warmup)
        return Cosine(1.0, 1 / self.final_div).value((fraction - self.warmup) / (1 - self.warmup))


@dataclass(frozen=True)
class SlantedTriangular(Schedule):
    """Slanted triangular learning rates: a short linear climb, a long linear descent (Howard & Ruder 2018, eq. 3).

    `at` is the paper's formula with its whole number of steps on the way up, `cut_steps = floor(n_steps * cut)`,
    but at least 1: with fewer than 1 / cut steps the paper's formula divides by zero. Where rounding makes the
    paper's `p` negative in the last steps, it is taken as 0. `value` is the same without rounding.

    Args:
        cut: Share of the updates on the way up, in (0, 1); cut_frac in the paper.
        ratio: How much smaller the lowest rate is than the highest, >= 1.
    """

    cut: float = 0.1
    ratio: float = 32.0

    def __post_init__(self) -> None:
        _check(self, "cut", 0 < self.cut < 1, "more than 0 and less than 1")
        _check(self, "ratio", 1 <= self.ratio < math.inf, "at least 1")

    def value(self, fraction: float) -> float:
        """Return the multiple of the highest rate; it is 1 at `cut`."""
        return self._height(fraction / self.cut if fraction < self.cut else (1 - fraction) / (1 - self.cut))

    def at(self, step: int, n_steps: int) -> float:
        """Return the multiple for update `step` (from 0) of `n_steps`: the formula of the paper."""
        # The small number: 100 * 0.29 is 28.999999999999996 in binary.
        cut_steps = max(1, math.floor(positive(n_steps) * self.cut + 1e-9))
        if step < cut_steps:
            return self._height(step / cut_steps)
        return self._height(1 - (step - cut_steps) / (cut_steps * (1 / self.cut - 1)))

    def _height(self, p: float) -> float:
        return (1 + max(p, 0.0) * (self.ratio - 1)) / self.ratio


@dataclass(frozen=True)
class Piecewise(Schedule):
    """Several schedules one after the other; each runs from its 0 to its 1 within its share of the updates.

    Where two parts meet the later one holds.

    Args:
        parts: Pairs (share of the updates, schedule); shares are positive and sum to 1 (within 1e-6).

    Raises:
        TypeError: A part is no schedule.
        ValueError: A share is not positive, or the shares do not sum to 1.
    """

    parts: tuple[tuple[float, Schedule], ...]

    def __post_init__(self) -> None:
        parts = tuple((share, schedule) for share, schedule in self.parts)
        object.__setattr__(self, "parts", parts)
        for share, schedule in parts:
            if not isinstance(schedule, Schedule):
                raise TypeError(f"Piecewise takes pairs (share, Schedule), not ({share!r}, {schedule!r})")
            if not 0 < share <= 1 + 1e-6:
                raise ValueError(f"Piecewise: a share must be more than 0 and at most 1, not {share!r}")
        total = math.fsum(share for share, _ in parts)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"Piecewise: the shares {[share for share, _ in parts]} sum to {total:.7g}, not to 1")

    @cached_property
    def ends(self) -> tuple[float, ...]:
        """Where each part ends, the last one at 1.

        Sums of fractions rather than of floats: after shares of 0.1 and 0.2 comes 0.3, which is what step 30 of
        100 computes, not 0.30000000000000004.
        """
        shares = [Fraction(share).limit_denominator(10**9) for share, _ in self.parts]
        return tuple(float(end / sum(shares)) for end in accumulate(shares))

    def value(self, fraction: float) -> float:
        """Return the value of the part in which the fraction lies."""
        last = len(self.parts) - 1
        index = min(bisect_right(self.ends, fraction), last)
        start = self.ends[index - 1] if index else 0.0
        return self.parts[index][1]((fraction - start) / (self.ends[index] - start))

    def to_dict(self) -> dict[str, Any]:
        """Return the schedule as JSON values, its parts included."""
        return {"kind": "Piecewise", "parts": [[share, schedule.to_dict()] for share, schedule in self.parts]}

    @classmethod
    def from_fields(cls, values: Mapping[str, Any]) -> Piecewise:
        """Build the schedule and its parts from their JSON form."""
        return cls(tuple((share, schedule_from_dict(part)) for share, part in values["parts"]))


def one_cycle_momentum(high: float = 0.8, low: float = 0.7, warmup: float = 0.25) -> Schedule:
    """Return the momentum that goes with `OneCycle`: from `high` to `low` while the rate climbs, then back.

    Args:
        high: Momentum (first beta of Adam) at both ends, in [0, 1).
        low: Momentum when the rate is highest, in [0, 1).
        warmup: Share of the updates on the way to `low`, in [0, 1), as in `OneCycle`.
    """
    for name, value in (("high", high), ("low", low), ("warmup", warmup)):
        if not 0 <= value < 1:
            raise ValueError(f"one_cycle_momentum: {name} must be at least 0 and less than 1, not {value!r}")
    back = Cosine(low, high)
    return Piecewise(((warmup, Cosine(high, low)), (1 - warmup, back))) if warmup else back


def _between(start: float, end: float, weight: float) -> float:
    return start * (1 - weight) + end * weight  # exact at both ends, unlike start + (end - start) * weight


def _check(schedule: Schedule, name: str, holds: bool, wanted: str) -> None:
    if not holds:
        raise ValueError(f"{type(schedule).__name__}: {name} must be {wanted}, not {getattr(schedule, name)!r}")


def _check_ends(schedule: Schedule, start: float, end: float) -> None:
    _check(schedule, "start", 0 <= start < math.inf, "at least 0")
    _check(schedule, "end", 0 <= end < math.inf, "at least 0")
