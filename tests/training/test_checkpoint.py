"""Interrupted and continued equals uninterrupted, bit for bit; damaged states are named."""

from __future__ import annotations

import hashlib
import json
import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.training.toys import Net, learner
from textxfer.batch import Loaders
from textxfer.callbacks import GradualUnfreeze, SaveEvery
from textxfer.training import Callback, CheckpointError, Learner, Optimizer, Order, checkpoints
from textxfer.training.checkpoint import load
from textxfer.training.state import capture
from textxfer.training.state_restore import restore

GOLDEN = Path(__file__).parents[1] / "golden" / "states"
"""States written by earlier versions: three epochs of `run`, ended after the third batch of the second."""


class SaveAt(Callback):
    """Saves at one moment and, as a crash would, ends the fit there."""

    order = Order.SAVE

    def __init__(self, folder, epoch, batch=None):
        self.folder, self.epoch, self.batch = folder, epoch, batch

    def after_batch(self, learn):
        at = learn.progress
        if learn.step.training and (at.epoch, at.batch) == (self.epoch, self.batch):
            learn.save(self.folder)
            raise KeyboardInterrupt

    def after_epoch(self, learn):
        if self.batch is None and learn.progress.epoch == self.epoch:
            learn.save(self.folder)
            raise KeyboardInterrupt


class Noise(Callback):
    """Draws from every generator and remembers what it drew, to see whether they go on where they were."""

    train_only = True

    def __init__(self):
        self.drawn = []

    def before_batch(self, learn):
        self.drawn.append((random.random(), float(np.random.rand()), float(torch.rand(()))))  # noqa: NPY002

    def state_dict(self):
        return {"drawn": list(self.drawn), "last": torch.tensor(self.drawn[-1] if self.drawn else (0.0,) * 3)}

    def load_state_dict(self, state):
        self.drawn = [tuple(row) for row in state["drawn"]]
        assert torch.equal(state["last"], torch.tensor(self.drawn[-1]))


class HalfFrozen(Callback):
    def before_epoch(self, learn):
        learn.freeze_to(2 - learn.progress.epoch)


def run(*callbacks, resume=None, **options):
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    learn = learner(train=4, **options)
    if resume is not None:
        learn.resume(resume)
    noise = Noise()
    learn.fit_one_cycle(3, 1e-2, callbacks=[noise, HalfFrozen(), *callbacks])
    return learn, noise


def same(a: Learner, b: Learner) -> None:
    for (name, mine), theirs in zip(a.model.state_dict().items(), b.model.state_dict().values()):
        assert torch.equal(mine, theirs), name
    for mine, theirs in zip(a.model.parameters(), b.model.parameters()):
        assert a.optimizer.state[mine].keys() == b.optimizer.state[theirs].keys()
        for slot, value in a.optimizer.state[mine].items():
            assert torch.equal(value, b.optimizer.state[theirs][slot])
    assert a.history.steps == b.history.steps
    drop = [{k: v for k, v in row.items() if k != "seconds"} for row in a.history.epochs]
    assert drop == [{k: v for k, v in row.items() if k != "seconds"} for row in b.history.epochs]
    assert a.progress == b.progress


