"""A tiny model, its data, and callbacks that write down what they see."""

from __future__ import annotations

import copy
from contextlib import contextmanager

import torch
from torch import nn

from textxfer.batch import Loaders
from textxfer.training import Callback, Learner, Optimizer, Order
from textxfer.training.callback import EVENTS


def batches(n: int, rows: int = 4, seed: int = 0) -> list:
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randn(rows, 3, generator=generator), torch.randn(rows, 2, generator=generator)) for _ in range(n)]


class Net(nn.Module):
    """Three layer groups and a dropout."""

    def __init__(self, dropout: float = 0.3) -> None:
        super().__init__()
        self.bottom, self.middle, self.top = nn.Linear(3, 5), nn.Linear(5, 5), nn.Linear(5, 2)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.top(self.dropout(self.middle(self.bottom(x).tanh()).tanh()))

    def layer_groups(self):
        return [(name, getattr(self, name).parameters()) for name in ("bottom", "middle", "top")]


def learner(
    *callbacks: Callback, train: int = 2, valid: int | None = 2, seed: int = 0, dropout: float = 0.3, **options
) -> Learner:
    torch.manual_seed(seed)
    loaders = Loaders(batches(train), None if valid is None else batches(valid, seed=1))
    options = {"optimizer": Optimizer(), "device": "cpu", **options}
    return Learner(Net(dropout), loaders, nn.functional.mse_loss, callbacks=callbacks, **options)


class Recorder(Callback):
    """Writes down every event; the first of a pass with its mode."""

    order = Order.SAVE

    def __init__(self) -> None:
        self.events: list[str] = []


class Raiser(Callback):
    """Raises an error at the n-th time that an event comes."""

    def __init__(self, event: str, error: BaseException, at: int = 0) -> None:
        self.event, self.error, self.at = event, error, at
        self.seen = 0


class Stopper(Callback):
    def __init__(self, event: str, at: int = 0) -> None:
        self.event, self.at = event, at
        self.seen = 0


def _recorded(name: str):
    def handler(self, learn):
        self.events.append(name)

    return handler


def _raising(name: str):
    def handler(self, learn):
        if self.event == name:
            self.seen += 1
            if self.seen > self.at:
                raise self.error

    return handler


def _stopping(name: str):
    def handler(self, learn):
        if self.event == name:
            self.seen += 1
            if self.seen > self.at:
                learn.stop()

    return handler


@contextmanager
def _noted(events: list[str]):
    events.append("around_forward enter")
    try:
        yield
    finally:
        events.append("around_forward exit")


for _event in EVENTS:
    if _event != "around_forward":
        setattr(Recorder, _event, _recorded(_event))
        setattr(Stopper, _event, _stopping(_event))
        setattr(Raiser, _event, _raising(_event))
Recorder.around_forward = lambda self, learn: _noted(self.events)  # type: ignore[method-assign]


def _raise_around(self, learn):
    _raising("around_forward")(self, learn)
    return _noted([])


Raiser.around_forward = _raise_around  # type: ignore[method-assign]


def snapshot(learn: Learner) -> dict:
    """Everything that an error must leave as it was, weights and counters aside."""
    return {
        "forward": learn.forward,
        "compute": learn.compute,
        "callbacks": list(learn.callbacks),
        "in_fit": learn.in_fit,
        "stopping": learn.stopping,
        "savepoint": learn.savepoint,
        "training": learn.model.training,
        "active": list(learn.dispatch.callbacks),
        "grads": [p.grad is None for p in learn.model.parameters()],
        "trainable": learn.trainable,
        "hypers": copy.deepcopy(
            [{k: v for k, v in g.items() if k not in ("params", "lr", "base_lr")} for g in learn.optimizer.param_groups]
        ),
    }
