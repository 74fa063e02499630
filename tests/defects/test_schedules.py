"""Defects 6 to 11 of fastai 2.8.12: what is tracked, and schedules, also after a stop.

A test's docstring says what fastai does, and where; the test fails on that behaviour.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.callbacks.toys import Scripted, equal, lm_batches, lm_learner, weights
from tests.training.toys import Raiser, learner
from textxfer.callbacks import CSVLog, EarlyStop, Report, SaveBest, SaveEvery, WeightAverage
from textxfer.training import Callback, Constant, Cosine, Learner, ParamSchedule, Perplexity, Piecewise

NAN = [math.nan] * 2
FLAT_COSINE = Piecewise(((0.75, Constant()), (0.25, Cosine())))


def test_defect_06_perplexity_is_minimised(tmp_path: Path) -> None:
    """callback/tracker.py:33 maximises all that has neither `loss` nor `error` in its name, perplexity included."""
    data = lm_batches(1)
    stop, best = EarlyStop("perplexity", patience=1), SaveBest(tmp_path, "perplexity")
    learn = lm_learner(stop, best, train=data, valid=data, dropout=False, metrics=[Perplexity()])
    learn.fit(4, 1e-2)
    values = learn.history.column("perplexity")
    assert values == sorted(values, reverse=True) and len(values) == 4  # it fell, and nothing stopped the fit
    assert (stop.best, best.best, best.best_epoch) == (values[-1], values[-1], 3)


@pytest.mark.parametrize("stale", [True, False], ids=["old weights in the folder", "nothing in the folder"])
def test_defect_07_a_run_without_a_number_keeps_its_weights(
    stale: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """callback/tracker.py:107-112 loads the file at the end, be it of an earlier run; if there is none, it fails."""
    if stale:
        lm_learner(SaveBest(tmp_path)).fit(1, 1e-2)
    plain = lm_learner(metrics=[Scripted("figure", "lower", NAN)])
    plain.fit(2, 1e-3)
    learn = lm_learner(SaveBest(tmp_path, "figure"), metrics=[Scripted("figure", "lower", NAN)])
    with caplog.at_level(logging.WARNING):
        learn.fit(2, 1e-3)
    assert equal(weights(learn.model), weights(plain.model))
    assert "no epoch of this fit had a usable value" in caplog.text
    assert (tmp_path / "best.safetensors").exists() is stale


def without_seconds(learn: Learner) -> list[dict[str, object]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in learn.history]


def unbroken_and_resumed(
    tmp_path: Path, make: Callable[[Path], Learner], fit: Callable[..., None]
) -> tuple[Learner, Learner]:
    """Train twice, the second time with an end after two epochs and a new learner that goes on."""
    one = make(tmp_path / "one")
    fit(one, [])
    states = tmp_path / "states"
    with pytest.raises(KeyboardInterrupt):
        fit(
            make(tmp_path / "other"),
            [SaveEvery(states, keep_best="loss"), Raiser("before_epoch", KeyboardInterrupt(), at=2)],
        )
    other = make(tmp_path / "other")
    other.resume(states)
    fit(other, [SaveEvery(states, keep_best="loss")])
    return one, other


def test_defect_08_a_later_epoch_is_entered_with_all_that_tracks(tmp_path: Path) -> None:
    """learner.py:92-95, callback/tracker.py:44: with `start_epoch` a tracker looks for values that are not there."""

    def make(folder: Path) -> Learner:
        parts = [EarlyStop(patience=3), SaveBest(folder), CSVLog(folder / "log.csv"), WeightAverage(), Report()]
        return learner(*parts, train=3)

    one, other = unbroken_and_resumed(tmp_path, make, lambda learn, extra: learn.fit(4, 1e-2, extra))
    assert without_seconds(other) == without_seconds(one) and len(one.history) == 4
    assert equal(weights(other.model), weights(one.model))
    best = [load_file(learn.callback(SaveBest).path) for learn in (one, other)]
    assert equal(*best)


def test_defect_09_a_flat_and_cosine_fit_goes_on_where_it_was(tmp_path: Path) -> None:
    """callback/schedule.py:145: `fit_flat_cos` takes a `start_epoch` and passes on 0."""

    def fit(learn: Learner, extra: list[Callback]) -> None:
        learn.fit(4, 1e-2, [ParamSchedule(lr=FLAT_COSINE), *extra])

    one, other = unbroken_and_resumed(tmp_path, lambda folder: learner(train=4), fit)
    rates = other.history.steps["lrs"]["top"]
    assert rates == one.history.steps["lrs"]["top"]
    assert rates == [1e-2 * FLAT_COSINE.at(step, 16) for step in range(16)] and rates[11] == 1e-2 > rates[13]


def test_defect_10_restarts_after_equal_cycles() -> None:
    """callback/schedule.py:155: `fit_sgdr` with `cycle_mult=1` divides by zero."""
    restarts = Piecewise(((1 / 3, Cosine()),) * 3)
    learn = learner(train=6)
    learn.fit(1, 1e-2, [ParamSchedule(lr=restarts)])
    assert learn.history.steps["lrs"]["top"] == pytest.approx([1e-2, 5e-3] * 3)


def test_defect_11_shares_need_not_sum_to_one_in_binary() -> None:
    """callback/schedule.py:72 compares the sum with 1.0 exactly, and 0.7 + 0.2 + 0.1 is a little less."""
    shares = (0.7, 0.2, 0.1)
    assert 0.7 + 0.2 + 0.1 != 1.0  # Python's own sum() is more exact since 3.12
    schedule = Piecewise(tuple(zip(shares, (Constant(1.0), Constant(2.0), Constant(3.0)))))
    assert [schedule.at(step, 10) for step in range(10)] == [1.0] * 7 + [2.0] * 2 + [3.0]
    with pytest.raises(ValueError, match=r"sum to 0\.9"):
        Piecewise(tuple(zip(shares[:2], (Constant(), Constant()))))
