"""The event contract: which events come in which order, and what an error leaves behind."""

from __future__ import annotations

import pytest
import torch

from tests.training.toys import Raiser, Recorder, Stopper, learner, snapshot
from textxfer.training import Callback
from textxfer.training.callback import EVENTS

FORWARD = ["before_batch", "around_forward enter", "after_forward", "after_loss", "around_forward exit"]
BACKWARD = ["before_backward", "after_backward"]
UPDATE = ["before_update", "after_update"]
TRAIN_BATCH = [*FORWARD, *BACKWARD, *UPDATE, "after_batch"]
HELD_BATCH = [*FORWARD, *BACKWARD, "after_batch"]
VALID_BATCH = [*FORWARD, "after_batch"]
TRAIN = ["before_train", *TRAIN_BATCH, *TRAIN_BATCH, "after_train"]
VALID = ["before_valid", *VALID_BATCH, *VALID_BATCH, "after_valid"]


class HoldFirst(Callback):
    """Accumulates: holds the update of every other batch."""

    def before_batch(self, learn):
        if learn.step.training and learn.step.index % 2 == 0:
            learn.step.update = None


def fit(*callbacks, valid=2, epochs=2):
    recorder = Recorder()
    learn = learner(*callbacks, recorder, valid=valid)
    learn.fit(epochs, 1e-2)
    return recorder.events


def test_every_event_is_recorded():
    assert {event.split()[0] for event in fit()} == set(EVENTS) - {"on_freeze"}


def test_order_with_validation():
    epoch = ["before_epoch", *TRAIN, *VALID, "after_epoch"]
    assert fit() == ["before_fit", *epoch, *epoch, "after_fit"]


def test_order_without_validation():
    epoch = ["before_epoch", *TRAIN, "after_epoch"]
    assert fit(valid=None) == ["before_fit", *epoch, *epoch, "after_fit"]


def test_order_with_accumulation():
    train = ["before_train", *HELD_BATCH, *TRAIN_BATCH, "after_train"]
    epoch = ["before_epoch", *train, *VALID, "after_epoch"]
    assert fit(HoldFirst()) == ["before_fit", *epoch, *epoch, "after_fit"]


def test_an_update_that_is_held_at_the_last_moment_has_no_after_update():
    class Hold(Callback):
        def before_update(self, learn):
            if learn.step.index == 0:
                learn.step.update = None

    recorder = Recorder()
    learn = learner(Hold(), recorder, valid=None)
    learn.fit(1, 1e-2)
    updates = [event for event in recorder.events if event.endswith("_update")]
    assert updates == ["before_update", "before_update", "after_update"]
    assert learn.progress.step == 2  # the schedule goes on


def test_stop_closes_the_pass_and_skips_validation():
    train = ["before_train", *TRAIN_BATCH, "after_train"]
    assert fit(Stopper("after_batch")) == ["before_fit", "before_epoch", *train, "after_epoch", "after_fit"]


def test_stop_after_an_epoch():
    epoch = ["before_epoch", *TRAIN, *VALID, "after_epoch"]
    assert fit(Stopper("after_epoch")) == ["before_fit", *epoch, "after_fit"]


def test_freezing_tells_the_callbacks_once():
    recorder = Recorder()
    learn = learner(recorder)
    learn.freeze()
    learn.freeze()
    assert recorder.events == ["on_freeze"]
    assert learn.trainable == (2,)


def test_evaluation_fires_neither_fit_nor_epoch_events():
    recorder = Recorder()
    learn = learner(recorder)
    learn.validate()
    assert recorder.events == VALID
    assert len(learn.history) == 0


def test_after_fit_runs_in_reverse():
    ended = []

    class First(Callback):
        def after_fit(self, learn):
            ended.append("first")

    class Second(Callback):
        def after_fit(self, learn):
            ended.append("second")

    learner(First(), Second()).fit(1, 1e-2)
    assert ended == ["second", "first"]


ONCE = ("before_fit", "after_fit")
MOMENTS = [(event, at) for event in EVENTS for at in (0, 1) if event != "on_freeze" and not (at and event in ONCE)]


