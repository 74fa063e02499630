"""One rate per layer group."""

from __future__ import annotations

import pytest

from tests.callbacks.toys import Planned, fail, lm_learner, on
from textxfer.callbacks import DiscriminativeLR
from textxfer.training import Order


def rates(learn, key="base_lr"):
    return {group["name"]: group[key] for group in learn.optimizer.param_groups}


def seen_rates(callback, lr, event="before_epoch"):
    seen = {}
    lm_learner(callback, on(event, lambda learn: seen.update(rates(learn)), Order.DATA)).fit(1, lr)
    return seen


def test_each_group_has_a_fraction_of_the_rate_above():
    expected = {"lstm1": 1e-2 / 2.6**2, "lstm2": 1e-2 / 2.6, "decoder": 1e-2}
    seen = seen_rates(DiscriminativeLR(2.6), 1e-2)
    assert seen == {
        f"{name}/{part}": pytest.approx(lr) for name, lr in expected.items() for part in ("decay", "no_decay")
    }


def test_multipliers_are_from_input_to_output():
    seen = seen_rates(DiscriminativeLR(multipliers=[1 / 6, 1 / 3, 1 / 2]), 6e-3)
    assert seen["lstm1/decay"] == pytest.approx(1e-3)
    assert seen["lstm2/no_decay"] == pytest.approx(2e-3)
    assert seen["decoder/decay"] == pytest.approx(3e-3)


def test_without_a_schedule_the_updates_have_these_rates():
    learn = lm_learner(train=2, valid=None)
    learn.fit(1, 1e-2, callbacks=[DiscriminativeLR(2)])
    lrs = learn.history.steps["lrs"]
    assert lrs == {"lstm1": [2.5e-3] * 2, "lstm2": [5e-3] * 2, "decoder": [1e-2] * 2}


def test_schedules_multiply_the_rates():
    learn = lm_learner(train=8)
    learn.fit_one_cycle(1, 1e-2, callbacks=[DiscriminativeLR(2)])
    lrs = learn.history.steps["lrs"]
    plain = lm_learner(train=8)
    plain.fit_one_cycle(1, 1e-2)
    assert lrs["decoder"] == pytest.approx(plain.history.steps["lrs"]["decoder"])
    assert lrs["lstm1"] == pytest.approx([lr / 4 for lr in lrs["decoder"]])


def test_the_rate_finder_keeps_the_proportions():
    seen = []
    watch = on("before_update", lambda learn: seen.append(rates(learn, "lr")), Order.OBSERVE)
    lm_learner(DiscriminativeLR(2), watch, train=8).lr_find(n_steps=4)
    assert len(seen) == 4
    assert all(row["lstm1/decay"] == pytest.approx(row["decoder/decay"] / 4) for row in seen)


@pytest.mark.parametrize("event", ["before_fit", "after_batch", "after_fit"])
def test_rates_are_restored_after_a_fit_and_after_an_error(event):
    learn = lm_learner(DiscriminativeLR(), on(event, fail))
    with pytest.raises(Planned):
        learn.fit_one_cycle(1, 3e-3)
    assert set(rates(learn).values()) == set(rates(learn, "lr").values()) == {3e-3}
    learn.callbacks.pop()
    learn.fit_one_cycle(1, 5e-3)
    assert set(rates(learn).values()) == set(rates(learn, "lr").values()) == {5e-3}


def test_a_wrong_number_of_multipliers_names_both():
    with pytest.raises(
        ValueError, match=r"2 multipliers were given, \[1, 0.5\], but the model has 3 .*lstm1, lstm2, dec"
    ):
        lm_learner(DiscriminativeLR(multipliers=[1, 0.5])).fit(1, 1e-3)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="factor must be > 0"):
        DiscriminativeLR(0)
    with pytest.raises(ValueError, match="multipliers must be >= 0"):
        DiscriminativeLR(multipliers=[1, -1])
