"""Weights in float16: the plain equations with rounded weights, exactly so, and close to float32."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from textxfer.kernels import lstm_fp16
from textxfer.kernels.lstm import LayerState, LSTMWeights, PlainLSTM, WeightDrop, lstm_reference
from textxfer.kernels.lstm_fp16 import Fp16LSTM, fp16_is_usable
from textxfer.kernels.prepare import prepare_lstm

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(not fp16_is_usable(CPU), reason="torch has no products with float16 weights here")


def layer(inputs: int = 12, hidden: int = 20) -> LSTMWeights:
    shapes = [(4 * hidden, inputs), (4 * hidden, hidden), (4 * hidden,), (4 * hidden,)]
    return LSTMWeights(*((torch.rand(shape) - 0.5) for shape in shapes))


def state_of(batch: int, hidden: int = 20) -> LayerState:
    h, c = torch.rand(2, batch, hidden) - 0.5
    return h, c


def rounded(weights: LSTMWeights) -> list[Tensor]:
    w_ih, w_hh, b_ih, b_hh = weights
    return [w_ih.half().float(), w_hh.half().float(), b_ih, b_hh]


@torch.no_grad()
@pytest.mark.parametrize("batch", [1, 3, 40])
def test_equals_the_equations_with_rounded_weights(batch: int) -> None:
    weights, state, x = layer(), state_of(batch), torch.randn(9, batch, 12)
    y, (h, c) = Fp16LSTM(weights)(x, state)
    wanted, (h_wanted, c_wanted) = lstm_reference(x, state, *rounded(weights))
    for found, expected in ((y, wanted), (h, h_wanted), (c, c_wanted)):
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)
    exact, _ = lstm_reference(x, state, *weights)
    assert 0 < (y - exact).abs().max() < 1e-3  # the weights are rounded, and no more


@torch.no_grad()
def test_windows_go_on_where_the_last_one_ended() -> None:
    run, state, x = Fp16LSTM(layer()), state_of(2), torch.randn(8, 2, 12)
    whole, end = run(x, state)
    first, between = run(x[:5], state)
    second, last = run(x[5:], between)
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=0, atol=1e-6)
    torch.testing.assert_close(last, end, rtol=0, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("batch", [2, 11])
def test_long_windows_run_in_blocks(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    run, state, x = Fp16LSTM(layer()), state_of(batch), torch.randn(13, batch, 12)
    whole, end = run(x, state)
    monkeypatch.setattr(lstm_fp16, "ROWS", 10)  # five steps of two texts, or one step of eleven
    rows = []
    monkeypatch.setattr(run, "_run", lambda block, *rest: rows.append(len(block)) or Fp16LSTM._run(run, block, *rest))
    y, last = run(x, state)
    assert rows == ([5, 5, 3] if batch == 2 else [1] * 13)
    torch.testing.assert_close(y, whole, rtol=0, atol=1e-6)
    torch.testing.assert_close(last, end, rtol=0, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_states_come_in_the_dtype_of_the_input(dtype: torch.dtype) -> None:
    y, (h, c) = Fp16LSTM(layer())(torch.randn(4, 2, 12, dtype=dtype), state_of(2))
    assert (y.dtype, h.dtype, c.dtype) == (dtype, torch.float32, torch.float32)


def test_it_is_for_inference() -> None:
    run = Fp16LSTM(layer())
    with pytest.raises(RuntimeError, match="weights in float16 are for inference"):
        run(torch.randn(4, 2, 12, requires_grad=True), state_of(2))


def test_only_inference_without_dropped_weights_gets_it() -> None:
    weights = layer()
    with torch.no_grad():
        assert isinstance(prepare_lstm(weights, torch.float16), Fp16LSTM)
        dropped = WeightDrop(torch.rand(80, 20) > 0.5, 0.5)
        assert isinstance(prepare_lstm(weights, torch.float16, dropped), PlainLSTM)
    assert isinstance(prepare_lstm(weights, torch.float16), PlainLSTM)


def test_a_processor_without_such_products_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Tensor:
        raise RuntimeError("Didn't find engine for operation quantized::linear_prepack_fp16")

    packed = lstm_fp16._packed
    for broken in (fail, lambda matrix, bias: packed(matrix.roll(1, 0), bias)):  # an error, and another product
        monkeypatch.setattr(lstm_fp16, "_packed", broken)
        lstm_fp16._runs.cache_clear()
        assert not fp16_is_usable(CPU)
        assert not fp16_is_usable(torch.device("meta"))
    monkeypatch.undo()
    lstm_fp16._runs.cache_clear()
    assert fp16_is_usable(CPU)
