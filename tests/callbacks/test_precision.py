"""16-bit computation: what is cast, what is not, what is put back."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import nn

from tests.callbacks.toys import Planned, assert_close, equal, fail, grads, lm_batches, lm_learner, on, weights
from textxfer.batch import Batch, Loaders
from textxfer.callbacks import MixedPrecision
from textxfer.kernels import capability
from textxfer.training import Learner, Optimizer, Order

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


@pytest.fixture(autouse=True)
def _any_cpu(monkeypatch):
    """Do the same on all CPUs: torch emulates bfloat16 where there are no instructions for it."""
    monkeypatch.setattr(capability, "cpu_multiplies_bf16", lambda: True)


def dtypes(learn):
    return {getattr(module, "compute_dtype", None) for module in learn.model.modules()}


def mixed(dtype: Any = "bf16", **options):
    return MixedPrecision(dtype, allow_cpu=dtype == "fp16", **options)


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_our_models_compute_in_it_for_the_time_of_the_fit(dtype):
    seen = []

    def look(learn: Learner) -> None:
        own = {module.compute_dtype for module in learn.model.modules() if hasattr(module, "compute_dtype")}
        seen.append((learn.step.training, learn.step.pred.dtype, learn.step.loss.dtype, own))

    learn = lm_learner(mixed(dtype), on("after_loss", look))
    learn.fit(1, 1e-3)
    assert seen == [
        (training, HALF[dtype], torch.float32, {HALF[dtype]}) for training in (True, True, True, False, False)
    ]
    assert dtypes(learn) == {None}
    assert all(param.dtype == torch.float32 for param in learn.model.parameters())
    assert learn.callback(MixedPrecision).active == HALF[dtype]
    learn.validate()
    assert seen[-1][1] == torch.float32, "validate() after the fit computes as the model is"


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_losses_are_close_to_those_of_float32(dtype):
    plain, learn = lm_learner(dropout=False), lm_learner(mixed(dtype), dropout=False)
    for each in (plain, learn):
        each.fit(2, 1e-2)
    found, expected = learn.history.steps["loss"], plain.history.steps["loss"]
    assert found == pytest.approx(expected, rel=2e-2)
    assert found != expected


def test_modules_get_back_what_each_had():
    learn = lm_learner(mixed(), on("after_loss", fail))
    own = [module for module in learn.model.modules() if hasattr(module, "compute_dtype")]
    setattr(own[0], "compute_dtype", torch.float64)  # noqa: B010
    with pytest.raises(Planned):
        learn.fit(1, 1e-3)
    assert [getattr(module, "compute_dtype") for module in own] == [torch.float64, *[None] * (len(own) - 1)]  # noqa: B009


class Foreign(nn.Module):
    """A model that knows nothing of `compute_dtype`."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two = nn.Linear(4, 6), nn.Linear(6, 3)
        self.seen: list[torch.dtype] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.two(self.one(x).relu())
        self.seen.append(out.dtype)
        return out


def foreign(learn: Learner) -> Foreign:
    assert isinstance(learn.model, Foreign)
    return learn.model


def foreign_learner(*callbacks, optimizer=None):
    data = [Batch((torch.randn(5, 4),), torch.randint(0, 3, (5,)), 5) for _ in range(3)]
    loaders = Loaders(data, data[:1])
    loss = nn.functional.cross_entropy
    return Learner(Foreign(), loaders, loss, callbacks=callbacks, optimizer=optimizer, device="cpu")


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_other_models_run_under_autocast(dtype):
    outside = []
    learn = foreign_learner(
        mixed(dtype), on("before_backward", lambda learn: outside.append(torch.is_autocast_enabled("cpu")))
    )
    learn.fit(1, 1e-3)
    assert set(foreign(learn).seen) == {HALF[dtype]}
    assert not any(outside)
    learn.validate()
    assert foreign(learn).seen[-1] == torch.float32


def test_autocast_is_left_after_an_error():
    learn = foreign_learner(mixed(), on("after_forward", fail))
    with pytest.raises(Planned):
        learn.fit(1, 1e-3)
    assert not torch.is_autocast_enabled("cpu")
    assert learn.callback(MixedPrecision).around_forward(learn).__enter__() is None


# ---- float16 -----------------------------------------------------------------------------------------------------


