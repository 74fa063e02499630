"""What is written while training, what is kept, and what is put back."""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import textxfer.callbacks.save
from tests.callbacks.toys import Planned, Scripted, assert_close, equal, fail, lm_learner, on, weights
from textxfer.batch import Batch, Loaders
from textxfer.callbacks import EarlyStop, SaveBest, SaveEvery, WeightAverage
from textxfer.training import Learner, Perplexity, checkpoints

NAN = float("nan")


def best_run(folder, values, *callbacks, better="lower", restore=True, metric="figure", **options):
    """Train with given values of a metric; return the learner and the weights after each epoch."""
    states = []
    scripted = Scripted("figure", better, values)
    save = SaveBest(folder, metric, restore)
    watch = on("after_epoch", lambda learn: states.append(weights(learn.model)))
    learn = lm_learner(save, *callbacks, watch, metrics=[scripted, Perplexity()], **options)
    learn.fit(len(values), 1e-2)
    return learn, states


# ---- SaveBest ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("better", "best"), [("lower", 1), ("higher", 2)])
def test_the_best_epoch_is_restored(better, best, tmp_path):
    learn, states = best_run(tmp_path, [2.0, 1.0, 3.0, 2.5], better=better)
    assert equal(weights(learn.model), states[best])
    save = learn.callback(SaveBest)
    assert (save.best_epoch, save.best) == (best, [2.0, 1.0, 3.0][best])
    assert equal(load_file(tmp_path / "best.safetensors"), states[best])


def test_perplexity_is_minimised(tmp_path):
    """fastai's best-model callback kept the worst (features.md, c 49)."""
    learn, states = best_run(tmp_path, [0.0] * 3, metric="perplexity")
    perplexities = learn.history.column("perplexity")
    assert len(set(perplexities)) == 3
    assert equal(weights(learn.model), states[perplexities.index(min(perplexities))])


def test_the_first_of_equals_is_the_best(tmp_path):
    learn, states = best_run(tmp_path, [2.0, 1.0, 1.0])
    assert equal(weights(learn.model), states[1])


def test_without_restore_the_last_weights_stay(tmp_path):
    learn, states = best_run(tmp_path, [1.0, 2.0], restore=False)
    assert equal(weights(learn.model), states[1])
    assert equal(load_file(tmp_path / "best.safetensors"), states[0])


def test_a_fit_without_a_number_leaves_the_weights_alone_and_says_so(tmp_path, caplog):
    """fastai loads what an earlier run has left (features.md, d 7)."""
    best_run(tmp_path, [1.0])
    stale = (tmp_path / "best.safetensors").read_bytes()
    with caplog.at_level(logging.WARNING):
        learn, states = best_run(tmp_path, [NAN, NAN])
    assert equal(weights(learn.model), states[1])
    assert "no epoch of this fit had a usable value; the weights stay as they are" in caplog.text
    assert (tmp_path / "best.safetensors").read_bytes() == stale


def test_a_file_of_another_fit_is_not_loaded(tmp_path, caplog):
    def exchange(learn):
        if learn.progress.epoch == 1:
            best_run(tmp_path, [0.5])

    with caplog.at_level(logging.WARNING):
        learn, states = best_run(tmp_path, [1.0, 2.0], on("after_epoch", exchange))
    assert equal(weights(learn.model), states[1])
    assert "is not of this fit" in caplog.text


def test_a_number_beats_nan(tmp_path):
    learn, states = best_run(tmp_path, [NAN, 3.0, NAN, 4.0])
    assert equal(weights(learn.model), states[1])


def test_after_an_error_the_last_weights_stay(tmp_path):
    learn = lm_learner(
        SaveBest(tmp_path), on("before_epoch", lambda learn: fail(learn) if learn.progress.epoch else None)
    )
    late = on("after_epoch", lambda learn: nn.init.zeros_(next(learn.model.parameters())))
    with pytest.raises(Planned):
        learn.fit(2, 1e-2, callbacks=[late])
    assert (tmp_path / "best.safetensors").is_file()
    assert not next(learn.model.parameters()).any()


