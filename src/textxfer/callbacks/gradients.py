"""What happens to gradients between the backward pass and the update: they are summed over batches and clipped."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor

from textxfer.training.callback import Callback, Order, handles

if TYPE_CHECKING:
    from textxfer.training.learner import Learner


@final
class ClipGrad(Callback):
    """Scale the gradients down where their common L2 norm is larger than `max_norm`.

    Acts just before the update: after gradients were summed over batches and their fp16 scale was taken out. Where
    no other callback looks at the gradients then, fused optimizers scale them within the update.

    Args:
        max_norm: Largest norm allowed, > 0. AWD-LSTM has 0.25; the ULMFiT scripts 0.3 for the language model and 25
            for the classifier.

    Attributes:
        norm: Norm of the last update's gradients before clipping, a scalar on the device; None before the first.

    Raises:
        ValueError: `max_norm` is not above 0.

    Source: Pascanu, Mikolov & Bengio 2013, "On the difficulty of training recurrent neural networks", section 3.2.
    """

    order = Order.GRADIENT
    train_only = True

    def __init__(self, max_norm: float = 0.25) -> None:
        if not max_norm > 0:
            raise ValueError(f"max_norm must be > 0, not {max_norm!r}")
        self.max_norm = max_norm
        self.norm: Tensor | None = None
        self._unseen = False

    def before_fit(self, learn: Learner) -> None:
        """Find out whether somebody else looks at the gradients before the update."""
        others = [callback for callback in learn.active_callbacks if callback is not self]
        self._unseen = not any(handles(callback, "before_update") for callback in others)

    def before_update(self, learn: Learner) -> None:
        """Clip; nothing waits for the device."""
        params = [param for group in learn.optimizer.param_groups for param in group["params"]]
        self.norm = _total_norm([param.grad for param in params if param.grad is not None])
        if self._unseen and learn.step.update == learn.optimizer.step and _divides(learn.optimizer):
            # In float32 whatever the weights are: torch takes no other type.
            divisor = (self.norm / self.max_norm).clamp(min=1).float()
            learn.step.update = partial(_divided_update, learn.optimizer, divisor)
        else:
            torch.nn.utils.clip_grads_with_norm_(params, self.max_norm, self.norm)


def _divides(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the optimizer's update can divide the gradients on its way, which saves a pass over all of them."""
    return isinstance(optimizer, torch.optim.Adam) and all(group["fused"] for group in optimizer.param_groups)


def _divided_update(optimizer: torch.optim.Optimizer, divisor: Tensor) -> None:
    """Update with the gradients divided: the way in which fused optimizers take a scale from a `GradScaler`."""
    setattr(optimizer, "grad_scale", divisor)  # noqa: B010  known to torch, not to its types
    try:
        optimizer.step()
    finally:
        delattr(optimizer, "grad_scale")


def _total_norm(grads: list[Tensor]) -> Tensor:
    """Return the L2 norm of all gradients together, a scalar on their device."""
    if grads and all(grad.device.type == "cpu" and grad.dtype == torch.float32 for grad in grads):
        # A scalar product runs at the speed of memory; torch's norm takes two to three times as long.
        flat = [grad.reshape(-1) for grad in grads]
        return torch.stack([torch.dot(grad, grad) for grad in flat]).sum().sqrt()
    return torch.nn.utils.get_total_norm(grads)


@final
class Accumulate(Callback):
    """Update once per `every` batches, with the gradient that one batch of all their targets would have.

    Batches count by their number of targets (`n`), so unequal ones are averaged as one large batch would. The last
    group of an epoch is applied even if it is short; what `learn.stop()` or an error leaves of a group is dropped.
    Schedules count updates, hence groups.

    Args:
        every: Batches per update, >= 1.

    Raises:
        ValueError: `every` is below 1.
    """

    order = Order.SCALING
    train_only = True

    def __init__(self, every: int) -> None:
        if every < 1:
            raise ValueError(f"every must be at least 1, not {every!r}")
        self.every = every
        self._unit = self._total = 0

    def before_fit(self, learn: Learner) -> None:
        """Plan fewer updates."""
        self._unit = self._total = 0
        learn.plan_updates(self.every)

    def before_batch(self, learn: Learner) -> None:
        """Hold the update unless the batch is the last of its group or of the epoch."""
        done = learn.progress.batch + 1
        if done % self.every and done < learn.progress.n_batches:
            learn.step.update = None

    def before_backward(self, learn: Learner) -> None:
        """Weight the batch by its number of targets, in units of the group's first batch."""
        step = learn.step
        self._unit = self._unit or max(step.n, 1)
        self._total += step.n
        if step.n != self._unit:
            step.objective = step.objective * (step.n / self._unit)

    def before_update(self, learn: Learner) -> None:
        """Turn the sum over the group into a mean over its targets."""
        share = self._unit / max(self._total, 1)
        grads = [p.grad for group in learn.optimizer.param_groups for p in group["params"] if p.grad is not None]
        if share != 1 and grads:
            torch._foreach_mul_(grads, share)  # pyright: ignore[reportPrivateImportUsage]
        self._unit = self._total = 0

    def after_train(self, learn: Learner) -> None:
        """Drop what a stop left of a group: it must not leak into the next epoch."""
        if self._unit:
            learn.optimizer.zero_grad(set_to_none=True)
            self._unit = self._total = 0

    def after_fit(self, learn: Learner) -> None:
        """Forget the group that an error interrupted; the learner drops its gradients."""
        self._unit = self._total = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the counts of the group in progress; its gradients are saved with the learner."""
        return {"unit": self._unit, "total": self._total}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        self._unit, self._total = state["unit"], state["total"]
