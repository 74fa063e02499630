"""End a fit when it no longer gets better."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

from textxfer.callbacks._tracked import Tracked, track
from textxfer.training.callback import Callback, Order
from textxfer.training.metrics import Metric

if TYPE_CHECKING:
    from textxfer.training.learner import Learner


@final
class EarlyStop(Callback):
    """End the fit when a validation metric has not improved for some epochs.

    The metric says itself whether lower or higher is better. Add `SaveBest` to go back to the best weights.

    Args:
        metric: A metric of the learner or its name; `loss` is the validation loss.
        patience: Epochs in a row without improvement after which the fit ends, >= 1.
        min_delta: How much better than the best a value must be to count as an improvement, >= 0.

    Attributes:
        best: The best value of the fit; None before the first.

    Raises:
        ValueError: `patience` or `min_delta` is out of its range.
    """

    order = Order.REPORT  # with what reports and saves: the rate finder, which validates nothing, leaves those out

    def __init__(self, metric: Metric | str = "loss", patience: int = 3, min_delta: float = 0.0) -> None:
        if patience < 1:
            raise ValueError(f"patience must be at least 1, not {patience!r}")
        if not min_delta >= 0:
            raise ValueError(f"min_delta must be >= 0, not {min_delta!r}")
        self.metric = metric
        self.patience = patience
        self.min_delta = min_delta
        self.best: float | None = None
        self._waited = 0
        self._tracked: Tracked | None = None

    def before_fit(self, learn: Learner) -> None:
        """Find the metric; start anew."""
        self.best, self._waited = None, 0
        self._tracked = track(learn, self.metric, self)

    def after_epoch(self, learn: Learner) -> None:
        """Compare, count, stop."""
        value = None if self._tracked is None else self._tracked.latest(learn)
        if self._tracked is None or value is None:
            return
        if self._tracked.is_better(value, self.best, self.min_delta):
            self.best, self._waited = value, 0
            return
        self._waited += 1
        if self._waited >= self.patience:
            learn.stop()

    def state_dict(self) -> dict[str, Any]:
        """Return the best value and the epochs since."""
        return {"best": self.best, "waited": self._waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        self.best, self._waited = state["best"], state["waited"]