@pytest.mark.parametrize(("event", "at"), MOMENTS)
def test_error_in_each_event(event, at):
    error = ValueError("two", "arguments")
    recorder, raiser = Recorder(), Raiser(event, error, at)
    learn = learner(recorder)
    before = snapshot(learn)
    learn.model.eval()
    with pytest.raises(ValueError) as caught:
        learn.fit(2, 1e-2, [raiser])
    assert caught.value is error
    assert caught.value.args == ("two", "arguments")
    assert len(error.__notes__) == 1
    assert f"raised in {raiser!r}.{event}, epoch " in error.__notes__[0]
    in_batch = event in ("before_batch", "around_forward", *FORWARD[2:4], *BACKWARD, *UPDATE, "after_batch")
    assert (", batch " in error.__notes__[0]) == in_batch
    assert learn.error is error
    started = event != "before_fit"  # the raiser comes first by its order
    assert recorder.events.count("after_fit") == started
    assert recorder.events.count("around_forward enter") == recorder.events.count("around_forward exit")
    learn.model.train(before["training"])
    assert snapshot(learn) == before
    learn.fit(1, 1e-2)  # still usable
    assert len(learn.history.column("train_loss")) >= 1


def test_after_fit_also_runs_for_the_callback_whose_start_failed():
    raiser = Raiser("before_fit", RuntimeError("no start"))
    ended = []
    Raiser_after = type("AfterFit", (Callback,), {"after_fit": lambda self, learn: ended.append(learn.error)})

    class HalfStarted(Callback):
        def before_fit(self, learn):
            raise raiser.error

        def after_fit(self, learn):
            ended.append("half started")

    learn = learner(Raiser_after())
    with pytest.raises(RuntimeError, match="no start"):
        learn.fit(1, 1e-2, [HalfStarted()])
    assert ended == ["half started", raiser.error]


def test_an_error_in_after_fit_does_not_stop_the_others():
    recorder = Recorder()
    first, last = ValueError("in the loop"), KeyError("while cleaning up")
    learn = learner(Raiser("after_loss", first), recorder)

    class Broken(Callback):
        order = recorder.order

        def after_fit(self, learn):
            raise last

    with pytest.raises(KeyError) as caught:
        learn.fit(1, 1e-2, [Broken()])
    assert caught.value.__context__ is first
    assert recorder.events[-1] == "after_fit"


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt(), SystemExit(3), AssertionError()])
def test_interrupts_and_bare_assertions_stay_what_they_are(interrupt):
    learn = learner(Raiser("after_loss", interrupt))
    with pytest.raises(type(interrupt)) as caught:
        learn.fit(1, 1e-2)
    assert caught.value is interrupt
    assert learn.error is interrupt


def test_error_in_the_model_names_the_inputs():
    learn = learner()
    learn.forward = lambda x: x @ x
    with pytest.raises(RuntimeError) as caught:
        learn.fit(1, 1e-2)
    (note,) = caught.value.__notes__
    assert note == "raised in the forward pass, epoch 0, batch 0 of 2 (training); inputs: (4, 3) float32 on cpu"


def test_error_in_the_loss_has_a_note():
    learn = learner()
    learn.loss_fn = lambda pred, target: torch.nn.functional.cross_entropy(pred, target.long()[:1])
    with pytest.raises((ValueError, RuntimeError)) as caught:
        learn.fit(1, 1e-2)
    assert "raised in the loss, epoch 0, batch 0 of 2 (training)" in caught.value.__notes__[0]


def test_train_only_callbacks_are_left_out_of_validation():
    class Quiet(Recorder):
        train_only = True

    quiet = Quiet()
    learn = learner(quiet)
    learn.fit(1, 1e-2)
    assert quiet.events == ["before_fit", "before_epoch", *TRAIN, "after_epoch", "after_fit"]


def test_callbacks_that_finish_later_hear_of_an_error_in_after_fit():
    heard = []
    Late = type("Late", (Callback,), {"after_fit": lambda self, learn: heard.append(learn.error)})
    error = ValueError("while cleaning up")
    with pytest.raises(ValueError, match="while cleaning up"):
        learner(Late(), Raiser("after_fit", error)).fit(1, 1e-2)  # after_fit runs in reverse
    assert heard == [error]


def test_freezing_after_an_error_in_validation_reaches_callbacks_of_training_alone():
    heard = []

    def on_freeze(self, learn):
        heard.append(learn.trainable)

    Wrapper = type("Wrapper", (Callback,), {"train_only": True, "on_freeze": on_freeze})
    Thaw = type("Thaw", (Callback,), {"after_fit": lambda self, learn: learn.unfreeze()})
    learn = learner()
    learn.freeze()
    with pytest.raises(RuntimeError):
        learn.fit(1, 1e-2, [Wrapper(), Thaw(), Raiser("before_valid", RuntimeError("in validation"))])
    assert heard == [(0, 1, 2)]
