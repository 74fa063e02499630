"""The tiny training behind `textxfer.testing`, how it is disturbed, and how two trainings are compared."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from textxfer.batch import Batch, Loaders
from textxfer.callbacks import CarryHidden, GradualUnfreeze, MixedPrecision
from textxfer.models.config import AWDLSTMConfig
from textxfer.models.language_model import LanguageModel, token_loss
from textxfer.training.callback import Callback, Order
from textxfer.training.learner import Learner
from textxfer.training.metrics import IGNORED, Accuracy, Perplexity
from textxfer.training.seeds import set_seed
from textxfer.training.state import capture

EPOCHS, BATCHES, LR = 3, 3, 1e-2
_VOCAB, _WIDTH, _TIME = 12, 3, 5


@final
class _Stream:
    """A language model's loader of random ids, with a number of targets that differs from batch to batch."""

    def __init__(self, seed: int, n_batches: int) -> None:
        self._seed, self._n = seed, n_batches
        self._epoch = self._start = 0

    def __len__(self) -> int:
        return self._n

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def seek(self, batch: int) -> None:
        self._start = batch

    def __iter__(self) -> Iterator[Batch]:
        start, self._start = self._start, 0
        generator = np.random.default_rng((self._seed, self._epoch))
        ids = torch.from_numpy(generator.integers(0, _VOCAB, (self._n, _TIME + 1, _WIDTH)))
        for index in range(start, self._n):
            target = ids[index, 1:].clone()
            target[_TIME - index % 3 :] = IGNORED
            yield Batch((ids[index, :-1],), target, int((target != IGNORED).sum()))


def tiny_learner(callbacks: Sequence[Callback]) -> Learner:
    """Return a learner of a tiny language model with dropout, the same one each time."""
    set_seed(0)
    model = LanguageModel(AWDLSTMConfig(vocab=_VOCAB, embed=4, hidden=6, layers=2))
    loaders = Loaders(_Stream(1, BATCHES), _Stream(2, 2))
    figures = [Perplexity(), Accuracy()]
    return Learner(model, loaders, token_loss, metrics=figures, callbacks=callbacks, device="cpu")


def hard_setup(callback: Callback) -> list[Callback]:
    """Return the callbacks of the hard setup, without one of the class that is checked."""
    base: list[Callback] = [CarryHidden(), GradualUnfreeze(), MixedPrecision("bf16")]
    return [other for other in base if type(other) is not type(callback)]


def hard_fit(learn: Learner) -> None:
    """Train with a schedule of rate and momentum."""
    learn.fit_one_cycle(EPOCHS, LR)


@contextmanager
def own_randomness() -> Iterator[None]:
    """Leave the random generators of Python, NumPy and torch as they were."""
    kept = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])  # noqa: NPY002
        torch.set_rng_state(kept[2])


def difference(found: Learner, expected: Learner) -> str | None:
    """Name the first thing in which two trained learners differ, or return None."""
    one, other = capture(found), capture(expected)
    for key in sorted(one.tensors.keys() | other.tensors.keys()):
        if key.startswith("callback/"):
            continue
        if key not in one.tensors or key not in other.tensors:
            return f"{key} is there only once"
        if not same(one.tensors[key], other.tensors[key]):
            return f"{key} differs"
    for name in ("groups", "trainable", "random", "fits_done", "epochs_done"):
        if not same(one.values[name], other.values[name]):
            return f"{name}: {one.values[name]} instead of {other.values[name]}"
    return _history_difference(found, expected)


def _history_difference(found: Learner, expected: Learner) -> str | None:
    for row, wanted in zip(found.history.epochs, expected.history.epochs):
        for name in (row | wanted).keys() - {"seconds"}:
            if not same(row.get(name), wanted.get(name)):
                return f"epoch {row['epoch']}: {name} is {row.get(name)} instead of {wanted.get(name)}"
    if len(found.history) != len(expected.history):
        return f"{len(found.history)} epochs instead of {len(expected.history)}"
    columns, wanted_columns = dict(found.history.steps), dict(expected.history.steps)
    wrong = [name for name, column in columns.items() if not same(column, wanted_columns[name])]
    return f"the history of batches differs in {', '.join(wrong)}" if wrong else None


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal to the last bit; NaN equals NaN."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        alike = one.dtype == other.dtype and one.shape == other.shape
        return alike and bool(((one == other) | ((one != one) & (other != other))).all())
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return type(one) is type(other) and bool(one == other)