@pytest.mark.parametrize("kind", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize(("epoch", "batch"), [(0, 0), (0, 3), (1, 2), (0, None), (1, None), (2, 3), (2, None)])
def test_resumed_equals_uninterrupted(tmp_path, epoch, batch, kind):
    optimizer = Optimizer(kind, momentum=0.9)
    whole, drawn = run(optimizer=optimizer)
    after = torch.get_rng_state()
    with pytest.raises(KeyboardInterrupt):
        run(SaveAt(tmp_path, epoch, batch), optimizer=optimizer)
    again, drawn_again = run(resume=tmp_path, optimizer=optimizer, seed=99)
    same(whole, again)
    assert drawn.drawn == drawn_again.drawn
    assert torch.equal(after, torch.get_rng_state())


def test_gradients_in_flight_are_kept(tmp_path):
    class Pairs(Callback):
        def before_batch(self, learn):
            if learn.step.training and learn.progress.batch % 2 == 0:
                learn.step.update = None

    whole, _ = run(Pairs())
    with pytest.raises(KeyboardInterrupt):
        run(Pairs(), SaveAt(tmp_path, 1, 2))
    assert any(key.startswith("grad/") for key in load(tmp_path).tensors)
    again, _ = run(Pairs(), resume=tmp_path)
    same(whole, again)


def test_finished_fits_are_counted(tmp_path):
    learn = learner()
    learn.fit(1, 1e-2)
    with pytest.raises(KeyboardInterrupt):
        learn.fit(2, 1e-2, [SaveAt(tmp_path, 0)])
    again = learner(seed=5)
    again.resume(tmp_path)
    assert again.fits_done == 1
    again.fit(2, 1e-2)
    assert again.fits_done == 2
    assert again.history.column("fit") == [0, 1, 1]


def test_between_fits(tmp_path):
    learn = learner()
    learn.fit(1, 1e-2)
    learn.save(tmp_path)
    learn.fit(1, 1e-2)
    again = learner(seed=5)
    again.resume(tmp_path)
    again.fit(1, 1e-2)
    same(learn, again)


def test_hyper_parameters_are_those_of_the_state(tmp_path):
    learner(optimizer=Optimizer(betas=(0.6, 0.9), weight_decay=0.3)).save(tmp_path)
    again = learner()
    again.resume(tmp_path)
    for group in again.optimizer.param_groups:
        assert group["betas"] == (0.6, 0.9)
        assert group["weight_decay"] == (0.3 if group["name"].endswith("/decay") else 0)


class Tally(Callback):
    repeatable = True

    def __init__(self, count):
        self.count = count

    def after_batch(self, learn):
        self.count += 1

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


def test_callbacks_of_one_class_get_back_each_its_own(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        learner(Tally(0), Tally(100), Tally(200), SaveAt(tmp_path, 0)).fit(1, 1e-2)
    tallies = [Tally(7) for _ in range(3)]
    learner(*tallies).resume(tmp_path)
    assert [tally.count for tally in tallies] == [4, 104, 204]


def test_if_one_callback_cannot_take_its_state_none_keeps_its_own(tmp_path):
    class Picky(Tally):
        def load_state_dict(self, state):
            if state["count"] != 0:
                raise ValueError("too many")

    learner(Tally(50), Picky(60)).save(tmp_path)
    tally = Tally(5)
    again = learner(tally, Picky(0), seed=3)
    before = again.model.top.weight.detach().clone()
    with pytest.raises(CheckpointError, match="what the callback Picky had: too many"):
        again.resume(tmp_path)
    assert tally.count == 5
    assert torch.equal(again.model.top.weight, before)


def test_a_state_in_memory_serves_more_than_once():
    learn = learner()
    learn.fit(1, 1e-2)
    state, ends = capture(learn).clone(), []
    for _ in range(2):
        restore(learn, state)
        learn.fit(1, 1e-2)
        ends.append([param.detach().clone() for param in learn.model.parameters()])
    assert all(map(torch.equal, *ends))


@pytest.mark.parametrize("frozen", [0, 1])
def test_a_parameter_frozen_by_hand_stays_frozen(tmp_path, frozen):
    def by_hand():
        learn = learner()
        learn.freeze_to(frozen)
        learn.model.top.weight.requires_grad_(False)
        return learn

    with pytest.raises(KeyboardInterrupt):
        by_hand().fit(2, 1e-2, [SaveAt(tmp_path, 0)])
    again = by_hand()
    before = again.model.top.weight.detach().clone()
    again.resume(tmp_path)
    again.fit(2, 1e-2)
    assert not again.model.top.weight.requires_grad
    assert torch.equal(again.model.top.weight, before)


def test_a_group_that_was_unfrozen_trains_whole_after_resume(tmp_path):
    """In the unbroken fit unfreezing lets parameters train that were frozen by hand; so it must in the resumed one."""

    def fit(learn, *more):
        learn.model.bottom.weight.requires_grad_(False)
        learn.fit(5, 1e-2, [GradualUnfreeze(), *more])
        return learn

    whole = fit(learner())
    with pytest.raises(KeyboardInterrupt):
        fit(learner(), SaveAt(tmp_path, 3))
    again = learner(seed=5)
    again.resume(tmp_path)
    same(whole, fit(again))
    assert again.model.bottom.weight.requires_grad


def test_what_earlier_versions_say_of_frozen_groups(tmp_path):
    learn = learner()
    learn.freeze()
    state = capture(learn)
    del state.values["frozen"]
    again = learner()
    for param in again.model.parameters():
        param.grad = torch.ones_like(param)
    restore(again, state)
    assert all(param.grad is None for index in (0, 1) for param in again.groups[index].params)
    assert again.trainable == (2,)
    assert [param.requires_grad for param in again.groups[0].params] == [False] * len(again.groups[0].params)


def test_a_stop_that_was_asked_for_holds_after_resume(tmp_path):
    class StopAndSave(Callback):
        order = Order.SAVE

        def after_epoch(self, learn):
            learn.stop()
            learn.save(tmp_path)

    learner().fit(3, 1e-2, [StopAndSave()])
    again = learner()
    again.resume(tmp_path)
    again.fit(3, 1e-2)
    assert len(again.history) == 1


def test_states_are_listed_oldest_first_and_latest_points_to_the_last(tmp_path):
    learn = learner()
    learn.fit(1, 1e-2)
    first = learn.save(tmp_path)
    second = learn.save(tmp_path)
    assert checkpoints(tmp_path) == [first, second]
    assert (tmp_path / "latest").read_text().strip() == second.name


@pytest.mark.parametrize("event", ["before_batch", "after_loss", "after_update", "before_valid", "after_batch"])
def test_saving_is_refused_where_a_batch_is_half_done_and_in_validation(tmp_path, event):
    def handler(self, learn):
        if event != "after_batch" or not learn.step.training:
            learn.save(tmp_path)

    TooEarly = type("TooEarly", (Callback,), {event: handler})

    with pytest.raises(CheckpointError, match="save\\(\\) works in after_batch"):
        learner().fit(1, 1e-2, [TooEarly()])
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def interrupted(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        learner(train=4).fit(2, 1e-2, [SaveAt(tmp_path, 0, 1)])
    return tmp_path


def test_another_plan_is_refused(interrupted):
    learn = learner(train=4)
    learn.resume(interrupted)
    with pytest.raises(CheckpointError, match="had 2 epochs, this one has 3"):
        learn.fit(3, 1e-2)
    learn = learner(train=5)
    learn.resume(interrupted)
    with pytest.raises(CheckpointError, match="planned 8 updates, this one plans 10"):
        learn.fit(2, 1e-2)


def test_a_missing_callback_is_named(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(SaveAt(tmp_path, 0, 1))
    learn = learner(train=4)
    learn.resume(tmp_path)
    with pytest.raises(CheckpointError, match="callbacks that this one lacks: Noise"):
        learn.fit_one_cycle(3, 1e-2)


def test_a_state_that_was_refused_waits_for_its_own_fit(interrupted):
    learn = learner(train=4)
    learn.resume(interrupted)
    for _ in range(2):
        with pytest.raises(CheckpointError, match="had 2 epochs, this one has 3"):
            learn.fit(3, 1e-2)
    learn.fit(2, 1e-2)
    assert [(row["fit"], row["epoch"]) for row in learn.history] == [(0, 0), (0, 1)]
    whole = learner(train=4)
    whole.fit(2, 1e-2)
    same(whole, learn)
    learn.fit(1, 1e-2)
    assert learn.history.column("fit") == [0, 0, 1]


def test_another_model_is_refused(interrupted):
    model = nn.Sequential(nn.Linear(3, 2))
    learn = Learner(model, Loaders([]), nn.functional.mse_loss)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(CheckpointError, match="the state is of another model: missing"):
        learn.resume(interrupted)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


FILES = ["model.safetensors", "state.safetensors", "trainer.json", "SHA256SUMS"]


def damage(path, kind):
    data = bytearray(path.read_bytes())
    path.unlink()
    if kind == "flipped":
        data[len(data) // 2] ^= 1
    if kind != "gone":
        path.write_bytes(data if kind == "flipped" else data[: len(data) // 2])


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", ["cut", "flipped", "gone"])
def test_damaged_states_are_named(interrupted, name, kind):
    (state,) = checkpoints(interrupted)
    damage(state / name, kind)
    with pytest.raises(CheckpointError, match=f"{name} is missing" if kind == "gone" else "is damaged"):
        learner(train=4).resume(state)


@pytest.mark.parametrize("kind", ["cut", "flipped", "gone"])
def test_the_state_before_a_damaged_one_is_used_and_the_damaged_one_named(tmp_path, caplog, kind):
    whole, _ = run()
    with pytest.raises(KeyboardInterrupt):
        run(SaveEvery(tmp_path, batches=1), SaveAt(tmp_path / "other", 1, 2))
    before, latest = checkpoints(tmp_path)
    damage(latest / "state.safetensors", kind)
    resumed, _ = run(SaveEvery(tmp_path, batches=1), resume=tmp_path)
    same(whole, resumed)
    (record,) = caplog.records
    assert latest.name in record.message
    assert before.name not in record.message


def test_behind_a_damaged_state_the_one_written_last_is_used(tmp_path):
    learn = learner()
    first, second, third = (learn.save(tmp_path) for _ in range(3))
    damage(third / "state.safetensors", "cut")
    now = third.stat().st_mtime
    for place, age in ((first, 20), (second, 10)):
        os.utime(place, (now - age, now - age))
    assert load(tmp_path).name.endswith(second.name)
    os.utime(first, (now, now))
    assert load(tmp_path).name.endswith(first.name)


def test_the_latest_is_told_by_the_pointer_and_no_other_folder_is_read(interrupted, tmp_path):
    (state,) = checkpoints(interrupted)
    (interrupted / "latest").write_text("../elsewhere\n")  # moved by hand, or by a stranger
    assert load(interrupted).values == load(state).values


def test_without_a_sound_state_all_are_named(interrupted):
    (state,) = checkpoints(interrupted)
    damage(state / "model.safetensors", "cut")
    with pytest.raises(CheckpointError, match=f"has no state to resume from: .*{state.name} is damaged"):
        learner(train=4).resume(interrupted)


def test_checksums_are_those_of_sha256sum(interrupted):
    (state,) = checkpoints(interrupted)
    lines = [line.split("  ") for line in (state / "SHA256SUMS").read_text().splitlines()]
    assert [name for _, name in lines] == FILES[:3]
    for digest, name in lines:
        assert hashlib.sha256((state / name).read_bytes()).hexdigest() == digest
    assert {path.name for path in state.iterdir()} == set(FILES)
    assert len({path.stat().st_mode for path in state.iterdir()}) == 1, "all may be read by those who may read one"


@pytest.mark.parametrize("number", [1, 2])
def test_states_of_each_format_are_read(number):
    whole, _ = run()
    resumed, _ = run(resume=GOLDEN / f"format-{number}")
    for mine, theirs in zip(whole.model.parameters(), resumed.model.parameters()):
        torch.testing.assert_close(mine, theirs)  # not bit for bit: the state was written on another machine
    assert resumed.history.steps["step"] == whole.history.steps["step"]


def test_unknown_format(interrupted):
    (state,) = checkpoints(interrupted)
    values = json.loads((state / "trainer.json").read_text())
    (state / "trainer.json").write_text(json.dumps(values | {"format": 99}))
    (state / "SHA256SUMS").unlink()
    with pytest.raises(CheckpointError, match="format 99; this version reads 1 and 2"):
        learner(train=4).resume(interrupted)


def test_no_state(tmp_path):
    with pytest.raises(CheckpointError, match=r"no training state in .*nowhere: there is no such folder"):
        learner().resume(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"no training state in .*: model\.safetensors is missing"):
        learner().resume(tmp_path)


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr("textxfer.training.checkpoint.save_file", full)
    with pytest.raises(OSError, match="no space left"):
        learner().save(tmp_path)
    assert list(tmp_path.iterdir()) == []


class Tied(nn.Module):
    """One matrix under two names, as a buffer that is a view of another, too."""

    def __init__(self):
        super().__init__()
        self.embedding, self.out = nn.Embedding(7, 4), nn.Linear(4, 7, bias=False)
        self.out.weight = self.embedding.weight
        self.register_buffer("counts", torch.zeros(7))
        self.register_buffer("head", self.counts[2:5])

    def forward(self, ids):
        return self.out(self.embedding(ids))


def tied_learner(*callbacks):
    torch.manual_seed(0)
    data = [(torch.randint(0, 7, (5,)), torch.randint(0, 7, (5,))) for _ in range(3)]
    return Learner(Tied(), Loaders(data), nn.functional.cross_entropy, callbacks=callbacks, device="cpu")


@pytest.mark.parametrize("batch", [1, None])
def test_tied_weights_are_saved_and_stay_tied(tmp_path, batch):
    whole = tied_learner()
    whole.fit(2, 1e-2)
    with pytest.raises(KeyboardInterrupt):
        tied_learner().fit(2, 1e-2, [SaveAt(tmp_path, 0, batch)])
    again = tied_learner()
    again.model.counts.fill_(9)
    again.resume(tmp_path)
    again.fit(2, 1e-2)
    same(whole, again)
    assert again.model.out.weight is again.model.embedding.weight
    assert again.model.counts.sum() == 0


def test_entries_are_keyed_by_name_so_groups_may_be_cut_differently(interrupted):
    class OneGroup(Net):
        def layer_groups(self):
            return [("all", self.parameters())]

    learn = Learner(OneGroup(), Loaders([]), nn.functional.mse_loss)
    learn.resume(interrupted)
    assert learn.optimizer.state[learn.model.top.weight]["step"].item() == 2
