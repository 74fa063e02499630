from __future__ import annotations

import pytest
import torch
from torch import Tensor

from textxfer.kernels import (
    CODES,
    Int8LSTM,
    LayerState,
    LSTMWeights,
    WeightDrop,
    from_codes,
    int8_is_usable,
    lstm_int8,
    lstm_reference,
    prepare_lstm,
)
from textxfer.kernels.lstm_int8 import _Products

T, B, INPUT, H = 30, 5, 48, 64
pytestmark = pytest.mark.skipif(not int8_is_usable(torch.device("cpu")), reason="torch has no 8-bit products here")


@pytest.fixture(params=["this processor", "one without VNNI and bfloat16"], autouse=True)
def processor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param != "this processor":
        monkeypatch.setattr(lstm_int8, "cpu_multiplies_bf16", lambda: False)
        monkeypatch.setattr(lstm_int8, "code_levels", lambda: 63)


def parameters(inputs: int = INPUT) -> LSTMWeights:
    return LSTMWeights(*(torch.randn(s) / H**0.5 for s in ((4 * H, inputs), (4 * H, H), (4 * H,), (4 * H,))))


def state() -> LayerState:
    return torch.rand(B, H) * 2 - 1, torch.randn(B, H)


def error(value: Tensor, exact: Tensor) -> float:
    return ((value - exact).norm() / exact.norm()).item()


def test_two_layers_stay_close_to_the_reference() -> None:
    first, second, x, start = parameters(), parameters(H), 3 * torch.randn(T, B, INPUT), state()
    codes, after = Int8LSTM(first)(x, start)
    codes_2, after_2 = Int8LSTM(second)(codes, start)
    exact, exact_after = lstm_reference(x, start, *first)
    exact_2, exact_after_2 = lstm_reference(exact, start, *second)
    assert codes.dtype == codes_2.dtype == CODES
    for value, expected in [
        (from_codes(codes, torch.float32), exact),
        (from_codes(codes_2, torch.float32), exact_2),
        (after[1], exact_after[1]),
        (after_2[0], exact_after_2[0]),
    ]:
        assert error(value, expected) < 3.8 / lstm_int8.code_levels()


def test_the_layer_above_knows_the_range_of_its_input() -> None:
    first, second = (LSTMWeights(*(w / 8 for w in parameters(n))) for n in (INPUT, H))
    x, start = torch.randn(T, B, INPUT) / 4, (torch.zeros(B, H), torch.zeros(B, H))
    exact, _ = lstm_reference(x, start, *first)
    exact_2, _ = lstm_reference(exact, start, *second)
    spans = [1.25 * float(y.abs().max()) for y in (exact, exact_2)]
    codes, _ = Int8LSTM(first, (1.0, spans[0]))(x, start)
    codes_2, _ = Int8LSTM(second, (spans[0], spans[1]))(codes, start)
    assert error(from_codes(codes_2, torch.float32, spans[1]), exact_2) < 3.8 / lstm_int8.code_levels()


def test_rows_of_weights_have_a_scale_each_and_are_rounded() -> None:
    matrix = (torch.rand(8, 512) * 2 - 1) * 10.0 ** -torch.arange(8)[:, None]
    codes = torch.randint(1, 2 * lstm_int8.code_levels() + 2, (64, 512), dtype=CODES)
    zero = lstm_int8.code_levels() + 1
    found = lstm_int8._linear(codes, 0.01, zero, lstm_int8._Weights(matrix)).float()
    exact = 0.01 * (codes.float() - zero) @ matrix.T
    for row in range(8):
        assert error(found[:, row], exact[:, row]) < 0.006


def test_windows_follow_one_another() -> None:
    layer, x, start = Int8LSTM(parameters()), torch.randn(T, B, INPUT).clamp(-3, 3), state()
    x[0], x[-1] = 3.0, -3.0  # the same largest value in both windows: the scale of numbers is the window's
    whole, (h, c) = layer(x, start)
    first, between = layer(x[:11], start)
    second, (h_2, c_2) = layer(x[11:], between)
    apart = (torch.cat([first, second]).int() - whole.int()).abs()
    assert apart.max() <= 2 and error(h_2, h) < 0.01 and error(c_2, c) < 0.01


def test_codes_stand_for_what_lies_between_minus_and_plus_the_range() -> None:
    levels = lstm_int8.code_levels()
    codes = torch.tensor([1, levels + 1, 2 * levels + 1], dtype=CODES)
    assert from_codes(codes, torch.float32).tolist() == [-1.0, 0.0, 1.0]


def test_sums_of_the_largest_codes_and_weights_are_right() -> None:
    """Where the processor adds in 16 bits, there are fewer levels, so that nothing is cut off."""
    weights = LSTMWeights(*(torch.ones(s) for s in ((4 * H, INPUT), (4 * H, H), (4 * H,), (4 * H,))))
    layer, largest = Int8LSTM(weights), torch.full((B, H), 2 * lstm_int8.code_levels() + 1, dtype=CODES)
    products = _Products(layer._inputs, layer._recurrent, torch.zeros(4 * H), 1.0, 1.0)
    sums = products.recur(largest, torch.zeros(B, 4 * H, dtype=products.project(largest[:, :INPUT]).dtype))
    torch.testing.assert_close(sums.float(), torch.full((B, 4 * H), float(H)), rtol=0.01, atol=0)
    assert lstm_int8.code_levels() in (63, 127)


def test_no_gradient_and_no_training() -> None:
    layer = Int8LSTM(parameters())
    with pytest.raises(RuntimeError, match="inference"):
        layer(torch.randn(T, B, INPUT).requires_grad_(), state())
    with torch.no_grad():
        layer(torch.randn(T, B, INPUT).requires_grad_(), state())
    with pytest.raises(ValueError, match="inference"):
        prepare_lstm(parameters(), torch.int8, WeightDrop(torch.ones(4 * H, H, dtype=torch.bool), 0.5))
    assert isinstance(prepare_lstm(parameters(), torch.int8), Int8LSTM)


def test_a_row_of_zeros_is_no_division_by_zero() -> None:
    weights = parameters()
    weights.w_hh[3] = 0
    codes, _ = Int8LSTM(weights)(torch.zeros(T, B, INPUT), state())
    assert error(from_codes(codes, torch.float32), lstm_reference(torch.zeros(T, B, INPUT), state(), *weights)[0]) < 2


def test_a_narrow_range_is_finer_and_cuts_what_lies_beyond() -> None:
    weights, x = LSTMWeights(*(w / 8 for w in parameters())), torch.randn(T, B, INPUT) / 4
    start = (torch.zeros(B, H), torch.zeros(B, H))
    exact, _ = lstm_reference(x, start, *weights)
    span = 1.25 * float(exact.abs().max())
    wide, _ = Int8LSTM(weights)(x, start)
    narrow, _ = Int8LSTM(weights, (1.0, span))(x, start)
    assert error(from_codes(narrow, torch.float32, span), exact) < 0.5 * error(from_codes(wide, torch.float32), exact)
    cut, _ = Int8LSTM(weights, (1.0, span / 2))(x, start)
    assert from_codes(cut, torch.float32, span / 2).abs().max() <= span / 2 + 1e-6
