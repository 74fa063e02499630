from __future__ import annotations

import pytest
import torch
from torch import Tensor

from textxfer.kernels import LayerState, LSTMWeights, PlainLSTM, WeightDrop, lstm_layer, lstm_reference

T, B, INPUT, H = 6, 3, 5, 4


def arguments(dtype: torch.dtype = torch.float32) -> tuple[Tensor, LayerState, list[Tensor]]:
    def leaf(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=dtype).requires_grad_()

    return leaf(T, B, INPUT), (leaf(B, H), leaf(B, H)), [leaf(4 * H, INPUT), leaf(4 * H, H), leaf(4 * H), leaf(4 * H)]


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_equals_the_reference_in_values_and_gradients(dtype: torch.dtype, tolerance: float) -> None:
    x, state, weights = arguments(dtype)
    out_weight = torch.randn(T, B, H, dtype=dtype)
    results = []
    for layer in (lstm_layer, lstm_reference):
        y, (h, c) = layer(x, state, *weights)
        objective = (y * out_weight).sum() + h.sum() + 2 * c.sum()
        results.append((y, h, c, *torch.autograd.grad(objective, [x, *state, *weights])))
    for fast, slow in zip(*results):
        torch.testing.assert_close(fast, slow, rtol=tolerance, atol=tolerance)


def test_no_graph_is_made_without_need() -> None:
    x, state, weights = arguments()
    with torch.no_grad():
        y, _ = lstm_layer(x, state, *weights)
    assert not y.requires_grad
    plain = [t.detach() for t in (x, *state, *weights)]
    y, _ = lstm_layer(plain[0], (plain[1], plain[2]), *plain[3:])
    assert not y.requires_grad


def test_a_plain_layer_drops_scales_and_gives_the_state_in_the_parameters_dtype() -> None:
    x, state, weights = arguments()
    kept = torch.rand(4 * H, H) < 0.6
    dropped = (weights[1] * kept / 0.6).detach()
    expected, _ = lstm_reference(x, state, weights[0], dropped, *weights[2:])
    layer = PlainLSTM(LSTMWeights(*weights), None, WeightDrop(kept, 0.4))
    torch.testing.assert_close(layer(x, state)[0], expected)
    y, after = PlainLSTM(LSTMWeights(*weights), torch.bfloat16)(x, state)
    assert y.dtype == torch.bfloat16 and all(part.dtype == torch.float32 for part in after)
    assert all(torch.equal(layer.weights[i], weights[i]) for i in (0, 2, 3)), "the parameters themselves stay"


def test_a_draw_drops_and_scales() -> None:
    kept, weights = torch.tensor([[True, False]]), torch.tensor([[4.0, 4.0]])
    dropped = WeightDrop(kept, 0.2).apply(weights, torch.bfloat16)
    assert dropped.tolist() == [[5.0, 0.0]] and dropped.dtype == torch.bfloat16
    assert weights.tolist() == [[4.0, 4.0]]
