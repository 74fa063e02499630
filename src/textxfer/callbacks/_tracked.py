"""The validation metric that a callback watches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textxfer.training.callback import Callback
from textxfer.training.metrics import Loss, Metric

if TYPE_CHECKING:
    from textxfer.training.learner import Learner


@dataclass(frozen=True)
class Tracked:
    """A metric, which knows the direction, and the history's key of its validation value."""

    metric: Metric
    key: str

    def latest(self, learn: Learner) -> float | None:
        """Return the value of the epoch that has just ended; None if it was not validated."""
        return learn.history[-1].get(self.key)

    def is_better(self, value: float, best: float | None, min_delta: float = 0.0) -> bool:
        """Whether a value beats the best one by more than `min_delta`; NaN never does, a first number always."""
        if best is None:
            return not math.isnan(value)
        return self.metric.is_better(value, best) and abs(value - best) > min_delta


def track(learn: Learner, metric: Metric | str, callback: Callback) -> Tracked:
    """Find the metric that a callback was asked to watch.

    Raises:
        ValueError: If the learner does not compute it, or has nothing to validate on.
    """
    if learn.loaders.valid is None:
        raise ValueError(f"{callback!r} watches a validation metric, but the learner has no validation loader")
    own = {known.name: known for known in (Loss(), *learn.metrics)}
    name = metric if isinstance(metric, str) else metric.name
    if name not in own:
        raise ValueError(f"{callback!r}: the learner computes no metric {name!r}; it has {', '.join(own)}")
    key = "valid_loss" if name == "loss" else name
    return Tracked(own[name] if isinstance(metric, str) else metric, key)