def surroundings(learn: Learner) -> dict[str, Any]:
    """Return what a fit must leave as it found it."""
    modules = dict(learn.model.named_modules())
    return {
        "learn.forward": learn.forward,
        "learn.compute": learn.compute,
        "learn.model": learn.model,
        "learn.loaders": learn.loaders,
        "learn.loss_fn": learn.loss_fn,
        "learn.optimizer": learn.optimizer,
        "learn.metrics": learn.metrics,
        "attributes of the learner": sorted(vars(learn)),
        "learn.callbacks": list(learn.callbacks),
        "learn.trainable": learn.trainable,
        "requires_grad": {name: param.requires_grad for name, param in learn.model.named_parameters()},
        "gradients": [name for name, param in learn.model.named_parameters() if param.grad is not None],
        "hyper-parameters": [
            {k: v for k, v in group.items() if k != "params"} for group in learn.optimizer.param_groups
        ],
        "attributes of the optimizer": sorted(vars(learn.optimizer)),
        "compute_dtype": {name: getattr(module, "compute_dtype", None) for name, module in modules.items()},
        "attributes of modules": {name: _attributes(module) for name, module in modules.items()},
        "buffers": [name for name, _ in learn.model.named_buffers()],
        "hooks": _hooks({**modules, "optimizer": learn.optimizer, **dict(learn.model.named_parameters())}),
        "autocast": torch.is_autocast_enabled("cpu"),
        "gradient mode": torch.is_grad_enabled(),
    }


def _attributes(module: nn.Module) -> dict[str, Any]:
    """Return the plain values that a module has, such as dropouts, and the names of the others, such as a `forward`."""
    plain = (bool, int, float, str, tuple)
    return {
        name: value if isinstance(value, plain) and not name.startswith("_") else None
        for name, value in vars(module).items()
        if name != "training"  # after an error in the training pass it is as that left it
    }


def _hooks(owners: Mapping[str, Any]) -> dict[str, int]:
    """Count the hooks of modules, parameters and the optimizer."""
    of_tensors = ("_backward_hooks", "_post_accumulate_grad_hooks")  # None where there are none
    return {
        f"{owner} {name}": len(getattr(each, name, None) or ())
        for owner, each in owners.items()
        for name in (of_tensors if isinstance(each, Tensor) else vars(each))
        if name.endswith("_hooks")
    }


class Interrupted(Exception):
    """The end of a run that is to be resumed."""


@final
class Interrupt(Callback):
    """Check a callback's state, save and end the run: after a batch, or after the epoch if the batch is -1."""

    order = Order.SAVE
    train_only = True

    def __init__(
        self, callback: Callback, check: Callable[[dict[str, Any]], None], folder: str, epoch: int, batch: int
    ) -> None:
        self.callback, self.check, self.folder = callback, check, folder
        self.epoch, self.batch = epoch, batch
        self.state: dict[str, Any] = {}

    def after_batch(self, learn: Learner) -> None:
        if (learn.progress.epoch, learn.progress.batch) == (self.epoch, self.batch):
            self._end(learn)

    def after_epoch(self, learn: Learner) -> None:
        if (learn.progress.epoch, -1) == (self.epoch, self.batch):
            self._end(learn)

    def _end(self, learn: Learner) -> None:
        self.state = copy.deepcopy(self.callback.state_dict())
        self.check(self.state)
        learn.save(self.folder)
        raise Interrupted


@final
class Probe(Callback):
    """Keep the state that a callback has when a resumed run begins."""

    order = Order.DATA

    def __init__(self, callback: Callback) -> None:
        self.callback = callback
        self.state: dict[str, Any] | None = None

    def before_batch(self, learn: Learner) -> None:
        if self.state is None:
            self.state = copy.deepcopy(self.callback.state_dict())


_BEFORE_BATCHES = ("before_fit", "before_epoch", "before_train", "on_freeze")


class Planned(Exception):
    """The error that is raised on purpose."""


def error_in(event: str, order: Order) -> Callback:
    """Return a callback that raises an error in an event, at its last chance but at most once."""

    def handler(self: Callback, learn: Learner) -> Any:
        late = learn.progress.batch + 1 >= learn.progress.n_batches
        if not vars(self).get("done") and (late or event in _BEFORE_BATCHES):
            vars(self)["done"] = True
            raise Planned(event)
        return nullcontext()  # what around_forward returns; no other event looks at it

    return type("_Raiser", (Callback,), {"order": order, event: handler})()
