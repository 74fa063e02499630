"""Defects 1 to 5 and 12 to 16 of fastai 2.8.12: errors, cleaning up, one history, moments, accumulation, order.

A test's docstring says what fastai does, and where; the test fails on that behaviour.
"""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import pytest
import torch

import textxfer.callbacks
from tests.callbacks.toys import assert_close, equal, lm_batches, lm_learner, weights
from tests.training.toys import Raiser, Recorder, batches, learner, snapshot
from textxfer.batch import Loaders
from textxfer.callbacks import Accumulate, CSVLog, MixedPrecision
from textxfer.training import Callback, Learner, Linear, Optimizer, Order, ParamSchedule
from textxfer.training.callback import EVENTS

CALLBACKS: list[type[Callback]] = [getattr(textxfer.callbacks, name) for name in textxfer.callbacks.__all__]


@pytest.mark.parametrize("error", [ValueError(), AssertionError(), OSError()], ids=repr)
def test_defect_01_an_error_without_arguments_survives(error: Exception) -> None:
    """callback/core.py:65 reads the error's first argument for its message: a bare `assert` becomes an IndexError."""
    with pytest.raises(type(error)) as caught:
        learner(Raiser("after_loss", error)).fit(1, 1e-2)
    assert caught.value is error and error.args == ()
    assert Path(caught.traceback[-1].path).name == "toys.py"  # where it was raised
    assert any("raised in Raiser" in note for note in error.__notes__)


@pytest.mark.parametrize("event", [event for event in EVENTS if event != "on_freeze"])
def test_defect_02_everything_is_put_back_after_ctrl_c(event: str) -> None:
    """learner.py:207-210 has no `finally`: after Ctrl-C autocast stays on, temporary callbacks' changes stay."""
    learn = learner(MixedPrecision("bf16"))
    before = snapshot(learn)
    schedule = ParamSchedule(lr=Linear(), momentum=Linear(0.5, 0.4))
    with pytest.raises(KeyboardInterrupt):
        learn.fit(2, 1e-2, [schedule, Raiser(event, KeyboardInterrupt(), at=event in ("before_batch", "after_loss"))])
    learn.model.train(before["training"])
    assert snapshot(learn) == before
    assert not torch.is_autocast_enabled("cpu") and torch.is_grad_enabled()


def test_defect_02_the_rate_finder_puts_the_weights_back_after_ctrl_c() -> None:
    """learner.py:207-210: the rate finder restores the weights in `after_fit`, which an interrupt passes over."""
    learn = learner(Raiser("after_update", KeyboardInterrupt(), at=3))
    before = weights(learn.model)
    with pytest.raises(KeyboardInterrupt):
        learn.lr_find(start=0.1, end=1, n_steps=9)
    assert equal(weights(learn.model), before)


def test_defect_03_evaluation_leaves_the_history_alone() -> None:
    """learner.py:279-288: `validate`, `get_preds` and `predict` fire `before_fit`, which empties the recorder."""
    recorder = Recorder()
    learn = learner(recorder)
    learn.fit(1, 1e-2)
    before, n_fits = learn.history.to_json(), recorder.events.count("before_fit")
    learn.validate()
    learn.predict(batches(2))
    assert learn.history.to_json() == before and learn.history.n_steps == 2
    assert recorder.events.count("before_fit") == n_fits == 1


def test_defect_04_one_history_over_all_stages() -> None:
    """learner.py:560: each fit clears losses and rates, so only the last stage of gradual unfreezing is left."""
    learn = learner(train=3)
    for stage in range(4):
        learn.freeze_to(max(-1 - stage, -3))
        learn.fit(1, 1e-2 / (stage + 1))
    assert [row["fit"] for row in learn.history] == [0, 1, 2, 3]
    assert learn.history.steps["fit"] == [fit for fit in range(4) for _ in range(3)]
    assert learn.history.steps["lrs"]["top"][::3] == [1e-2, 1e-2 / 2, 1e-2 / 3, 1e-2 / 4]


def test_defect_05_the_log_has_all_rows_and_one_header(tmp_path: Path) -> None:
    """callback/progress.py:110-113: `lr_find` and `validate` empty the file; append mode repeats the header."""
    log = tmp_path / "log.csv"
    learn = learner(CSVLog(log))
    learn.fit(1, 1e-2)
    learn.lr_find(n_steps=3)
    learn.validate()
    learn.fit(2, 1e-2)
    learner(CSVLog(log)).fit(1, 1e-2)  # another learner goes on with the same file
    with log.open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header[:2] == ["fit", "epoch"]
    assert [row[:2] for row in rows] == [["0", "0"], ["1", "0"], ["1", "1"], ["0", "0"]]


