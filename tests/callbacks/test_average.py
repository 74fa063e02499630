"""Averages of weights against their formulas."""

from __future__ import annotations

import random

import pytest
import torch

from tests.callbacks.toys import Planned, Scripted, assert_close, equal, fail, lm_batch, lm_learner, on, weights
from textxfer.callbacks import GradualUnfreeze, WeightAverage
from textxfer.callbacks.average import stalled
from textxfer.training import Callback, Learner, Order


class Watch(Callback):
    """Keeps the weights after each update, and those that each validation sees."""

    order = Order.DATA

    def __init__(self) -> None:
        self.updates: list[dict[str, torch.Tensor]] = []
        self.validated: list[dict[str, torch.Tensor]] = []
        self.after: list[dict[str, torch.Tensor]] = []

    def after_update(self, learn: Learner) -> None:
        self.updates.append(weights(learn.model))

    def before_batch(self, learn: Learner) -> None:
        if not learn.step.training and learn.step.index == 0:
            self.validated.append(weights(learn.model))

    def after_epoch(self, learn: Learner) -> None:
        self.after.append(weights(learn.model))


def mean(states, shares):
    total = sum(shares)
    return {
        name: torch.stack([share / total * state[name].double() for share, state in zip(shares, states)]).sum(0).float()
        for name in states[0]
    }


def ema(states, decay):
    return mean(states, [decay ** (len(states) - 1 - i) for i in range(len(states))])


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.999])
def test_ema_is_the_weighted_mean_of_all_updates(decay):
    watch = Watch()
    learn = lm_learner(watch, WeightAverage(decay=decay))
    learn.fit(2, 1e-2)
    assert len(watch.updates) == 6
    assert_close(watch.validated[0], ema(watch.updates[:3], decay))
    assert_close(watch.validated[1], ema(watch.updates, decay))
    assert_close(weights(learn.model), ema(watch.updates, decay))


def test_training_goes_on_with_its_own_weights():
    plain, averaged = Watch(), Watch()
    lm_learner(plain).fit(2, 1e-2)
    lm_learner(averaged, WeightAverage(decay=0.9)).fit(2, 1e-2)
    assert all(equal(one, other) for one, other in zip(plain.updates, averaged.updates, strict=True))
    assert equal(averaged.after[0], averaged.updates[2]), "after validation the model has training's weights"


def test_groups_that_start_to_train_later():
    watch = Watch()
    lm_learner(watch, WeightAverage(decay=0.9), GradualUnfreeze()).fit(3, 1e-2)
    assert_close(watch.validated[-1], ema(watch.updates, 0.9))


@pytest.mark.parametrize("event", ["before_batch", "after_valid", "after_epoch", "after_fit"])
def test_after_an_error_the_model_has_the_weights_of_the_last_update(event):
    def fail_late(learn: Learner) -> None:
        if event != "before_batch" or not learn.step.training:
            fail(learn)

    watch = Watch()
    learn = lm_learner(watch, WeightAverage(decay=0.5), on(event, fail_late, Order.OBSERVE))
    with pytest.raises(Planned):
        learn.fit(2, 1e-2)
    last = ema(watch.updates, 0.5) if event == "after_fit" else watch.updates[-1]
    assert_close(weights(learn.model), last, rtol=0 if event != "after_fit" else 1e-5)


def test_validating_after_the_fit_sees_the_average_once():
    learn = lm_learner(WeightAverage(decay=0.5), dropout=False)
    learn.fit(1, 1e-2)
    assert learn.validate()["loss"] == pytest.approx(learn.history[-1]["valid_loss"], rel=1e-6)


class Broken:
    """Validation data that end in an error."""

    def __len__(self) -> int:
        return 2

    def __iter__(self):
        yield lm_batch()
        raise Planned


def fail_to_validate(learn: Learner) -> None:
    with pytest.raises(Planned):
        learn.validate(Broken())


def test_a_validation_that_fails_within_a_fit_does_not_leave_the_average():
    plain, nosy = Watch(), Watch()
    lm_learner(plain, WeightAverage(decay=0.5)).fit(2, 1e-2)
    lm_learner(nosy, WeightAverage(decay=0.5), on("after_batch", fail_to_validate, train_only=True)).fit(2, 1e-2)
    assert all(equal(one, other) for one, other in zip(plain.updates, nosy.updates, strict=True))