def scaled_run(break_at=None, init_scale=1024.0):
    """Train in fp16 with an infinite gradient at one batch; return scales and weights after each batch."""
    scales, states = [], []

    def disturb(learn: Learner) -> None:
        if learn.step.index == break_at:
            grad = next(iter(learn.model.parameters())).grad
            assert grad is not None
            grad.view(-1)[0] = float("inf")

    def look(learn: Learner) -> None:
        scaler = learn.callback(MixedPrecision).scaler
        assert scaler is not None
        scales.append(scaler.get_scale())
        states.append(weights(learn.model))

    watch = on("after_batch", look, train_only=True)
    learn = lm_learner(
        mixed("fp16", init_scale=init_scale), on("after_backward", disturb), watch, train=4, dropout=False
    )
    learn.fit(1, 1e-2)
    return scales, states, learn


def test_an_update_with_infinite_gradients_is_left_out_and_the_scale_halved():
    scales, states, learn = scaled_run(break_at=1)
    assert scales == [1024, 512, 512, 512]
    assert equal(states[1], states[0])
    assert not equal(states[2], states[1])
    assert learn.progress.step == 4
    assert all(torch.isfinite(tensor).all() for tensor in states[-1].values())


def test_without_infinities_every_update_is_made():
    scales, states, _ = scaled_run()
    assert scales == [1024] * 4
    assert not any(equal(one, other) for one, other in itertools.pairwise(states))


def test_gradients_are_those_of_float32():
    def gradients(*callbacks):
        seen = {}

        def look(learn: Learner) -> None:
            seen.update(grads(learn))

        lm_learner(*callbacks, on("before_update", look, Order.GRADIENT), train=1, dropout=False).fit(1, 1e-3)
        return seen

    assert_close(gradients(mixed("fp16")), gradients(), rtol=0.05, atol=2e-4)


def test_small_gradients_survive_through_the_scale():
    """Without a scale a gradient of 1e-8 is zero in float16."""

    def tiny(learn: Learner) -> None:
        learn.step.objective = learn.step.objective * 1e-8

    def total(scale):
        sums = []
        look = on(
            "before_update", lambda learn: sums.append(grads(learn)["two.weight"].abs().sum().item()), Order.GRADIENT
        )
        foreign_learner(mixed("fp16", init_scale=scale), on("after_loss", tiny, Order.OBJECTIVE), look).fit(1, 1e-3)
        return sums[0]

    assert total(1.0) == 0.0
    assert total(65536.0) > 0.0


def test_an_update_that_another_callback_holds_does_not_break_the_scaler():
    def hold(learn: Learner) -> None:
        learn.step.update = None

    learn = lm_learner(mixed("fp16"), on("before_update", hold, Order.OBSERVE), dropout=False)
    before = weights(learn.model)
    learn.fit(1, 1e-2)
    assert equal(weights(learn.model), before)


def test_the_scale_is_saved():
    states = []
    scaler = mixed("fp16", init_scale=8.0)
    lm_learner(scaler, on("after_batch", lambda learn: states.append(scaler.state_dict()), train_only=True)).fit(
        1, 1e-3
    )
    assert states[-1]["scale"] == 8.0
    assert states[-1]["_growth_tracker"] == 3


# ---- where it cannot be had --------------------------------------------------------------------------------------


def test_float16_on_a_cpu_is_refused():
    learn = lm_learner(MixedPrecision("fp16"))
    with pytest.raises(
        ValueError, match=r"MixedPrecision\('fp16'\) needs a CUDA GPU; on cpu use MixedPrecision\('bf16'\)"
    ):
        learn.fit(1, 1e-3)
    assert dtypes(learn) == {None}


def test_a_cpu_without_bfloat16_computes_in_float32(monkeypatch):
    monkeypatch.setattr(capability, "cpu_multiplies_bf16", lambda: False)
    plain, learn = lm_learner(dropout=False), lm_learner(MixedPrecision("bf16"), dropout=False)
    for each in (plain, learn):
        each.fit(1, 1e-3)
    assert learn.callback(MixedPrecision).active == torch.float32
    assert learn.history.steps["loss"] == plain.history.steps["loss"]


def test_a_gpu_without_bfloat16_computes_in_float32(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert MixedPrecision("bf16")._usable(torch.device("cuda")) == torch.float32
    assert MixedPrecision("fp16")._usable(torch.device("cuda")) == torch.float16


def test_works_with_sgd():
    learn = lm_learner(mixed("fp16"), optimizer=Optimizer("sgd", momentum=0.9), train=lm_batches(4))
    learn.fit(1, 1e-2)
    assert all(torch.isfinite(param).all() for param in learn.model.parameters())


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="dtype must be 'bf16' or 'fp16', not 'fp8'"):
        MixedPrecision("fp8")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="init_scale must be > 0"):
        MixedPrecision("fp16", init_scale=0)
