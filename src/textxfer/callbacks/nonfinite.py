"""A guard against losses and gradients that are no numbers."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor

from textxfer.callbacks.precision import MixedPrecision
from textxfer.training.callback import Callback, Order

if TYPE_CHECKING:
    from textxfer.training.learner import Learner

_log = logging.getLogger(__name__)
_SHOWN = 6


@final
class StopOnNonFinite(Callback):
    """End the fit at a loss or gradient that is infinite or NaN, before it reaches the weights.

    Says which batch and which tensors were bad, in the log and in `report`. In float16 infinite gradients belong to
    the search for a scale and are left to `MixedPrecision`; the loss is watched all the same, but for batches in which
    nothing counts.

    Args:
        every: Wait for the device, to learn whether all was well, after every so many batches, >= 1. Until then the
            optimizer itself leaves out every update from the first bad batch on, so a larger number loses nothing but
            a few batches. Where it cannot do so (only torch's fused Adam and AdamW can, and not in float16, where the
            scaler has its own say), each batch is looked at.

    Attributes:
        report: What was found; None if all was well.

    Raises:
        ValueError: `every` is below 1.
    """

    order = Order.OBSERVE  # after the gradients of the update are complete
    train_only = True

    def __init__(self, every: int = 1) -> None:
        if every < 1:
            raise ValueError(f"every must be at least 1, not {every!r}")
        self.every = every
        self.report: str | None = None
        self._forget()

    def before_fit(self, learn: Learner) -> None:
        """Start anew."""
        self.report = None
        self._forget()

    def after_backward(self, learn: Learner) -> None:
        """Note on the device what is not finite; look at the notes when it is time."""
        names, bad = self._check(learn)
        if names != self._names:  # other groups train now
            self._look(learn)
            self._names, self._bad = names, torch.zeros_like(bad)
            self._batch = torch.zeros((), dtype=torch.int64, device=bad.device)
        self._bad, self._batch = self._bad.to(bad.device), self._batch.to(bad.device)
        known = self._bad.any()
        self._batch = torch.where(known, self._batch, learn.step.index)
        self._bad = torch.where(known, self._bad, bad)
        self._seen += 1
        if self._seen >= self.every or _scaled(learn) or not _can_skip(learn.optimizer):
            self._look(learn)

    def before_update(self, learn: Learner) -> None:
        """Let the optimizer leave the update out if something was bad, without waiting to know it."""
        step = learn.step
        if self._seen and step.update is not None:
            step.update = partial(_update_unless, learn.optimizer, self._bad.any().float(), step.update)

    def after_train(self, learn: Learner) -> None:
        """Look at what is left, so that no validation is spent on a fit that is over."""
        self._look(learn)

    def after_fit(self, learn: Learner) -> None:
        """Forget the notes; the report stays."""
        self._forget()

    def state_dict(self) -> dict[str, Any]:
        """Return the notes that nobody has looked at."""
        return {"seen": self._seen, "names": list(self._names), "bad": self._bad, "batch": self._batch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        self._seen, self._names = state["seen"], tuple(state["names"])
        self._bad, self._batch = state["bad"].clone(), state["batch"].clone()

    def _forget(self) -> None:
        self._seen = 0
        self._names: tuple[str, ...] = ()
        self._bad = torch.zeros(0, dtype=torch.bool)
        self._batch = torch.zeros((), dtype=torch.int64)

    def _check(self, learn: Learner) -> tuple[tuple[str, ...], Tensor]:
        """Return names and, for each, whether it is bad; the largest magnitude is finite if all elements are."""
        named = () if _scaled(learn) else learn.model.named_parameters()
        params = [(name, param.grad) for name, param in named if param.grad is not None]
        largest = torch._foreach_norm([grad for _, grad in params], math.inf) if params else ()  # pyright: ignore[reportPrivateImportUsage]
        own = [learn.step.loss.detach(), learn.step.objective.detach()]
        if not learn.step.n:  # nothing counts: a mean over nothing may be NaN and says nothing, unlike its gradients
            own = [torch.zeros_like(value) for value in own]
        values = [*own, *largest]
        names = ("the loss", "the objective", *(f"the gradient of {name}" for name, _ in params))
        return names, ~torch.stack([value.float() for value in values]).isfinite()

    def _look(self, learn: Learner) -> None:
        """Wait for the device; if something was bad, say what and end the fit with the update held."""
        if not self._seen:
            return
        self._seen = 0
        bad = [name for name, is_bad in zip(self._names, self._bad.tolist()) if is_bad]
        if not bad:
            return
        shown = ", ".join(bad[:_SHOWN]) + (f" and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else "")
        at = learn.progress
        self.report = f"epoch {at.epoch}, batch {int(self._batch)} of {at.n_batches}: not finite: {shown}"
        _log.warning("the fit was stopped, the weights are those before this batch: %s", self.report)
        learn.step.update = None
        learn.optimizer.zero_grad(set_to_none=True)
        learn.stop()


def _scaled(learn: Learner) -> bool:
    """Whether a scaler searches for the scale of the gradients; it alone tells the optimizer what to leave out."""
    return any(isinstance(other, MixedPrecision) and other.scaler for other in learn.active_callbacks)


def _can_skip(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the optimizer's kernels can leave an update out on their own: then nothing has to wait."""
    return isinstance(optimizer, torch.optim.Adam | torch.optim.AdamW) and bool(optimizer.defaults.get("fused"))


def _update_unless(optimizer: torch.optim.Optimizer, bad: Tensor, update: Callable[[], Any]) -> None:
    """Update with torch's own means for skipping: the same two attributes that its `GradScaler` sets."""
    extra: Any = optimizer
    extra.grad_scale, extra.found_inf = None, bad
    try:
        update()
    finally:
        del extra.grad_scale, extra.found_inf
