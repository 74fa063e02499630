"""The hidden state of a recurrent language model, carried from batch to batch.

Shapes: T time, B batch, H hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeGuard, final

from torch import Tensor

from textxfer.training.callback import Callback, Order

if TYPE_CHECKING:
    from textxfer.training.learner import Learner

Hidden = list[tuple[Tensor, ...]]
"""For each layer its tensors, each (B, H): `(h, c)` for an LSTM, `(h,)` for a GRU."""


@final
class CarryHidden(Callback):
    """Start each batch with the hidden state in which the last one ended.

    The state is detached, appended to `step.inputs`, and forgotten when a pass begins. Training and validation have a
    state each, so validating in the middle of an epoch does not disturb it. Where the batch width changes, the rows
    are other texts than before and the state is dropped. The model is called as `forward(ids)` or
    `forward(ids, hidden)`, with ids (T, B), and returns a record with a field `hidden`: for each layer a tuple of
    tensors (B, H).

    Source: Merity, Keskar & Socher 2018, "Regularizing and Optimizing LSTM Language Models", section 4.
    """

    order = Order.DATA
    capturable = True

    def __init__(self) -> None:
        self._carried: dict[bool, Hidden] = {}

    def before_fit(self, learn: Learner) -> None:
        """Forget what an earlier fit or a validation on the side left."""
        self._carried.clear()

    def before_train(self, learn: Learner) -> None:
        """Start the texts of the pass from an empty state."""
        self._carried.pop(True, None)

    def before_valid(self, learn: Learner) -> None:
        """Start the texts of the pass from an empty state, and keep the one of training."""
        self._carried.pop(False, None)

    def before_batch(self, learn: Learner) -> None:
        """Append the state to the model's inputs."""
        step = learn.step
        hidden = self._carried.get(step.training)
        if hidden is None:
            return
        ids: Tensor = step.inputs[0]
        if hidden[0][0].shape[0] != ids.shape[1]:
            del self._carried[step.training]
            return
        step.inputs = (*step.inputs, [tuple(item.to(ids.device) for item in layer) for layer in hidden])

    def after_forward(self, learn: Learner) -> None:
        """Refuse a model that returns no state, before it has trained on anything.

        Raises:
            TypeError: The model's output has no state that could be carried on.
        """
        hidden = getattr(learn.step.out, "hidden", None)
        if not _is_hidden(hidden):
            raise TypeError(
                "CarryHidden needs a model that returns a record with a field `hidden`: for each layer a tuple of "
                f"tensors of shape (batch, hidden size). This one returned {type(learn.step.out).__name__}"
                + ("" if hidden is None else f" with a hidden of type {type(hidden).__name__}")
            )

    def after_batch(self, learn: Learner) -> None:
        """Keep the state in which the batch ended; no gradient flows back through it."""
        step = learn.step
        self._carried[step.training] = [tuple(item.detach() for item in layer) for layer in step.out.hidden]

    def after_valid(self, learn: Learner) -> None:
        """Give the memory back."""
        self._carried.pop(False, None)

    def after_fit(self, learn: Learner) -> None:
        """Give the memory back."""
        self._carried.clear()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of training, under the keys `layer/item`."""
        hidden = self._carried.get(True, [])
        return {f"{i}/{j}": item for i, layer in enumerate(hidden) for j, item in enumerate(layer)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        layers: dict[int, dict[int, Tensor]] = {}
        for key, item in state.items():
            layer, index = map(int, key.split("/"))
            layers.setdefault(layer, {})[index] = item
        hidden = [tuple(layer[j] for j in sorted(layer)) for _, layer in sorted(layers.items())]
        self._carried = {True: hidden} if hidden else {}


def _is_hidden(hidden: Any) -> TypeGuard[Sequence[tuple[Tensor, ...]]]:
    return (
        isinstance(hidden, list | tuple)
        and len(hidden) > 0
        and all(isinstance(layer, tuple) and all(isinstance(item, Tensor) for item in layer) for layer in hidden)
    )
