"""What lives for one batch, and where the fit stands: the two records that callbacks read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from torch import Tensor

from textxfer.batch import Batch


class StepError(AttributeError):
    """A field of the step was read before the loop had set it, or does not exist."""


_SET_BY = {
    "out": "the forward pass",
    "pred": "the forward pass",
    "loss": "the loss function",
    "objective": "the loss function",
}


class Step:
    """All that lives for one batch; made anew for each, so nothing leaks from the last one.

    Args:
        batch: What the loader gave; it is taken apart into `inputs`, `target` and `n`.

    Attributes:
        index: Number of the batch within its pass, from 0.
        training: Whether this batch trains.
        inputs: Positional arguments of the model.
        target: What the prediction is compared with.
        n: Number of targets that count (tokens or documents).
        out: What the model returned.
        pred: The part of `out` that the loss compares with the target. A loss that takes `out` itself (`OutputLoss`)
            does without it; it is then made when it is first read.
        loss: The loss as reported: never scaled, never regularized, never assigned by a callback.
        objective: What is differentiated; callbacks add their terms here.
        update: The function that applies the gradients. None holds the update back, so that gradients accumulate.
    """

    __slots__ = ("index", "inputs", "loss", "n", "objective", "out", "pred", "target", "training", "update")

    index: int
    training: bool
    inputs: tuple[Any, ...]
    target: Tensor | None
    n: int
    out: Any
    pred: Tensor
    loss: Tensor
    objective: Tensor
    update: Callable[[], Any] | None

    def __init__(self, index: int, training: bool, batch: Batch, update: Callable[[], Any] | None = None) -> None:
        self.index = index
        self.training = training
        self.inputs, self.target, self.n = batch
        self.update = update

    if not TYPE_CHECKING:  # otherwise type checkers would accept every misspelt field

        def __getattr__(self, name: str) -> Any:
            """Explain why a field cannot be read: only called when the ordinary look-up found nothing."""
            if name == "pred" and self.has("out"):
                self.pred = prediction(self.out)
                return self.pred
            if name in _SET_BY:
                raise StepError(f"step.{name} is not set yet: it is set by {_SET_BY[name]}")
            raise StepError(f"a step has no field {name!r}; it has {', '.join(self.__slots__)}")

    def has(self, name: str) -> bool:
        """Whether a field has been set.

        Args:
            name: Name of an attribute, such as `loss`.
        """
        try:
            object.__getattribute__(self, name)
        except AttributeError:
            return False
        return True

    def clear(self) -> None:
        """Let go of the tensors of the batch, so that they do not outlive their fit."""
        self.inputs, self.target, self.update = (), None, None
        for name in _SET_BY:
            if self.has(name):
                delattr(self, name)


def prediction(out: Any) -> Tensor:
    """Return the part of a model's output that the loss looks at: the output itself or its field `logits`."""
    logits = out if isinstance(out, Tensor) else getattr(out, "logits", None)
    if not isinstance(logits, Tensor):
        raise TypeError(
            f"the model returned {type(out).__name__}; it must return a tensor or a record with a tensor field 'logits'"
        )
    return logits


@runtime_checkable
class OutputLoss(Protocol):
    """A loss that can be computed from all that the model returned, without a prediction made first."""

    def __call__(self, pred: Tensor, target: Tensor, /) -> Tensor:
        """Compute the loss from a prediction."""
        ...

    def accepts(self, out: Any) -> bool:
        """Whether `of_output` can take what a model returned."""
        ...

    def of_output(self, out: Any, target: Tensor) -> Tensor:
        """Compute the loss from what the model returned."""
        ...


@dataclass(frozen=True)
class Progress:
    """Where a fit stands, in whole numbers. Replaced, never changed.

    Attributes:
        fit: Number of the fit since the learner was made, from 0.
        epoch: Current epoch, from 0.
        n_epochs: Epochs of this fit.
        batch: Current batch of the training pass, from 0.
        n_batches: Batches of the current training pass.
        step: Optimizer updates made in this fit.
        n_steps: Optimizer updates planned for this fit.
    """

    fit: int = 0
    epoch: int = 0
    n_epochs: int = 0
    batch: int = 0
    n_batches: int = 0
    step: int = 0
    n_steps: int = 0

    @property
    def fraction(self) -> float:
        """Share of the fit's updates that are done, from 0 to 1."""
        return self.step / self.n_steps if self.n_steps else 0.0
