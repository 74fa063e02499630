"""Early stopping: the direction comes from the metric, never from its name."""

from __future__ import annotations

import pytest

from tests.callbacks.toys import Planned, Scripted, lm_batches, lm_learner, on
from textxfer.callbacks import EarlyStop
from textxfer.training import Accuracy, Perplexity

NAN = float("nan")


def epochs_trained(values, *, better="lower", n_epochs=6, **options):
    """How many epochs a fit has whose validation metric takes the given values."""
    metric = Scripted("figure", better, [*values, *[values[-1]] * 10])
    learn = lm_learner(EarlyStop("figure", **options), train=1, valid=1, metrics=[metric])
    learn.fit(n_epochs, 1e-3)
    return len(learn.history), learn.callback(EarlyStop).best


def test_stops_when_patience_is_used_up():
    assert epochs_trained([5, 4, 4.5, 4.2, 3], patience=2) == (4, 4)
    assert epochs_trained([5, 4, 4.5, 3.9, 4, 4], patience=2) == (6, 3.9)
    assert epochs_trained([5, 4, 4.5], patience=1) == (3, 4)


def test_an_equal_value_is_no_improvement():
    assert epochs_trained([5, 5, 5], patience=2) == (3, 5)


def test_higher_is_better_if_the_metric_says_so():
    assert epochs_trained([1, 2, 3, 4, 5, 6], better="higher", patience=1) == (6, 6)
    assert epochs_trained([1, 2, 3, 4, 5, 6], better="lower", patience=1) == (2, 1)


def test_small_improvements_do_not_count():
    assert epochs_trained([5, 4.95, 4.9, 4.85], patience=2, min_delta=0.2) == (3, 5)
    assert epochs_trained([5, 4.7, 4.4, 4.1, 3.8, 3.5], patience=1, min_delta=0.2) == (6, 3.5)


def test_an_improvement_of_exactly_min_delta_does_not_count():
    assert epochs_trained([5, 4.5, 4.25], patience=1, min_delta=0.5) == (2, 5)


def test_the_epochs_waited_so_far_count_after_resume(tmp_path):
    def learner(*callbacks, values):
        metric = Scripted("figure", "lower", values)
        return lm_learner(EarlyStop("figure", patience=2), *callbacks, train=1, valid=1, metrics=[metric])

    def end(learn):
        learn.save(tmp_path)
        if learn.progress.epoch == 1:
            raise Planned

    with pytest.raises(Planned):
        learner(on("after_epoch", end), values=[1, 2]).fit(5, 1e-3)
    learn = learner(values=[2, 2, 2])
    learn.resume(tmp_path)
    learn.fit(5, 1e-3)
    assert len(learn.history) == 3


def test_nan_is_never_an_improvement():
    assert epochs_trained([NAN, NAN, NAN], patience=2) == (2, None)
    assert epochs_trained([NAN, 5, 4, NAN, NAN], patience=2) == (5, 4)


def test_perplexity_is_minimised():
    """fastai maximises it: it looks for "loss" or "error" in the name (features.md, d 6)."""
    data = lm_batches(1)
    stop = EarlyStop("perplexity", patience=1)
    learn = lm_learner(stop, metrics=[Perplexity()], train=data, valid=data, dropout=False)
    learn.fit(4, 1e-3)
    perplexities = learn.history.column("perplexity")
    assert len(perplexities) == 4
    assert perplexities == sorted(perplexities, reverse=True)


@pytest.mark.parametrize("metric", ["loss", "accuracy", Accuracy()], ids=repr)
def test_metrics_by_name_and_by_object(metric):
    learn = lm_learner(EarlyStop(metric, patience=1), metrics=[Accuracy()], train=1, valid=1)
    learn.fit(1, 1e-3)
    key = "valid_loss" if metric == "loss" else "accuracy"
    assert learn.callback(EarlyStop).best == learn.history[-1][key]


def test_each_fit_starts_anew():
    metric = Scripted("figure", "lower", [1, 2, 3, 2.9])
    learn = lm_learner(EarlyStop("figure", patience=2), train=1, valid=1, metrics=[metric])
    learn.fit(2, 1e-3)
    learn.fit(2, 1e-3)
    assert len(learn.history) == 4
    assert learn.callback(EarlyStop).best == 2.9


def test_epochs_without_validation_do_not_count():
    learn = lm_learner(EarlyStop(patience=1), train=1, valid=1)
    learn.fit(1, 1e-3)
    learn.history.add_epoch({"fit": 0, "epoch": 1, "train_loss": 1.0})
    before = learn.callback(EarlyStop).state_dict()
    learn.callback(EarlyStop).after_epoch(learn)
    assert learn.callback(EarlyStop).state_dict() == before
    assert not learn.stopping


def test_what_cannot_be_watched_is_refused():
    with pytest.raises(ValueError, match="the learner computes no metric 'f1'; it has loss, accuracy"):
        lm_learner(EarlyStop("f1"), metrics=[Accuracy()]).fit(1, 1e-3)
    with pytest.raises(ValueError, match="watches a validation metric, but the learner has no validation loader"):
        lm_learner(EarlyStop(), valid=None).fit(1, 1e-3)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="patience must be at least 1"):
        EarlyStop(patience=0)
    with pytest.raises(ValueError, match="min_delta must be >= 0"):
        EarlyStop(min_delta=-1)
