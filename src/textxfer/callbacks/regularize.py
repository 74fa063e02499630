"""Two penalties on the activations of a recurrent model, added to what is differentiated, not to the reported loss.

Shapes: T time, B batch, E size of the last layer's output.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, final

import torch
from torch import Tensor

from textxfer.training.callback import Callback, Order

if TYPE_CHECKING:
    from textxfer.training.learner import Learner


class Activations(Protocol):
    """What the penalties need of a model's output.

    Besides, the output may have `lengths` (B,): row b then holds real tokens at t < lengths[b] only, and the means are
    over those.
    """

    @property
    def raw(self) -> Tensor:
        """Output of the last layer before the output dropout, (T, B, E)."""
        ...

    @property
    def dropped(self) -> Tensor:
        """The same after the output dropout, (T, B, E)."""
        ...


@final
class ActivationReg(Callback):
    """Keep activations small (AR): adds `alpha` x the mean squared output of the last layer, after its dropout.

    Args:
        alpha: Weight of the penalty, >= 0; 2 in AWD-LSTM and ULMFiT.

    Source: Merity, McCann & Socher 2017, "Revisiting Activation Regularization for Language RNNs", section 3.
    """

    order = Order.OBJECTIVE
    train_only = True
    capturable = True

    def __init__(self, alpha: float = 2.0) -> None:
        self.alpha = _checked("alpha", alpha)

    def after_loss(self, learn: Learner) -> None:
        """Add the penalty to the objective."""
        step = learn.step
        dropped = _activations(step.out, "dropped", self)
        if dropped is None:
            return
        lengths: Tensor | None = getattr(step.out, "lengths", None)
        step.objective = step.objective + self.alpha * _mean_square(dropped.float(), lengths)


@final
class TemporalReg(Callback):
    """Keep activations slow (TAR): adds `beta` x the mean squared change of the last layer's output over time.

    Args:
        beta: Weight of the penalty, >= 0; 1 in AWD-LSTM and ULMFiT.

    Source: Merity, McCann & Socher 2017, "Revisiting Activation Regularization for Language RNNs", section 3.
    """

    order = Order.OBJECTIVE
    train_only = True
    capturable = True

    def __init__(self, beta: float = 1.0) -> None:
        self.beta = _checked("beta", beta)

    def after_loss(self, learn: Learner) -> None:
        """Add the penalty to the objective; a single time step has no change and adds nothing."""
        step = learn.step
        raw = _activations(step.out, "raw", self)
        if raw is None or raw.shape[0] < 2:
            return
        raw = raw.float()
        lengths: Tensor | None = getattr(step.out, "lengths", None)
        pairs = None if lengths is None else lengths - 1  # a pair counts if its later token is real
        step.objective = step.objective + self.beta * _mean_square(raw[1:] - raw[:-1], pairs)


def _mean_square(values: Tensor, lengths: Tensor | None) -> Tensor:
    """Return the mean of the squares of (T, B, E) over t < lengths[b]; 0 if there is no such element."""
    if lengths is None:
        return values.square().mean()
    n_steps, _, size = values.shape
    counted = lengths.to(values.device).clamp(0, n_steps)
    real = torch.arange(n_steps, device=values.device)[:, None] < counted
    total = torch.where(real, values.square().sum(-1), 0.0).sum()
    return total / (counted.sum() * size).clamp(min=1)


def _activations(out: object, field: str, callback: Callback) -> Tensor | None:
    """Return a field of the output, None if it is there and empty (`CacheFeatures`)."""
    value = getattr(out, field, None)
    if value is None and hasattr(out, field):
        return None
    if not (isinstance(value, Tensor) and value.ndim == 3):
        got = type(out).__name__ if value is None else f"{type(out).__name__} with another kind of {field}"
        raise TypeError(
            f"{type(callback).__name__} needs a model that returns a record with a field `{field}`: the output of the "
            f"last recurrent layer, a tensor (time, batch, size). This one returned {got}"
        )
    return value


def _checked(name: str, weight: float) -> float:
    if not 0 <= weight < float("inf"):
        raise ValueError(f"{name} must be a number >= 0, not {weight!r}")
    return weight
