from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

from textxfer.kernels import PlainLSTM, PreparedLSTM, cpu_multiplies_bf16, lstm_reference
from textxfer.models import WeightDropLSTM

T, B, INPUT, H = 5, 3, 4, 6


def test_initial_weights_are_uniform_within_one_over_root_h() -> None:
    lstm = WeightDropLSTM(50, 400)
    bound = 1 / math.sqrt(400)
    for parameter in lstm.parameters():
        assert parameter.abs().max() <= bound
        assert parameter.abs().max() > 0.95 * bound
        assert abs(parameter.mean()) < 0.05 * bound


def test_names_on_disk_are_plain() -> None:
    assert list(WeightDropLSTM(INPUT, H, 0.5).state_dict()) == ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]


@pytest.mark.parametrize("training", [True, False])
def test_equals_the_reference_with_the_drawn_weights(training: bool) -> None:
    lstm = WeightDropLSTM(INPUT, H, 0.5).train(training)
    prepared = lstm.draw_weights()
    assert isinstance(prepared, PlainLSTM)
    x, state = torch.randn(T, B, INPUT), (torch.randn(B, H), torch.randn(B, H))
    y, after = lstm(x, state, prepared)
    expected, expected_after = lstm_reference(x, state, *prepared.weights)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(after, expected_after)
    assert (prepared.weights.w_hh is lstm.weight_hh) is not training


def test_dropped_weights_change_output_and_get_no_gradient() -> None:
    lstm = WeightDropLSTM(INPUT, H, 0.5)
    x = torch.randn(T, B, INPUT)
    prepared = lstm.draw_weights()
    assert isinstance(prepared, PlainLSTM)
    y, _ = lstm(x, None, prepared)
    assert not torch.allclose(y, lstm.eval()(x)[0])
    y.square().sum().backward()
    grad = lstm.weight_hh.grad
    assert grad is not None
    assert torch.equal(grad == 0, prepared.weights.w_hh == 0)
    assert 0 < (grad == 0).sum() < grad.numel()


def test_weights_are_dropped_with_the_probability_that_was_given() -> None:
    lstm = WeightDropLSTM(INPUT, 100, 0.2)
    prepared = lstm.draw_weights()
    assert isinstance(prepared, PlainLSTM)
    dropped = prepared.weights.w_hh == 0
    assert abs(dropped.float().mean() - 0.2) < 0.01
    torch.testing.assert_close(prepared.weights.w_hh[~dropped], lstm.weight_hh[~dropped] / 0.8)


def test_every_call_draws_anew_unless_told_otherwise() -> None:
    lstm = WeightDropLSTM(INPUT, H, 0.5)
    x, weights = torch.randn(T, B, INPUT), lstm.draw_weights()
    assert not torch.allclose(lstm(x)[0], lstm(x)[0])
    assert torch.equal(lstm(x, None, weights)[0], lstm(x, None, weights)[0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_compute_dtype_leaves_parameters_gradients_and_state_alone(dtype: torch.dtype) -> None:
    lstm = WeightDropLSTM(INPUT, H, 0.5)
    lstm.compute_dtype = dtype
    y, state = lstm(torch.randn(T, B, INPUT))
    assert y.dtype == dtype
    assert all(s.dtype == torch.float32 for s in state)
    y.float().sum().backward()
    assert all(p.grad is not None and p.dtype == p.grad.dtype == torch.float32 for p in lstm.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_evaluation_prepares_the_weights_once_until_they_change(dtype: torch.dtype) -> None:
    lstm = WeightDropLSTM(INPUT, H, 0.5).eval()
    lstm.compute_dtype = dtype

    def prepared() -> PreparedLSTM:
        with torch.no_grad():
            return lstm.draw_weights()

    first = prepared()
    assert prepared() is first and copy.deepcopy(lstm)._prepared is None
    with torch.no_grad():
        lstm.weight_hh.mul_(2)
    second = prepared()
    assert second is not first and prepared() is second
    lstm.spans = (1.0, 0.5)
    third = prepared()
    assert third is not second
    lstm.compute_dtype = torch.float64
    assert prepared() is not third
    lstm.train()
    assert lstm._prepared is None
    assert lstm.eval().draw_weights() is not lstm.draw_weights(), "with gradient, each call has its own graph"


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_evaluation_sees_what_fused_optimizers_wrote(dtype: torch.dtype | None) -> None:
    lstm, x = WeightDropLSTM(INPUT, H).eval(), torch.randn(T, B, INPUT)
    lstm.compute_dtype = dtype
    optimizer = torch.optim.AdamW(lstm.parameters(), lr=0.1, fused=True)  # changes no tensor's version

    def evaluated() -> Tensor:
        with torch.no_grad():
            return lstm(x)[0]

    before = evaluated()
    lstm(x)[0].sum().backward()
    torch.testing.assert_close(evaluated(), before)
    lstm(x)[0].sum().backward()
    optimizer.step()
    after = evaluated()
    assert not torch.allclose(after, before)
    torch.testing.assert_close(after, copy.deepcopy(lstm)(x)[0].detach())


def test_eval_sees_what_was_written_to_data() -> None:
    lstm, x = WeightDropLSTM(INPUT, H).eval(), torch.randn(T, B, INPUT)
    lstm.compute_dtype = torch.bfloat16
    with torch.no_grad():
        before = lstm(x)[0]
        lstm.weight_hh.data.mul_(-3)
        assert not torch.allclose(lstm.eval()(x)[0], before)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_a_layer_made_in_inference_mode_evaluates_and_is_up_to_date(dtype: torch.dtype | None) -> None:
    with torch.inference_mode():
        lstm = WeightDropLSTM(INPUT, H).eval()
    lstm.compute_dtype = dtype
    x = torch.randn(T, B, INPUT)
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode:
            torch.testing.assert_close(lstm(x)[0], copy.deepcopy(lstm)(x)[0])
    with torch.inference_mode():
        before = lstm(x)[0]
        lstm.weight_hh.mul_(-3)
        assert not torch.allclose(lstm(x)[0], before)


@pytest.mark.skipif(not cpu_multiplies_bf16(), reason="this CPU has no bfloat16 products")
def test_dropped_weights_get_no_gradient_in_bfloat16_either() -> None:
    lstm = WeightDropLSTM(INPUT, H, 0.5)
    lstm.compute_dtype = torch.bfloat16
    lstm(torch.randn(T, B, INPUT))[0].square().sum().backward()
    grad = lstm.weight_hh.grad
    assert grad is not None and 0.3 < (grad == 0).float().mean() < 0.7


def test_a_frozen_layer_passes_gradient_on() -> None:
    lstm = WeightDropLSTM(INPUT, H, 0.5).requires_grad_(False)
    x = torch.randn(T, B, INPUT).requires_grad_()
    lstm(x)[0].sum().backward()
    assert x.grad is not None and x.grad.any()


def test_no_probability() -> None:
    with pytest.raises(ValueError, match="dropout_weight"):
        WeightDropLSTM(INPUT, H, 1.0)


def test_repr_shows_sizes() -> None:
    assert repr(WeightDropLSTM(INPUT, H, 0.5)) == "WeightDropLSTM(4, 6, dropout_weight=0.5)"
