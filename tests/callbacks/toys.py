"""A tiny language model, its data, and callbacks that watch or disturb a fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from textxfer.batch import Batch, Loaders
from textxfer.models import AWDLSTMConfig, LanguageModel, token_loss
from textxfer.training import Callback, Learner, Metric, Optimizer, Order

VOCAB = 11
NO_DROPOUT = dict.fromkeys(("embed", "input", "hidden", "weight", "output"), 0.0)


def lm_batch(width: int = 3, time: int = 5, seed: int = 0, ignored: int = 0) -> Batch:
    """One window of random ids; the last `ignored` steps have no target that counts."""
    ids = torch.randint(0, VOCAB, (time + 1, width), generator=torch.Generator().manual_seed(seed))
    target = ids[1:].clone()
    target[time - ignored :] = -100
    return Batch((ids[:-1],), target, (time - ignored) * width)


def lm_batches(n: int, seed: int = 0, width: int = 3) -> list[Batch]:
    return [lm_batch(width, seed=100 * seed + index) for index in range(n)]


def lm(dropout: bool = True, seed: int = 0) -> LanguageModel:
    torch.manual_seed(seed)
    config = AWDLSTMConfig(vocab=VOCAB, embed=8, hidden=8, layers=2)
    return LanguageModel(config if dropout else config.scaled(0))


def lm_learner(
    *callbacks: Callback,
    train: Sequence[Batch] | int = 3,
    valid: Sequence[Batch] | int | None = 2,
    dropout: bool = True,
    metrics: Sequence[Metric] = (),
    optimizer: Optimizer | None = None,
) -> Learner:
    train = lm_batches(train) if isinstance(train, int) else train
    valid = lm_batches(valid, seed=1) if isinstance(valid, int) else valid
    loaders = Loaders(train, valid)
    return Learner(
        lm(dropout), loaders, token_loss, callbacks=callbacks, metrics=metrics, optimizer=optimizer, device="cpu"
    )


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: param.detach().clone() for name, param in model.named_parameters()}


def grads(learn: Learner) -> dict[str, Tensor]:
    return {name: param.grad.clone() for name, param in learn.model.named_parameters() if param.grad is not None}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def assert_close(one: dict[str, Tensor], other: dict[str, Tensor], rtol: float = 1e-5, atol: float = 1e-7) -> None:
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(
            one[name], other[name], rtol=rtol, atol=atol, msg=lambda text, n=name: f"{n}: {text}"
        )


Handler = Callable[[Learner], Any]


def on(event: str, handler: Handler, order: Order = Order.SAVE, train_only: bool = False) -> Callback:
    """A callback that calls a function in one event."""
    methods = {event: lambda self, learn: handler(learn), "order": order, "train_only": train_only}
    return type("On", (Callback,), {**methods, "repeatable": True})()


class Scripted(Metric):
    """A metric whose values are given; one is taken per pass."""

    def __init__(self, name: str, better: Any, values: Sequence[float]) -> None:
        self.name, self.better = name, better
        self.values = list(values)

    def reset(self) -> None: ...

    def update(self, pred: Tensor, target: Tensor, n: int, loss: Tensor) -> None: ...

    def compute(self) -> float:
        return self.values.pop(0)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Planned(Exception):
    """Raised on purpose."""


def fail(learn: Learner) -> None:
    raise Planned
