"""Nothing that happens in the sandbox may be seen from outside, however it ends."""

from __future__ import annotations

import copy
import random

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from tests.training.toys import Net, batches, learner
from textxfer.batch import Loaders
from textxfer.training import Callback, Learner, Order
from textxfer.training.callback import EVENTS
from textxfer.training.metrics import Loss
from textxfer.training.param_schedule import ParamSchedule
from textxfer.training.sandbox import sandbox
from textxfer.training.schedule import Linear


class Shuffled:
    """A loader with an order of its own per epoch, that counts what was asked of it."""

    def __init__(self, n: int = 5) -> None:
        self.items, self.epoch, self.start, self.drawn = batches(n), 0, 0, 0
        self.generator = np.random.default_rng(3)
        self.choice = random.Random(4)

    def __len__(self) -> int:
        return len(self.items)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def seek(self, batch: int) -> None:
        self.start = batch

    def __iter__(self):
        start, self.start = self.start, 0
        for index in np.random.default_rng(self.epoch).permutation(len(self.items))[start:]:
            self.generator.random(), self.choice.random()
            self.drawn += 1
            yield self.items[index]


class Noisy(Net):
    """Has a dropout, running statistics, a buffer that is not saved, and draws from every generator."""

    def __init__(self) -> None:
        super().__init__(dropout=0.5)
        self.norm = nn.BatchNorm1d(3)
        self.register_buffer("calls", torch.zeros(()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        np.random.rand(), random.random()  # noqa: NPY002
        self.calls = self.calls + 1
        return super().forward(self.norm(x))

    def layer_groups(self):
        return [("norm", self.norm.parameters()), *super().layer_groups()]


class Counter(Callback):
    """Keeps a tensor and a number, as a resumable callback does."""

    def __init__(self) -> None:
        self.total, self.batches = torch.zeros(2), 0
        self.report = "nothing yet"  # not part of the state

    def before_epoch(self, learn):
        self.report = f"epoch {learn.progress.epoch}"
        learn.freeze_to(-2)

    def after_batch(self, learn):
        self.batches += 1
        self.total = self.total + learn.step.loss.detach()

    def state_dict(self):
        return {"total": self.total, "batches": self.batches}

    def load_state_dict(self, state):
        self.total, self.batches = state["total"], state["batches"]


class Writer(Callback):
    order = Order.SAVE

    def __init__(self) -> None:
        self.events = 0

    def before_fit(self, learn):
        self.events += 1


class Printer(Writer):
    order = Order.REPORT


class Broken(Callback):
    """Raises an error at an event, or at the n-th batch."""

    def __init__(self, event: str, error: BaseException, at: int = 1) -> None:
        self.event, self.error, self.at, self.seen = event, error, at, 0

    def count(self, event: str) -> None:
        self.seen += event == self.event
        if event == self.event and self.seen == self.at:
            raise self.error


for _event in EVENTS:
    if _event != "around_forward":
        setattr(Broken, _event, lambda self, learn, event=_event: self.count(event))


def noisy(trained: bool, loader: object | None = None) -> Learner:
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    random.seed(0)
    callbacks = [Counter(), Writer(), Printer(), ParamSchedule(lr=Linear())]
    loaders = Loaders(Shuffled() if loader is None else loader, batches(2, seed=1))  # type: ignore[arg-type]
    learn = Learner(Noisy(), loaders, nn.functional.mse_loss, callbacks=callbacks, device="cpu")
    if trained:
        learn.fit(2, 1e-2)
        learn.freeze_to(1)
        learn.model.bottom.bias.requires_grad_(False)  # by hand; the sandbox freezes and unfreezes its group
        learn.model.middle.eval()
        learn.model.top.weight.grad = torch.ones_like(learn.model.top.weight)
    return learn


def everything(learn: Learner) -> dict:
    """All that could tell that something happened, with tensors copied."""
    optimizer = learn.optimizer
    attributes = {k: v for k, v in vars(learn).items() if k not in ("model", "loaders", "optimizer", "history")}
    return copy.deepcopy(
        {
            "weights": dict(learn.model.named_parameters()),
            "grads": {name: param.grad for name, param in learn.model.named_parameters()},
            "requires": {name: param.requires_grad for name, param in learn.model.named_parameters()},
            "buffers": dict(learn.model.named_buffers()),
            "modes": {name: module.training for name, module in learn.model.named_modules()},
            "optimizer": optimizer.state_dict(),
            "generators": [torch.get_rng_state(), np.random.get_state(), random.getstate()],  # noqa: NPY002
            "loader": _loader(learn.loaders.train),
            "history": learn.history.to_json(),
            "callbacks": [callback.state_dict() | _own(callback) for callback in learn.callbacks],
            "progress": learn.progress,
            "numbers": {k: v for k, v in attributes.items() if isinstance(v, int | float | str | tuple | None)},
            "results": learn.results,
            "metrics": learn.pass_metrics[True].state_dict(),
            "identities": {k: id(v) for k, v in vars(learn).items() if not isinstance(v, int | float)},
        }
    )


def _own(callback: Callback) -> dict:
    return {key: value for key, value in vars(callback).items() if isinstance(value, int | str | tuple)}


def _loader(loader: object) -> dict:
    if isinstance(loader, DataLoader):
        return {"generator": loader.generator.get_state()}
    if not isinstance(loader, Shuffled):
        return {}
    state = {name: getattr(loader, name) for name in ("epoch", "start", "drawn")}
    return state | {"numpy": loader.generator.bit_generator.state, "python": loader.choice.getstate()}


def same(left: object, right: object) -> bool:
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        return left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, np.ndarray):
        return np.array_equal(left, right)  # type: ignore[arg-type]
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right


def assert_no_trace(before: dict, learn: Learner) -> None:
    after = everything(learn)
    assert [key for key in before if not same(before[key], after[key])] == []


@pytest.mark.parametrize("trained", [False, True])
def test_everything_is_put_back(trained):
    learn = noisy(trained)
    before = everything(learn)
    with sandbox(learn):
        learn.fit(1, 1.0, [Stop(13)])
        inside = everything(learn)
    assert_no_trace(before, learn)
    changed = {key for key in before if not same(before[key], inside[key])}
    assert {"weights", "buffers", "optimizer", "generators", "history", "callbacks", "progress", "requires"} <= changed


class Stop(Callback):
    train_only = True

    def __init__(self, at: int) -> None:
        self.at = at

    def after_batch(self, learn):
        if learn.step.index + 1 == self.at:
            learn.stop()


@pytest.mark.parametrize("error", [RuntimeError("injected"), KeyboardInterrupt()], ids=["error", "ctrl-c"])
@pytest.mark.parametrize(
    "event", [event for event in EVENTS if event not in ("around_forward", "before_valid", "after_valid")]
)
def test_also_after_an_error_in_any_event(event, error):
    learn = noisy(trained=True)
    before = everything(learn)
    with pytest.raises(type(error)), sandbox(learn):
        learn.fit(1, 1.0, [Broken(event, error), Stop(3)])
    assert_no_trace(before, learn)


@pytest.mark.parametrize("at", [1, 4, 9])
def test_also_after_an_error_in_the_model(at):
    learn = noisy(trained=True)
    before, calls = everything(learn), []

    def loss_fn(pred, target):
        calls.append(1)
        if len(calls) == at:
            raise KeyboardInterrupt
        return nn.functional.mse_loss(pred, target)

    original = learn.loss_fn
    with pytest.raises(KeyboardInterrupt), sandbox(learn):
        learn.loss_fn = loss_fn
        learn.fit(1, 1.0)
    assert learn.loss_fn is original
    assert_no_trace(before, learn)


def test_what_comes_after_is_the_same_as_without():
    with_sandbox, without = noisy(trained=True), noisy(trained=True)
    state = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    with sandbox(with_sandbox):
        with_sandbox.fit(1, 1.0, [Stop(7)])
    for learn in (with_sandbox, without):
        torch.set_rng_state(state[0])
        np.random.set_state(state[1])  # noqa: NPY002
        random.setstate(state[2])
        learn.fit(2, 1e-2)
    for left, right in zip(with_sandbox.model.parameters(), without.model.parameters()):
        assert torch.equal(left, right)
    assert with_sandbox.history.steps["loss"] == without.history.steps["loss"]


def test_torch_loader_with_a_generator():
    dataset = TensorDataset(torch.randn(20, 3), torch.randn(20, 2))
    loader = DataLoader(dataset, batch_size=4, shuffle=True, generator=torch.Generator().manual_seed(1))
    learn = noisy(trained=False, loader=loader)
    before = everything(learn)
    with sandbox(learn):
        learn.fit(1, 1.0, [Stop(12)])
    assert_no_trace(before, learn)


def test_saving_reporting_and_schedules_are_left_out():
    learn, seen = learner(Writer(), Printer(), Counter(), ParamSchedule(lr=Linear())), []
    with sandbox(learn):
        seen = [type(callback).__name__ for callback in learn.callbacks]
        assert learn.loaders.valid is None
    assert seen == ["Counter"]
    assert [type(callback).__name__ for callback in learn.callbacks] == [
        "Writer",
        "Printer",
        "Counter",
        "ParamSchedule",
    ]


def test_data_have_no_end_and_follow_the_epochs():
    loader = Shuffled(4)
    learn = noisy(trained=False, loader=loader)
    with sandbox(learn):
        assert len(learn.loaders.train) > 10**9
        drawn = [batch.inputs[0] for batch, _ in zip(learn.loaders.train, range(10))]
    expected = []
    for epoch in range(3):
        loader.set_epoch(epoch)
        expected += [x for x, _ in loader]
    assert all(map(torch.equal, drawn, expected))


def test_an_empty_loader_is_an_error_and_not_an_endless_loop():
    learn = noisy(trained=False, loader=Shuffled(0))
    with pytest.raises(ValueError, match="empty"), sandbox(learn):
        learn.fit(1, 1.0)


def test_a_loader_that_runs_dry_ends_the_epoch():
    class Once(Shuffled):
        def __iter__(self):
            return iter([self.items.pop(0) for _ in range(len(self.items))])

    learn = noisy(trained=False, loader=Once(4))
    with sandbox(learn):
        learn.fit(1, 1.0)
        assert learn.history.n_steps == 4


def test_a_running_fit_is_refused():
    class Inner(Callback):
        def after_batch(self, learn):
            with sandbox(learn):
                raise AssertionError("not reached")

    learn = noisy(trained=False)
    with pytest.raises(RuntimeError, match=r"call lr_find\(\) before or after it"):
        learn.fit(1, 1e-3, [Inner()])


def test_a_waiting_resume_still_waits(tmp_path):
    class Save(Callback):
        def after_batch(self, learn):
            if learn.step.training and learn.step.index == 1:
                learn.save(tmp_path)

    noisy(trained=False).fit(1, 1e-2, [Save()])
    learn = noisy(trained=False)
    learn.resume(tmp_path)
    waiting = learn.resumed
    with sandbox(learn):
        learn.fit(1, 1.0, [Stop(4)])
    assert waiting is not None and learn.resumed is waiting
    assert learn.pass_metrics[True]["loss"].__class__ is Loss
