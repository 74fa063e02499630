"""The learning rate of a batch after the length of its window."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from textxfer.training.callback import Callback, Order

if TYPE_CHECKING:
    from textxfer.training.learner import Learner


@final
class WindowRate(Callback):
    """Multiply the rate of each update by the window's length over `bptt`.

    Where the windows of a language model vary in length, the loss is a mean over the window, so that without it the
    tokens of short windows would count for more. The model's first input is ids, (T, B); the rate of an update is
    that of its own batch, whichever schedule set it.

    Args:
        bptt: The length at which the rate stays as it is, >= 1.

    Raises:
        ValueError: `bptt` is below 1.

    Source: Merity, Keskar & Socher 2018, "Regularizing and Optimizing LSTM Language Models", section 4.1.
    """

    order = Order.GRADIENT
    train_only = True

    def __init__(self, bptt: int = 70) -> None:
        if bptt < 1:
            raise ValueError(f"bptt must be at least 1, not {bptt!r}")
        self.bptt = bptt

    def before_update(self, learn: Learner) -> None:
        """Let the update run at the scaled rates, and the rates be what they were behind it."""
        step, optimizer = learn.step, learn.optimizer
        factor = step.inputs[0].shape[0] / self.bptt
        update = step.update
        if update is None:  # a guard has held it
            return

        def scaled() -> None:
            rates = [group["lr"] for group in optimizer.param_groups]
            try:
                for group in optimizer.param_groups:
                    group["lr"] *= factor
                update()
            finally:
                for group, lr in zip(optimizer.param_groups, rates):
                    group["lr"] = lr

        step.update = scaled
