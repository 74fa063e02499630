from __future__ import annotations

import pytest
import torch
from torch import Tensor

from textxfer.kernels import LayerState, lstm_layer, lstm_reference, share_buffer

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


def test_share_buffer_copies_behind_each_other_and_passes_gradients() -> None:
    weights = [torch.randn(4, 3).requires_grad_(), torch.randn(4).requires_grad_()]
    views = share_buffer(*weights)
    assert [view.shape for view in views] == [w.shape for w in weights]
    assert views[1].data_ptr() - views[0].data_ptr() == 12 * views[0].element_size()
    factors = [torch.randn(4, 3), torch.randn(4)]
    torch.stack([(view * factor).sum() for view, factor in zip(views, factors)]).sum().backward()
    for weight, view, factor in zip(weights, views, factors):
        assert torch.equal(view, weight)
        torch.testing.assert_close(weight.grad, factor)
