"""The learning rate finder (Smith 2017): a short training in which the rate grows from step to step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from textxfer.training.callback import Callback, Order
from textxfer.training.lr_result import LRFinderResult, read_curve
from textxfer.training.sandbox import sandbox

if TYPE_CHECKING:
    from textxfer.training.learner import Learner

__all__ = ["LRFinderResult", "find_lr"]

_SMOOTHING = 0.9


def find_lr(
    learn: Learner, start: float = 1e-7, end: float = 10.0, n_steps: int = 100, stop_factor: float = 4.0
) -> LRFinderResult:
    """Train on growing rates and report the loss at each; leaves no trace on the learner, not even after an error.

    The rate grows by the same factor from update to update, in all layer groups alike. It is the rate of the top
    group: `DiscriminativeLR` keeps the proportions of the others. The learner's own callbacks act, except schedules
    and those that report or save. If the loader has fewer batches than needed, it is run through again.

    Args:
        learn: The learner; not within a fit.
        start: First rate, > 0.
        end: Last rate, > start.
        n_steps: Number of updates, >= 2.
        stop_factor: Stop early when the smoothed loss is more than this times its best so far, > 1. It also stops
            at the first loss that is not finite.

    Returns:
        Rates, losses and two suggestions.
    """
    if not 0 < start < end < math.inf:
        raise ValueError(f"find_lr: 0 < start < end is needed, not start={start!r}, end={end!r}")
    if n_steps < 2 or not stop_factor > 1:
        raise ValueError(
            f"find_lr: n_steps must be at least 2 and stop_factor more than 1, not {n_steps}, {stop_factor}"
        )
    sweep = RateSweep(start, end, n_steps, stop_factor)
    with sandbox(learn):
        learn.fit(1, end, [sweep])
    return read_curve(sweep.lrs, sweep.losses)


class RateSweep(Callback):
    """Multiply the rates by the same factor from update to update and note the loss of each.

    Args:
        start: First rate of the top layer group.
        end: Last rate of the top layer group, which must also be the rate of the fit.
        n_steps: Number of updates, after which the fit is stopped.
        stop_factor: Stop when the smoothed loss is more than this times its best so far.
    """

    order = Order.SCHEDULE
    train_only = True

    def __init__(self, start: float, end: float, n_steps: int, stop_factor: float) -> None:
        self.start, self.end, self.n_steps, self.stop_factor = start, end, n_steps, stop_factor
        self.lrs: list[float] = []
        self.losses: list[float] = []
        self._best, self._average, self._weight = math.inf, 0.0, 0.0
        self._loss, self._n, self._updates = 0.0, 0, 0

    def before_batch(self, learn: Learner) -> None:
        """Set the rates of the coming update."""
        for group in learn.optimizer.param_groups:
            group["lr"] = group["base_lr"] * self._rate() / self.end

    def after_batch(self, learn: Learner) -> None:
        """Note the loss of the update: the mean over its batches if gradients were accumulated."""
        step = learn.step
        if step.n:
            self._loss += step.loss.item() * step.n
            self._n += step.n
        if not math.isfinite(self._loss):
            learn.stop()
        elif learn.progress.step > self._updates and self._n:
            self._note(self._loss / self._n)
            self._loss, self._n, self._updates = 0.0, 0, learn.progress.step
            if self._diverges() or len(self.lrs) == self.n_steps:
                learn.stop()

    def _rate(self) -> float:
        return self.start * (self.end / self.start) ** (len(self.lrs) / (self.n_steps - 1))

    def _note(self, loss: float) -> None:
        self.lrs.append(self._rate())
        self.losses.append(loss)
        self._average = _SMOOTHING * self._average + loss
        self._weight = _SMOOTHING * self._weight + 1

    def _diverges(self) -> bool:
        smoothed = self._average / self._weight
        self._best = min(self._best, smoothed)
        return smoothed > self.stop_factor * self._best
