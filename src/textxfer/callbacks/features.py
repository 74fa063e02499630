"""Not computing again what cannot change: the features of an encoder that does not train.

Shapes: T time, B batch, F features, C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast, final

import torch
from torch import Tensor, nn

from textxfer.training.callback import Callback, Order
from textxfer.upload import upload

if TYPE_CHECKING:
    from textxfer.training.learner import Learner


class Featured(Protocol):
    """A classifier in two parts, such as `textxfer.models.TextClassifier`."""

    head: nn.Module
    """From features, (B, F), to logits, (B, C)."""

    def features(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Return what the head sees of documents: ids (T, B) and lengths (B,) to features (B, F)."""
        ...


class HeadOutput(NamedTuple):
    """What a step returns whose features were looked up: there are no activations to regularize."""

    logits: Tensor
    raw: None = None
    dropped: None = None


@final
class CacheFeatures(Callback):
    """While only the head trains, compute the features of each document once and look them up in later epochs.

    An epoch then costs as good as nothing, in validation too. What is remembered are features without dropout: while
    they are used, the encoder's dropouts and the penalties on its activations do not act. As soon as a parameter below
    the head trains, the whole model runs as ever.

    Documents are told apart by their words. Their features stay on the training device for the time of a fit, some
    5 KB a document at full size.

    Attributes:
        n_computed: Documents whose features were computed in the current or the last fit.
    """

    order = Order.MODEL

    def __init__(self) -> None:
        self.n_computed = 0
        self._plain: Callable[..., Any] | None = None
        self._known: dict[bytes, Tensor] = {}

    def before_fit(self, learn: Learner) -> None:
        """Take the place of `learn.forward`.

        Raises:
            TypeError: The model has no `features` and `head`.
        """
        model = learn.model
        # Asked by name: since Python 3.12 a runtime-checkable protocol does not see the modules of a module.
        if not (callable(getattr(model, "features", None)) and isinstance(getattr(model, "head", None), nn.Module)):
            raise TypeError(
                "CacheFeatures needs a model with a method `features(ids, lengths)` and a module `head`; "
                f"{type(model).__name__} is none"
            )
        self.n_computed, self._plain = 0, learn.forward
        learn.forward = partial(self._forward, model, cast("Featured", model), learn.forward)

    def after_fit(self, learn: Learner) -> None:
        """Put `learn.forward` back and give the memory back."""
        if self._plain is not None:
            learn.forward, self._plain = self._plain, None
        self._known.clear()

    def on_freeze(self, learn: Learner) -> None:
        """Forget: what trains now, or has trained since, gives other features."""
        self._known.clear()

    def _forward(self, module: nn.Module, model: Featured, plain: Callable[..., Any], *inputs: Tensor) -> Any:
        in_head = {id(parameter) for parameter in model.head.parameters()}
        if any(parameter.requires_grad and id(parameter) not in in_head for parameter in module.parameters()):
            return plain(*inputs)
        ids, lengths = inputs
        keys = [blake2b(column.tobytes(), digest_size=16).digest() for column in _columns(ids, lengths)]
        missing = [row for row, key in enumerate(keys) if key not in self._known]
        if missing:
            training, rows = module.training, torch.tensor(missing)
            module.eval()
            try:
                with torch.no_grad():
                    computed = model.features(ids[:, upload(rows, ids.device)], lengths[rows.to(lengths.device)])
            finally:
                module.train(training)
            self._known.update(zip((keys[row] for row in missing), computed.unbind(0)))
            self.n_computed += len(missing)
        return HeadOutput(model.head(torch.stack([self._known[key] for key in keys])))


def _columns(ids: Tensor, lengths: Tensor) -> list[Any]:
    """Return the words of each document, without padding."""
    host = ids.cpu().t().contiguous().numpy()
    return [row[:length] for row, length in zip(host, lengths.tolist())]