def test_averaged_weights_are_saved_when_they_were_validated(tmp_path):
    seen = []

    def look(learn: Learner) -> None:
        if not learn.step.training and learn.step.index == 0:
            seen.append(weights(learn.model))

    average = WeightAverage(decay=0.5)
    learn, states = best_run(tmp_path, [2.0, 1.0, 3.0], average, on("before_batch", look))
    assert equal(weights(learn.model), seen[1])
    assert not equal(seen[1], states[1])


def test_with_early_stop(tmp_path):
    learn, states = best_run(tmp_path, [2.0, 1.0, 3.0, 0.5], EarlyStop("figure", patience=1))
    assert len(states) == 3
    assert equal(weights(learn.model), states[1])


def test_a_failed_write_leaves_the_earlier_file(tmp_path, monkeypatch):
    _, states = best_run(tmp_path, [1.0])

    def broken(path, data):
        raise OSError("no space left")

    monkeypatch.setattr(Path, "replace", broken)
    with pytest.raises(OSError, match="no space left"):
        best_run(tmp_path, [0.5])
    assert [path.name for path in tmp_path.iterdir()] == ["best.safetensors"]
    assert equal(load_file(tmp_path / "best.safetensors"), states[0])


class Tied(nn.Module):
    """Two modules that share a matrix, and a buffer of each kind."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two = nn.Linear(3, 3), nn.Linear(3, 3)
        self.two.weight = self.one.weight
        self.norm = nn.BatchNorm1d(3)
        self.register_buffer("passing", torch.ones(3), persistent=False)

    def forward(self, x):
        return self.norm(self.two(self.one(x)))


def test_shared_weights_and_buffers(tmp_path):
    data = [Batch((torch.randn(6, 3),), torch.randn(6, 3), 6)]
    metric = Scripted("figure", "lower", [1.0, 2.0])
    states = []
    watch = on("after_epoch", lambda learn: states.append({k: v.clone() for k, v in learn.model.state_dict().items()}))
    callbacks = [SaveBest(tmp_path, metric), watch]
    learn = Learner(
        Tied(), Loaders(data, data), nn.functional.mse_loss, metrics=[metric], callbacks=callbacks, device="cpu"
    )
    learn.fit(2, 1e-2)
    assert equal(learn.model.state_dict(), states[0])
    assert not equal(states[0], states[1])
    saved = load_file(tmp_path / "best.safetensors")
    assert "two.weight" not in saved and "passing" not in saved and "norm.running_mean" in saved
    assert isinstance(learn.model, Tied) and learn.model.two.weight is learn.model.one.weight


# ---- SaveEvery ---------------------------------------------------------------------------------------------------


def saved_steps(folder):
    """The number of training batches that each state on disk has seen."""
    return [int(path.name.split("-")[1].split(".")[0]) for path in checkpoints(folder)]


def test_after_every_epoch_and_only_the_last_two(tmp_path):
    lm_learner(SaveEvery(tmp_path)).fit(4, 1e-3)
    assert saved_steps(tmp_path) == [9, 12]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"epochs": 2}, [6, 12]),
        ({"batches": 2}, [2, 4, 6, 8, 10, 12]),
        ({"batches": 5}, [5, 10]),
    ],
)
def test_how_often(options, expected, tmp_path):
    lm_learner(SaveEvery(tmp_path, keep_last=99, **options)).fit(4, 1e-3)
    assert saved_steps(tmp_path) == expected


def test_batches_are_counted_within_a_fit(tmp_path):
    learn = lm_learner(SaveEvery(tmp_path, batches=4))
    learn.fit(1, 1e-3)
    learn.fit(1, 1e-3)
    assert checkpoints(tmp_path) == []


def test_every_few_minutes(tmp_path, monkeypatch):
    clock = iter(range(0, 10_000, 20))  # one look at the clock takes 20 seconds

    class Clock:
        time = staticmethod(time.time)
        monotonic = staticmethod(lambda: next(clock))

    monkeypatch.setattr(textxfer.callbacks.save, "time", Clock)
    lm_learner(SaveEvery(tmp_path, minutes=1, keep_last=99), train=8).fit(1, 1e-3)
    assert saved_steps(tmp_path) == [3, 6]


def test_validation_batches_do_not_count(tmp_path):
    learn = lm_learner(SaveEvery(tmp_path, batches=4, keep_last=9), valid=5)
    learn.fit(1, 1e-3)
    learn.validate()
    assert not tmp_path.exists() or saved_steps(tmp_path) == []


def test_states_of_others_are_left_alone(tmp_path):
    first = lm_learner(SaveEvery(tmp_path, keep_last=1))
    first.fit(2, 1e-3)
    old = checkpoints(tmp_path)[0]
    os.utime(old, (time.time() - 3600, time.time() - 3600))
    lm_learner(SaveEvery(tmp_path, keep_last=1), train=1).fit(3, 1e-3)
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000003", old.name]


def test_several_fits_share_the_limit(tmp_path):
    learn = lm_learner(SaveEvery(tmp_path))
    learn.fit(2, 1e-3)
    learn.fit(1, 1e-3)
    assert saved_steps(tmp_path) == [6, 9]


def test_a_resumed_run_goes_on_and_clears_up_after_the_interrupted_one(tmp_path):
    def learner(*callbacks):
        return lm_learner(SaveEvery(tmp_path, batches=1), *callbacks)

    expected = lm_learner()
    expected.fit(2, 1e-2)
    late = on("after_batch", lambda learn: fail(learn) if learn.progress.step == 5 else None)
    with pytest.raises(Planned):
        learner(late).fit(2, 1e-2)
    assert len(saved_steps(tmp_path)) == 2
    learn = learner()
    learn.resume(tmp_path)
    learn.fit(2, 1e-2)
    assert_close(weights(learn.model), weights(expected.model), rtol=0, atol=0)
    assert saved_steps(tmp_path) == [5, 6]


def test_arguments_are_checked(tmp_path):
    with pytest.raises(ValueError, match="takes one of epochs, batches and minutes, not epochs and batches"):
        SaveEvery(tmp_path, epochs=1, batches=5)
    wrongs: list[dict[str, Any]] = [{"epochs": 0}, {"batches": 0}, {"minutes": 0}, {"keep_last": 0}, {"batches": 0.5}]
    for wrong in wrongs:
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be at least 1"):
            SaveEvery(tmp_path, **wrong)


def best_states(folder, values, *callbacks, n_epochs=None, resume=False, **options):
    """Train with given values of a metric, keeping one state and the best; return the callback."""
    save = SaveEvery(folder, keep_last=1, keep_best="figure", **options)
    learn = lm_learner(save, *callbacks, metrics=[Scripted("figure", "higher", values)])
    if resume:
        learn.resume(folder)
    learn.fit(n_epochs or len(values), 1e-2)
    return save


def epoch_of(state):
    return json.loads((state / "trainer.json").read_text())["fit"]["progress"]["epoch"]


def test_the_best_state_is_kept_beside_the_last(tmp_path):
    save = best_states(tmp_path, [1.0, 3.0, 2.0, NAN])
    assert [epoch_of(state) for state in checkpoints(tmp_path)] == [1, 3]
    assert save.best == (checkpoints(tmp_path)[0].name, 3.0)


def test_the_best_state_is_saved_though_none_is_due(tmp_path):
    best_states(tmp_path, [1.0, 3.0, 2.0], epochs=10)
    assert [epoch_of(state) for state in checkpoints(tmp_path)] == [1]


def test_the_best_state_is_known_after_a_stop(tmp_path):
    def interrupt(learn):
        if learn.progress.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        best_states(tmp_path, [1.0, 3.0, 2.0, 2.5], on("before_epoch", interrupt))
    save = best_states(tmp_path, [2.0, 2.5], n_epochs=4, resume=True)
    assert save.best is not None
    assert save.best[1] == 3.0
    assert [epoch_of(state) for state in checkpoints(tmp_path)] == [1, 3]
