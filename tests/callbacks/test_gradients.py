"""Accumulation equals large batches; clipping equals its formula and comes after everything else."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.callbacks.toys import Planned, assert_close, equal, grads, lm_batch, lm_learner, on, weights
from textxfer.batch import Batch, Loaders
from textxfer.callbacks import Accumulate, ActivationReg, ClipGrad, MixedPrecision
from textxfer.training import Callback, Learner, Optimizer, Order

# Different widths and different numbers of targets that count; the last group is short.
PARTS = [
    lm_batch(2, seed=1),
    lm_batch(4, seed=2, ignored=3),
    lm_batch(1, seed=3, ignored=2),
    lm_batch(3, seed=4),
    lm_batch(2, seed=5, ignored=4),
]
SGD, ADAMW = Optimizer("sgd", momentum=0.9), Optimizer("adamw", eps=1e-3)


def merged(parts: list[Batch]) -> Batch:
    """One batch with the columns of several."""
    ids = torch.cat([part.inputs[0] for part in parts], dim=1)
    target = torch.cat([part.target for part in parts if part.target is not None], dim=1)
    return Batch((ids,), target, sum(part.n for part in parts))


def trained(train, *callbacks, optimizer=SGD, epochs=2, cycle=True):
    learn = lm_learner(*callbacks, train=train, dropout=False, optimizer=optimizer)
    if cycle:
        learn.fit_one_cycle(epochs, 0.1 if optimizer is SGD else 1e-2, final_div=10)
    else:
        learn.fit(epochs, 0.1)
    return learn


@pytest.mark.parametrize("every", [2, 3, 5, 9])
@pytest.mark.parametrize("optimizer", [SGD, ADAMW], ids=["sgd", "adamw"])
def test_equals_the_large_batch(every, optimizer):
    large = [merged(PARTS[i : i + every]) for i in range(0, len(PARTS), every)]
    expected = trained(large, optimizer=optimizer)
    learn = trained(PARTS, Accumulate(every), optimizer=optimizer)
    assert_close(weights(learn.model), weights(expected.model), rtol=1e-4, atol=1e-6)
    assert learn.progress.step == learn.progress.n_steps == expected.progress.n_steps == 2 * len(large)
    assert learn.history[-1]["train_loss"] == pytest.approx(expected.history[-1]["train_loss"], rel=1e-5)


def test_plain_averages_would_not_pass():
    """The comparison above can fail: batches that count alike, whatever their targets, give other weights."""

    def same_n(learn):
        learn.step.n = 1

    learn = trained(PARTS, on("before_backward", same_n, Order.DATA), Accumulate(2))
    expected = trained([merged(PARTS[i : i + 2]) for i in (0, 2, 4)])
    with pytest.raises(AssertionError):
        assert_close(weights(learn.model), weights(expected.model), rtol=1e-4, atol=1e-6)


def test_every_1_changes_nothing():
    assert equal(weights(trained(PARTS, Accumulate(1)).model), weights(trained(PARTS).model))


def test_clipping_sees_the_whole_group():
    large = [merged(PARTS[:3]), merged(PARTS[3:])]
    expected = trained(large, ClipGrad(0.05))
    learn = trained(PARTS, ClipGrad(0.05), Accumulate(3))
    assert_close(weights(learn.model), weights(expected.model), rtol=1e-4, atol=1e-6)


def test_the_reported_loss_is_not_scaled():
    """fastai showed losses in the millions with accumulation and fp16 (features.md, c 46)."""
    callbacks = [Accumulate(4), MixedPrecision("fp16", allow_cpu=True), ActivationReg()]
    losses = trained(PARTS, *callbacks, epochs=1, optimizer=Optimizer("sgd")).history.steps["loss"]
    assert all(2 < loss < 3 for loss in losses)


def test_a_stop_within_a_group_leaks_nothing():
    gradients = []

    def stop(learn: Learner) -> None:
        if learn.progress.batch == 2:
            learn.stop()

    def look(learn: Learner) -> None:
        gradients.append([param.grad for param in learn.model.parameters()])

    learn = lm_learner(Accumulate(2), train=PARTS, dropout=False)
    learn.fit(1, 1e-3, callbacks=[on("after_batch", stop, train_only=True), on("after_epoch", look)])
    assert all(grad is None for grad in gradients[0])
    assert learn.progress.step == 1
    reference = lm_learner(train=[merged(PARTS[:2])], dropout=False)
    reference.fit(1, 1e-3)
    assert_close(weights(learn.model), weights(reference.model), rtol=1e-3, atol=1e-5)
    accumulate = learn.callback(Accumulate)
    assert accumulate.state_dict() == {"unit": 0, "total": 0}


def test_validation_between_the_batches_of_a_group_changes_nothing():
    validate = on("after_batch", lambda learn: learn.validate(), train_only=True)
    assert equal(weights(trained(PARTS, Accumulate(2), validate).model), weights(trained(PARTS, Accumulate(2)).model))


def test_a_group_goes_on_after_resume(tmp_path):
    """Saved within a group of three, behind two batches of different numbers of targets."""

    def end(learn: Learner) -> None:
        if learn.progress.batch == 1:
            learn.save(tmp_path)
            raise Planned

    expected = trained(PARTS, Accumulate(3), cycle=False)
    with pytest.raises(Planned):
        trained(PARTS, Accumulate(3), on("after_batch", end, train_only=True), cycle=False)
    learn = lm_learner(Accumulate(3), train=PARTS, dropout=False, optimizer=SGD)
    learn.resume(tmp_path)
    learn.fit(2, 0.1)
    assert equal(weights(learn.model), weights(expected.model))


def test_a_group_whose_update_is_held_does_not_leak_into_the_next_epoch():
    def hold(learn: Learner) -> None:
        if learn.progress.epoch == 0:
            learn.step.update = None

    held = trained(PARTS, Accumulate(5), on("before_batch", hold, train_only=True), cycle=False)
    assert_close(weights(held.model), weights(trained(PARTS, Accumulate(5), epochs=1, cycle=False).model))


def test_batches_without_targets():
    empty = lm_batch(2, seed=9, ignored=5)
    assert empty.n == 0
    learn = trained([empty, PARTS[0]], Accumulate(2), epochs=1, cycle=False)
    assert_close(weights(learn.model), weights(trained([PARTS[0]], epochs=1, cycle=False).model))


def norm_and_grads(*callbacks, max_norm):
    """The gradients before and after clipping in the first update."""
    clip, seen = ClipGrad(max_norm), []

    def look(learn: Learner) -> None:
        seen.append(grads(learn))

    before = on("before_update", look, Order.SCALING)
    after = on("before_update", look, Order.OBSERVE)
    lm_learner(*callbacks, clip, before, after, train=1, valid=None, dropout=False).fit(1, 1e-3)
    assert clip.norm is not None
    return clip.norm.item(), *seen


@pytest.mark.parametrize("max_norm", [0.01, 1e3])
def test_clip_formula(max_norm):
    norm, before, after = norm_and_grads(max_norm=max_norm)
    expected = sum(float(grad.double().square().sum()) for grad in before.values()) ** 0.5
    assert norm == pytest.approx(expected, rel=1e-5)
    scale = min(1.0, max_norm / expected)
    assert_close(after, {name: grad * scale for name, grad in before.items()}, rtol=1e-4)


def test_clip_after_unscaling():
    """The scale of fp16 is 65536: clipping before taking it out would leave nothing."""
    norm, before, after = norm_and_grads(MixedPrecision("fp16", allow_cpu=True), max_norm=0.01)
    plain, expected, _ = norm_and_grads(max_norm=0.01)
    assert norm == pytest.approx(plain, rel=1e-2)
    assert_close(before, expected, rtol=0.1, atol=1e-3)
    total = sum(float(grad.square().sum()) for grad in after.values()) ** 0.5
    assert total == pytest.approx(0.01, rel=1e-3)


def test_frozen_groups_are_left_out_of_the_norm():
    learn = lm_learner(ClipGrad(1e-3), train=1, dropout=False)
    learn.freeze()
    learn.fit(1, 1e-3)
    norm = learn.callback(ClipGrad).norm
    whole = lm_learner(ClipGrad(1e-3), train=1, dropout=False)
    whole.fit(1, 1e-3)
    whole_norm = whole.callback(ClipGrad).norm
    assert norm is not None and whole_norm is not None and 0 < norm < whole_norm


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="every must be at least 1"):
        Accumulate(0)
    with pytest.raises(ValueError, match="max_norm must be > 0"):
        ClipGrad(0)


@pytest.mark.parametrize("max_norm", [0.01, 100.0])
def test_clipping_within_the_update_gives_the_same_weights(max_norm: float) -> None:
    class Watch(Callback):
        """Looks at the gradients, so that they have to be scaled before."""

        def before_update(self, learn: Learner) -> None: ...

    ends, within = [], []
    for others in ([Watch()], []):
        learn = lm_learner(ClipGrad(max_norm), *others, dropout=False, optimizer=ADAMW)
        hook = learn.optimizer.register_step_pre_hook(
            lambda optimizer, *_: within.append(hasattr(optimizer, "grad_scale"))
        )
        learn.fit(2, 0.1)
        hook.remove()
        assert not hasattr(learn.optimizer, "grad_scale")
        ends.append(weights(learn.model))
    assert within == [False] * 6 + [True] * 6
    assert_close(*ends, rtol=1e-4)


def test_an_update_that_another_callback_has_replaced_is_made_with_clipped_gradients() -> None:
    norms = []

    def replace(learn: Learner) -> None:
        def update() -> None:
            norms.append(sum(float(grad.square().sum()) for grad in grads(learn).values()) ** 0.5)

        learn.step.update = update

    learn = lm_learner(ClipGrad(0.01), on("before_batch", replace, Order.DATA, True), valid=None, optimizer=ADAMW)
    before = weights(learn.model)
    learn.fit(1, 0.1)
    assert norms == pytest.approx([0.01] * 3, rel=1e-3)
    assert equal(weights(learn.model), before)


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-6), (torch.bfloat16, 0.05)])
def test_clipping_of_weights_of_other_types(dtype: torch.dtype, rtol: float) -> None:
    generator = torch.Generator().manual_seed(0)
    data = [(torch.randn(4, 3, generator=generator), torch.randn(4, 2, generator=generator)) for _ in range(3)]
    ends = []
    for kind in (torch.float32, dtype):
        torch.manual_seed(0)
        batches = [Batch((x.to(kind),), y.to(kind), 4) for x, y in data]
        model = nn.Linear(3, 2).to(kind)
        learn = Learner(model, Loaders(batches), nn.functional.mse_loss, callbacks=[ClipGrad(0.01)], device="cpu")
        learn.fit(1, 1e-2)
        ends.append({name: param.float() for name, param in weights(learn.model).items()})
    assert_close(*ends, rtol=rtol, atol=1e-3 if dtype == torch.bfloat16 else 1e-6)
