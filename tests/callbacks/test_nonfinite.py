"""Fits that break are ended before the weights are."""

from __future__ import annotations

import logging

import pytest
import torch

from tests.callbacks.toys import Planned, equal, lm, lm_batch, lm_learner, on, weights
from textxfer.callbacks import Accumulate, ClipGrad, GradualUnfreeze, MixedPrecision, StopOnNonFinite
from textxfer.training import Learner, Optimizer, Order

ADAM, SGD = Optimizer("adamw"), Optimizer("sgd", momentum=0.9)

POISONED = [name for name, _ in lm().named_parameters() if name.endswith("weight_hh")][-1]


def poison_loss(learn: Learner) -> None:
    learn.step.loss = learn.step.objective = learn.step.loss * float("nan")


def poison_objective(learn: Learner) -> None:
    learn.step.objective = learn.step.objective + float("inf")


def poison_gradient(learn: Learner) -> None:
    grad = dict(learn.model.named_parameters())[POISONED].grad
    assert grad is not None
    grad[0, 0] = float("nan")


POISONS = {"after_loss": poison_loss, "before_backward": poison_objective, "after_backward": poison_gradient}


def broken_run(*callbacks, at=2, event="after_loss", every=1, optimizer=ADAM, train=5, **options):
    """Train with one bad batch; return the learner and the weights before each batch."""
    states = []
    poison = on(event, lambda learn: POISONS[event](learn) if learn.step.index == at else None, Order.DATA, True)
    watch = on("before_batch", lambda learn: states.append(weights(learn.model)), train_only=True)
    guard = StopOnNonFinite(every)
    learn = lm_learner(*callbacks, guard, poison, watch, train=train, dropout=False, optimizer=optimizer, **options)
    learn.fit(2, 1e-2)
    return learn, states


@pytest.mark.parametrize("optimizer", [ADAM, SGD], ids=["adamw", "sgd"])
@pytest.mark.parametrize("event", list(POISONS))
@pytest.mark.parametrize("every", [1, 2, 3, 100])
def test_weights_and_optimizer_are_those_before_the_bad_batch(every, event, optimizer):
    learn, states = broken_run(every=every, event=event, optimizer=optimizer)
    assert equal(weights(learn.model), states[2])
    assert not equal(states[2], states[1])
    short = lm_learner(train=5, dropout=False, optimizer=optimizer)
    short.fit(1, 1e-2, callbacks=[on("after_batch", lambda learn: learn.stop() if learn.progress.batch == 1 else None)])
    for param, other in zip(learn.model.parameters(), short.model.parameters()):
        assert learn.optimizer.state[param].keys() == short.optimizer.state[other].keys() != set()
        for slot, value in learn.optimizer.state[param].items():
            assert torch.equal(value, short.optimizer.state[other][slot]), slot


@pytest.mark.parametrize(("every", "optimizer", "seen"), [(1, ADAM, 3), (2, ADAM, 4), (100, ADAM, 5), (100, SGD, 3)])
def test_when_the_fit_ends(every, optimizer, seen):
    _, states = broken_run(every=every, optimizer=optimizer)
    assert len(states) == seen


@pytest.mark.parametrize(
    ("event", "what"),
    [
        ("after_loss", "the loss, the objective, the gradient of decoder_bias"),
        ("before_backward", "the objective"),
        ("after_backward", f"the gradient of {POISONED}"),
    ],
)
@pytest.mark.parametrize("every", [1, 2])
def test_the_report_names_batch_and_tensors(every, event, what, caplog):
    with caplog.at_level(logging.WARNING):
        learn, _ = broken_run(event=event, every=every)
    report = learn.callback(StopOnNonFinite).report
    assert report is not None
    assert report.startswith(f"epoch 0, batch 2 of 5: not finite: {what}")
    assert report in caplog.text
    if event == "after_loss":
        assert report.endswith("and 6 more")


def test_the_fit_ends_quietly_and_the_learner_goes_on():
    learn, _ = broken_run()
    assert learn.error is None
    assert "valid_loss" not in learn.history[-1]
    assert all(param.grad is None for param in learn.model.parameters())
    learn.callbacks[:] = [learn.callback(StopOnNonFinite)]  # the same, without what spoilt the batch
    learn.fit(1, 1e-2)
    assert learn.callback(StopOnNonFinite).report is None
    assert "valid_loss" in learn.history[-1]


def test_notes_are_looked_at_before_other_groups_train():
    freeze = on("before_batch", lambda learn: learn.freeze() if learn.step.index == 2 else None, train_only=True)
    learn, states = broken_run(freeze, every=100, at=1)
    report = learn.callback(StopOnNonFinite).report
    assert report is not None and report.startswith("epoch 0, batch 1 of 5")
    assert equal(weights(learn.model), states[1])


