"""What the learning rate finder found: the curve, two suggestions read from it, the picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from textxfer.training.figures import BLUE, GREEN, ORANGE, legend, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, repr=False)
class LRFinderResult:
    """Loss against learning rate, and which rates look good.

    Both suggestions look at the greatest fall of the smoothed curve: the stretch from a rate to a larger one over
    which the loss comes down most.

    Attributes:
        lrs: Rates that were tried, ascending.
        losses: Loss at each, before its update.
        smoothed: The same, averaged over neighbours on both sides, so that it does not lag behind.
        suggestion: The rate where the fall is steepest (Smith 2017); None if the loss never fell.
        valley: The rate where half of the fall is done; less swayed by noise. None if the loss never fell.
    """

    lrs: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    suggestion: float | None
    valley: float | None

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw loss against rate with both suggestions marked; the last, diverging losses may lie above the frame.

        Args:
            ax: Where to draw; new axes if None.

        Returns:
            The axes.
        """
        ax = new_axes() if ax is None else ax
        ax.plot(self.lrs, self.losses, color=BLUE, alpha=0.3, linewidth=0.8, label="loss")
        ax.plot(self.lrs, self.smoothed, color=BLUE, linewidth=1.8, label="smoothed")
        marks = (("steepest", self.suggestion, ORANGE, 12), ("valley", self.valley, GREEN, 7))
        for name, lr, colour, size in marks:  # the smaller above the larger: both show where they coincide
            if lr is not None:
                height = self.smoothed[self.lrs.index(lr)]
                ax.plot([lr], [height], "o", color=colour, markersize=size, label=f"{name}: {lr:.1e}")
        ax.set(xscale="log", xlabel="learning rate", ylabel="training loss per target")
        if self.losses:
            ax.set_ylim(self._range())
        legend(ax, "lower left")
        return ax

    def __repr__(self) -> str:
        tried = f"{len(self.lrs)} rates" + (f" from {self.lrs[0]:.1e} to {self.lrs[-1]:.1e}" if self.lrs else "")
        shown = ("none" if lr is None else f"{lr:.1e}" for lr in (self.suggestion, self.valley))
        return f"<LRFinderResult of {tried}: suggestion {', valley '.join(shown)}>"

    def _range(self) -> tuple[float, float]:
        """Choose which losses to show: what came before the lowest point, with some room."""
        lowest = min(self.losses)
        highest = max(self.smoothed[: self.losses.index(lowest) + 1])
        room = max(highest - lowest, 0.1 * abs(highest), 1e-6)
        return lowest - 0.1 * room, highest + 0.4 * room


def read_curve(lrs: Sequence[float], losses: Sequence[float]) -> LRFinderResult:
    """Smooth a curve and read the suggestions from it.

    Args:
        lrs: Rates, ascending by a constant factor.
        losses: Finite loss at each.
    """
    smoothed = smooth(losses)
    suggestion = valley = None
    begin, end = greatest_fall(smoothed)
    if begin < end:
        fall = np.asarray(smoothed)[begin : end + 1]
        suggestion = lrs[begin + int(np.argmin(np.gradient(fall)))]
        valley = lrs[begin + int(np.argmax(fall <= (fall[0] + fall[-1]) / 2))]
    return LRFinderResult(tuple(lrs), tuple(losses), tuple(smoothed), suggestion, valley)


def smooth(values: Sequence[float]) -> list[float]:
    """Return the means over neighbours, weighted by a bell curve whose standard deviation is 1/40 of the length."""
    sigma = max(len(values) / 40, 0.5)
    index = np.arange(len(values))
    weights = np.exp(-0.5 * ((index[:, None] - index) / sigma) ** 2)
    return (weights @ np.asarray(values) / weights.sum(axis=1)).tolist()


def greatest_fall(values: Sequence[float]) -> tuple[int, int]:
    """Return where the greatest fall from one value to a later one begins and ends; (0, 0) if nothing falls."""
    best, top = (0, 0), 0
    for index, value in enumerate(values):
        if value > values[top]:
            top = index
        if values[top] - value > values[best[0]] - values[best[1]]:
            best = (top, index)
    return best
