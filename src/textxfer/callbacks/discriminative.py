"""One learning rate per layer group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, final

from textxfer.training.callback import Callback, Order

if TYPE_CHECKING:
    from textxfer.training.learner import Learner


@final
class DiscriminativeLR(Callback):
    """Train lower layers at lower rates: the last group at the fit's `lr`, each group below at `1 / factor` of it.

    Schedules multiply these rates. After the fit the groups have one rate again.

    Args:
        factor: Ratio of the rates of two neighbouring groups, > 0.
        multipliers: The ratio of each group's rate to the fit's `lr` instead, from input to output, each >= 0. The
            scripts of 2018 tuned the language model with (1/6, 1/3, 1, 1/2).

    Raises:
        ValueError: `factor` or a multiplier is out of its range.

    Source: Howard & Ruder 2018, "Universal Language Model Fine-tuning for Text Classification", section 3.2.
    """

    order = Order.MODEL  # before the schedules, which multiply what is set here

    def __init__(self, factor: float = 2.6, multipliers: Sequence[float] | None = None) -> None:
        if not factor > 0:
            raise ValueError(f"factor must be > 0, not {factor!r}")
        if multipliers is not None and any(not value >= 0 for value in multipliers):
            raise ValueError(f"multipliers must be >= 0, not {list(multipliers)}")
        self.factor = factor
        self.multipliers = None if multipliers is None else tuple(multipliers)
        self._before: list[tuple[float, float]] = []

    def before_fit(self, learn: Learner) -> None:
        """Set the base rate of each group."""
        self._before = []
        by_layer = dict(zip([group.name for group in learn.groups], self._ratios(learn)))
        self._before = [(group["lr"], group["base_lr"]) for group in learn.optimizer.param_groups]
        for group in learn.optimizer.param_groups:
            group["base_lr"] *= by_layer[group["layer"]]
            group["lr"] = group["base_lr"]

    def after_fit(self, learn: Learner) -> None:
        """Put the rates back."""
        for group, (lr, base_lr) in zip(learn.optimizer.param_groups, self._before):
            group["lr"], group["base_lr"] = lr, base_lr
        self._before = []

    def _ratios(self, learn: Learner) -> tuple[float, ...]:
        names = [group.name for group in learn.groups]
        if self.multipliers is None:
            return tuple(self.factor**-below for below in reversed(range(len(names))))
        if len(self.multipliers) != len(names):
            raise ValueError(
                f"{len(self.multipliers)} multipliers were given, {list(self.multipliers)}, but the model has "
                f"{len(names)} layer groups: {', '.join(names)}"
            )
        return self.multipliers