def moments(learn: Learner) -> dict[str, torch.Tensor]:
    """All that the optimizer keeps, by name."""
    state = learn.optimizer.state
    return {f"{n}/{slot}": v.clone() for n, p in learn.model.named_parameters() for slot, v in state[p].items()}


def test_defect_12_freezing_keeps_the_moments() -> None:
    """learner.py:661-665: to freeze or unfreeze clears the moments and step counts of all parameters."""
    learn = learner()
    learn.fit(1, 1e-2)
    before = moments(learn)
    learn.freeze()
    learn.unfreeze()
    assert before and equal(moments(learn), before)
    learn.freeze()
    learn.fit(1, 1e-2)
    after = moments(learn)
    assert equal(*({k: v for k, v in each.items() if not k.startswith("top")} for each in (before, after)))
    assert after["top.weight/step"] == 2 * before["top.weight/step"] == 4


def test_defect_13_a_plain_fit_has_the_momentum_of_the_optimizer() -> None:
    """learner.py:264-273: a fit takes over the momentum with which the schedule of the fit before has ended."""
    learn = learner(optimizer=Optimizer(betas=(0.9, 0.99)))
    learn.fit_one_cycle(1, 1e-2, momentum=(0.8, 0.7))
    learn.fit(1, 1e-3)
    steps = learn.history.steps
    assert steps["momentum"] == [*steps["momentum"][:2], 0.9, 0.9] and 0.9 not in steps["momentum"][:2]
    assert steps["lrs"]["top"][2:] == [1e-3, 1e-3]


def test_defect_14_accumulated_batches_equal_the_large_batch() -> None:
    """callback/training.py:29-36: what is left of a group at the end is not applied, schedules count small batches."""
    small = batches(3)  # the groups of an epoch: two batches, and the one that is left
    large = [tuple(torch.cat(parts) for parts in zip(*small[:2])), small[2]]
    learners = [learner(train=1, valid=None, dropout=0), learner(Accumulate(2), train=1, valid=None, dropout=0)]
    for learn, data in zip(learners, (large, small)):
        learn.loaders = Loaders(data)
        learn.fit(2, 1e-2, [ParamSchedule(lr=Linear())])
        assert learn.progress.step == learn.progress.n_steps == 4
    assert_close(weights(learners[0].model), weights(learners[1].model))


def test_defect_15_what_a_callback_declares_is_read() -> None:
    """distributed.py:28, callback/training.py:57: `run_after` and `run_before` are declared, and nobody reads them."""
    known = set(Callback.__annotations__)
    for cls in CALLBACKS:
        declared = {name for name, value in vars(cls).items() if not callable(value) and not name.startswith("_")}
        assert {name for name in declared if not isinstance(vars(cls)[name], property)} <= known
    for relation in ("run_after", "run_before"):
        with pytest.raises(TypeError, match=rf"Late\.{relation} is not read: `order` says when"):
            type("Late", (Callback,), {relation: CALLBACKS[0]})


def test_defect_15_the_order_that_is_declared_holds_in_any_list() -> None:
    """distributed.py:28: where a callback wants to stand between two others, it does not stand there."""
    seen: list[str] = []

    def act(name: str, order: Order) -> Callback:
        return type(name, (Callback,), {"order": order, "after_loss": lambda self, learn: seen.append(name)})()

    parts = [act("data", Order.DATA), act("gradient", Order.GRADIENT), act("save", Order.SAVE)]
    for shuffled in itertools.permutations(parts):
        seen.clear()
        learner(train=1, valid=None).fit(1, 1e-2, shuffled)
        assert seen == ["data", "gradient", "save"]


def test_defect_16_a_backward_pass_of_ones_own_is_the_one_that_runs() -> None:
    """distributed.py:161: the trainer defines a backward pass with accelerate, but the learner calls its own."""
    calls: list[int] = []

    class OwnBackward(Callback):
        def before_fit(self, learn: Learner) -> None:
            usual = self.usual = learn.compute
            learn.compute = lambda step: (calls.append(step.index), usual(step))[1]

        def after_fit(self, learn: Learner) -> None:
            learn.compute = self.usual

    learn = lm_learner(train=lm_batches(3), valid=None)
    compute = learn.compute
    learn.fit(1, 1e-3, [OwnBackward()])
    assert calls == [0, 1, 2] and learn.compute is compute
