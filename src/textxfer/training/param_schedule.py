"""The callback that applies schedules to the optimizer."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

from textxfer.training.callback import Callback, Order
from textxfer.training.schedule import Schedule

if TYPE_CHECKING:
    from textxfer.training.learner import Learner


class ParamSchedule(Callback):
    """Set learning rate and momentum before each training batch; put them back after the fit.

    Schedules count optimizer updates, so gradient accumulation does not speed them up. Each group's rate is its own
    `base_lr` times the value of the schedule.

    Args:
        lr: Multiples of the base learning rates; None leaves the rates alone.
        momentum: Momentum itself: `momentum` of SGD, the first of Adam's `betas`; None leaves it alone.

    Raises:
        TypeError: An argument is no schedule.
        ValueError: Neither is given.
    """

    order = Order.SCHEDULE
    train_only = True
    repeatable = True  # one for the rate and one for the momentum; `before_fit` refuses two for the same

    def __init__(self, lr: Schedule | None = None, momentum: Schedule | None = None) -> None:
        for name, schedule in (("lr", lr), ("momentum", momentum)):
            if not isinstance(schedule, Schedule | None):
                raise TypeError(f"ParamSchedule: {name} must be a Schedule or None, not {schedule!r}")
        if lr is None and momentum is None:
            raise ValueError("ParamSchedule needs a schedule of lr, of momentum, or both")
        self.lr = lr
        self.momentum = momentum
        self._momentum_before: list[float] = []
        self._started = False

    def before_fit(self, learn: Learner) -> None:
        """Remember what is about to change; refuse a second schedule of the same parameter.

        Raises:
            ValueError: Another callback has a schedule of the same parameter.
        """
        self._momentum_before = []
        others = [cb for cb in learn.active_callbacks if isinstance(cb, ParamSchedule) and cb is not self]
        for other, name in product(others, ("lr", "momentum")):
            if getattr(self, name) is not None and getattr(other, name) is not None:
                raise ValueError(f"{self!r} and {other!r} both set {name}: keep one of them")
        if self.momentum is not None:
            self._momentum_before = [_get_momentum(group) for group in learn.optimizer.param_groups]
        self._started = True

    def before_batch(self, learn: Learner) -> None:
        """Set the values of the coming update."""
        step, n_steps = learn.progress.step, learn.progress.n_steps
        for group in learn.optimizer.param_groups:
            if self.lr is not None:
                group["lr"] = group["base_lr"] * self.lr.at(step, n_steps)
            if self.momentum is not None:
                _set_momentum(group, self.momentum.at(step, n_steps))

    def after_fit(self, learn: Learner) -> None:
        """Put rates back to their base and momentum to what it was."""
        if not self._started:
            return
        self._started = False
        for group in learn.optimizer.param_groups:
            if self.lr is not None:
                group["lr"] = group["base_lr"]
        for group, momentum in zip(learn.optimizer.param_groups, self._momentum_before):
            _set_momentum(group, momentum)

    def state_dict(self) -> dict[str, Any]:
        """Return the momentum to go back to: a resumed fit starts with that of the interrupted step."""
        return {"momentum_before": list(self._momentum_before)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        self._momentum_before = list(state["momentum_before"])


def _get_momentum(group: dict[str, Any]) -> float:
    if "betas" in group:
        return group["betas"][0]
    if "momentum" in group:
        return group["momentum"]
    raise ValueError("ParamSchedule: this optimizer has neither `betas` nor `momentum`, so momentum=None is needed")


def _set_momentum(group: dict[str, Any], value: float) -> None:
    if "betas" in group:
        group["betas"] = (value, *group["betas"][1:])
    else:
        group["momentum"] = value