@pytest.mark.parametrize("also", ["nothing", "lr_find", "resume"])
def test_a_validation_that_fails_before_a_resumed_fit_does_not_leave_the_average(also, tmp_path):
    def save(learn: Learner) -> None:
        if learn.progress.epoch == 1:
            learn.save(tmp_path)
            fail(learn)

    whole = Watch()
    lm_learner(whole, WeightAverage(decay=0.5)).fit(3, 1e-2)
    with pytest.raises(Planned):
        lm_learner(Watch(), WeightAverage(decay=0.5), on("after_epoch", save)).fit(3, 1e-2)
    watch = Watch()
    learn = lm_learner(watch, WeightAverage(decay=0.5))
    learn.resume(tmp_path)
    fail_to_validate(learn)
    if also == "lr_find":
        learn.lr_find(n_steps=3)
        watch.updates.clear()
    elif also == "resume":
        learn.resume(tmp_path)
    learn.fit(3, 1e-2)
    assert all(equal(one, other) for one, other in zip(whole.updates[6:], watch.updates, strict=True))


def test_without_an_update_nothing_is_averaged():
    learn = lm_learner(WeightAverage(), on("before_batch", lambda learn: setattr(learn.step, "update", None)))
    before = weights(learn.model)
    learn.fit(1, 1e-2)
    assert equal(weights(learn.model), before)


# ---- NT-ASGD -----------------------------------------------------------------------------------------------------


def paper(losses, n):
    """Algorithm 1 of Merity et al. 2018, with one validation per epoch: the epoch after which T is set, or None."""
    logs: list[float] = []
    for t, v in enumerate(losses):
        if t > n and v > min(logs[: t - n]):
            return t
        logs.append(v)
    return None


def test_the_trigger_is_that_of_the_paper():
    chance = random.Random(0)
    found = []
    for _ in range(300):
        n = chance.randint(1, 6)
        losses = [chance.choice([1.0, 2.0, 3.0]) + 5 / (1 + i) for i in range(12)]
        ours = next((t for t in range(len(losses)) if stalled(losses[: t + 1], n)), None)
        assert ours == paper(losses, n)
        found.append(ours)
    assert len(set(found)) > 5


def test_the_trigger_by_hand():
    falling = [9.0, 8, 7, 6, 5, 4, 3, 2, 1]
    assert not any(stalled(falling[:n], 5) for n in range(10))
    assert not stalled([1, 2, 3, 4, 5, 6], 5), "6 losses, none of them older than the last 5 before"
    assert stalled([1, 2, 3, 4, 5, 6, 7], 5)
    assert not stalled([3, 1, 1, 1, 1, 1, 2], 5), "2 is better than the only loss that counts"
    assert not stalled([1, 2, 3, 4, 5, 6, float("nan")], 5)


def script(learn: Learner, losses) -> None:
    """Let the validation loss of the epochs be given."""
    scripted = Scripted("loss", "lower", losses)
    learn.pass_metrics[False] = type(learn.pass_metrics[False])([scripted])


def test_averaging_starts_after_the_trigger():
    watch = Watch()
    learn = lm_learner(watch, WeightAverage("nt-asgd", nonmono=1))
    script(learn, [3.0, 2.0, 4.0, 1.0, 1.0])  # after the third: 4 > min([3]); 2 is within the last one
    learn.fit(5, 1e-2)
    assert equal(watch.validated[2], watch.updates[8])
    assert_close(watch.validated[3], mean(watch.updates[9:12], [1, 1, 1]))
    assert_close(watch.validated[4], mean(watch.updates[9:], [1] * 6))
    assert_close(weights(learn.model), mean(watch.updates[9:], [1] * 6))


def test_losses_of_earlier_fits_do_not_count():
    watch = Watch()
    learn = lm_learner(watch, WeightAverage("nt-asgd", nonmono=1))
    script(learn, [1.0, 1.0, 9.0, 9.0])
    learn.fit(2, 1e-2)
    learn.fit(2, 1e-2)
    assert equal(weights(learn.model), watch.updates[-1])


def test_nt_asgd_needs_a_validation_loss():
    with pytest.raises(ValueError, match=r"WeightAverage\('nt-asgd'\) watches the validation loss"):
        lm_learner(WeightAverage("nt-asgd"), valid=None).fit(1, 1e-3)
    lm_learner(WeightAverage("ema"), valid=None).fit(1, 1e-3)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="mode must be 'ema' or 'nt-asgd', not 'swa'"):
        WeightAverage("swa")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="decay must be more than 0 and less than 1"):
        WeightAverage(decay=1)
    with pytest.raises(ValueError, match="nonmono must be at least 1"):
        WeightAverage("nt-asgd", nonmono=0)