def test_notes_that_nobody_has_looked_at_are_known_after_resume(tmp_path):
    def end(learn: Learner) -> None:
        if learn.progress.batch == 2:
            learn.save(tmp_path)
            raise Planned

    poison = on("after_loss", lambda learn: poison_loss(learn) if learn.step.index == 1 else None, Order.DATA, True)
    late = on("after_batch", end, train_only=True)
    with pytest.raises(Planned):
        lm_learner(StopOnNonFinite(100), poison, late, train=5).fit(1, 1e-2)
    learn = lm_learner(StopOnNonFinite(100), train=5)
    learn.resume(tmp_path)
    before = weights(learn.model)
    learn.fit(1, 1e-2)
    report = learn.callback(StopOnNonFinite).report
    assert report is not None and report.startswith("epoch 0, batch 1 of 5: not finite: the loss")
    assert equal(weights(learn.model), before)


def test_finite_fits_are_left_alone():
    plain, guarded = lm_learner(GradualUnfreeze()), lm_learner(GradualUnfreeze(), StopOnNonFinite(2))
    for learn in (plain, guarded):
        torch.manual_seed(1)
        learn.fit(3, 1e-2)
    assert equal(weights(plain.model), weights(guarded.model))


def test_clipping_does_not_hide_which_gradient_it_was():
    learn, states = broken_run(ClipGrad(0.1), event="after_backward")
    report = learn.callback(StopOnNonFinite).report
    assert report is not None and report.endswith(f"not finite: the gradient of {POISONED}")
    assert equal(weights(learn.model), states[2])


@pytest.mark.parametrize("every", [1, 2, 100])
def test_within_a_group_of_accumulated_batches(every):
    learn, states = broken_run(Accumulate(2), every=every, at=2)
    assert equal(weights(learn.model), states[2])
    assert not equal(states[2], states[1])


@pytest.mark.parametrize("every", [1, 2])
def test_a_batch_in_which_nothing_counts_is_no_reason(every):
    """torch's cross-entropy of it is NaN, with gradients of zero."""
    full, empty = lm_batch(), lm_batch(ignored=5)
    assert empty.n == 0
    learn = lm_learner(StopOnNonFinite(every), train=[full, empty, full], valid=None)
    learn.loss_fn = lambda pred, target: torch.nn.functional.cross_entropy(pred.flatten(0, 1), target.flatten())
    learn.fit(1, 1e-2)
    assert learn.callback(StopOnNonFinite).report is None
    assert learn.history.steps["n"] == [full.n, 0, full.n]
    assert learn.history.steps["loss"][1] != learn.history.steps["loss"][1], "it is NaN"
    assert torch.stack([param.isfinite().all() for param in learn.model.parameters()]).all()


def test_gradients_are_watched_where_nothing_counts():
    poison = on("after_backward", lambda learn: None if learn.step.n else poison_gradient(learn), Order.DATA, True)
    learn = lm_learner(StopOnNonFinite(), poison, train=[lm_batch(), lm_batch(ignored=5)])
    learn.fit(1, 1e-2)
    report = learn.callback(StopOnNonFinite).report
    assert report is not None and report.endswith(f"not finite: the gradient of {POISONED}")


def test_large_but_finite_gradients_are_no_reason():
    learn = lm_learner(StopOnNonFinite(), on("after_loss", lambda learn: enlarge(learn), Order.OBJECTIVE, True))
    learn.fit(1, 1e-6)
    assert learn.callback(StopOnNonFinite).report is None


def enlarge(learn: Learner) -> None:
    learn.step.objective = learn.step.objective * 1e30  # the squares of such gradients are infinite


@pytest.mark.parametrize("every", [1, 4])
def test_infinite_gradients_of_float16_are_left_to_the_scaler(every):
    half = MixedPrecision("fp16", init_scale=2.0**60, allow_cpu=True)
    learn = lm_learner(half, StopOnNonFinite(every), dropout=False, train=4)
    learn.fit(1, 1e-2)
    assert learn.callback(StopOnNonFinite).report is None
    assert len(learn.history.steps["loss"]) == 4


@pytest.mark.parametrize("every", [1, 4])
def test_a_bad_loss_in_float16_ends_the_fit(every):
    half = MixedPrecision("fp16", allow_cpu=True)
    learn, states = broken_run(half, event="after_loss", every=every)
    assert equal(weights(learn.model), states[2])
    assert learn.callback(StopOnNonFinite).report == "epoch 0, batch 2 of 5: not finite: the loss, the objective"


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="every must be at least 1"):
        StopOnNonFinite(0)
