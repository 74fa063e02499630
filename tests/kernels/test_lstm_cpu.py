from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from textxfer.kernels import (
    LayerState,
    LSTMWeights,
    PlainLSTM,
    PreparedLSTM,
    WeightDrop,
    lstm_cpu,
    lstm_steps,
    prepare_lstm,
)

T, B, INPUT, H = 9, 5, 48, 64


@pytest.fixture(params=[torch.bfloat16, torch.float32], ids=str, autouse=True)
def dtype(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.dtype:
    """The dtype of products: bfloat16 where the CPU has it, and float32, in which the equations must be exact."""
    if request.param == torch.float32:
        monkeypatch.setattr(lstm_cpu, "_BF16", torch.float32)
        monkeypatch.setattr(lstm_cpu._Packed, "dtype", torch.float32)
    elif not lstm_cpu.cpu_multiplies_bf16():
        pytest.skip("this CPU has no bfloat16 products")
    if not torch.backends.mkldnn.is_available():
        pytest.skip("torch has no oneDNN here")
    return request.param


def parameters() -> LSTMWeights:
    shapes = ((4 * H, INPUT), (4 * H, H), (4 * H,), (4 * H,))
    return LSTMWeights(*((torch.randn(shape) / H**0.5).requires_grad_() for shape in shapes))


def inputs() -> tuple[Tensor, LayerState]:
    return torch.randn(T, B, INPUT).requires_grad_(), (torch.randn(B, H).requires_grad_(), torch.randn(B, H))


def drop() -> WeightDrop:
    return WeightDrop(torch.rand(4 * H, H) < 0.7, 0.3)


def outcome(
    layer: PreparedLSTM, x: Tensor, state: LayerState, leaves: Sequence[Tensor], cuts: Sequence[int] = (T,)
) -> list[Tensor]:
    """Outputs, state and gradients of a fixed objective, window by window without detaching."""
    outputs, start = [], 0
    for stop in cuts:
        y, state = layer(x[start:stop], state)
        outputs.append(y.float())
        start = stop
    y = torch.cat(outputs)
    weight = torch.linspace(-1, 1, y.numel()).view_as(y)
    objective = (y * weight).sum() + state[0].sum() + state[1].square().sum()
    return [y, *state, *torch.autograd.grad(objective, leaves)]


def error(value: Tensor, exact: Tensor) -> float:
    return ((value - exact).norm() / exact.norm()).item()


@pytest.mark.parametrize("cuts", [(T,), (4, T), (1, 2, T)])
@pytest.mark.parametrize("dropped", [True, False])
def test_is_as_close_to_float32_as_torchs_own_bfloat16(
    cuts: tuple[int, ...], dropped: bool, dtype: torch.dtype
) -> None:
    weights, (x, state), draw = parameters(), inputs(), drop() if dropped else None
    state[1].requires_grad_()
    leaves = [x, *state, *weights]
    exact = outcome(PlainLSTM(weights, None, draw), x, state, leaves, cuts)
    torchs = outcome(PlainLSTM(weights, dtype, draw), x, state, leaves, cuts)
    ours = outcome(lstm_cpu.PackedLSTM(weights, draw), x, state, leaves, cuts)
    for mine, its, value in zip(ours, torchs, exact):
        assert error(mine, value) < (max(1.5 * error(its, value), 2e-3) if dtype == torch.bfloat16 else 2e-6)


@pytest.mark.parametrize("used", [0, 1, 2])
def test_only_the_outputs_or_a_part_of_the_state_may_be_used(used: int, dtype: torch.dtype) -> None:
    weights, (x, state) = parameters(), inputs()
    grads = []
    for layer in (lstm_cpu.PackedLSTM(weights), PlainLSTM(weights)):
        y, (h, c) = layer(x, state)
        grads.append(torch.autograd.grad((y, h, c)[used].float().square().sum(), [x, state[0], *weights]))
    for mine, exact in zip(*grads):
        assert error(mine, exact) < (5e-2 if dtype == torch.bfloat16 else 2e-6)


def test_dropped_weights_get_no_gradient_and_all_get_float32() -> None:
    weights, (x, state), draw = parameters(), inputs(), drop()
    lstm_cpu.PackedLSTM(weights, draw)(x, state)[0].float().square().sum().backward()
    grad = weights.w_hh.grad
    assert grad is not None and torch.equal(grad != 0, draw.kept)
    assert all(weight.grad is not None and weight.grad.dtype == torch.float32 for weight in weights)
    *_, one, other = torch.autograd.grad(lstm_cpu.PackedLSTM(weights)(x, state)[0].float().sum(), weights)
    assert torch.equal(one, other) and one.data_ptr() != other.data_ptr(), "each may be scaled in its place"


def test_several_backward_passes_add_up_and_do_not_mix() -> None:
    weights, (x, state) = parameters(), inputs()
    layer = lstm_cpu.PackedLSTM(weights)
    first, state = layer(x[:4], state)
    second, _ = layer(x[4:], (state[0].detach(), state[1].detach()))
    losses = [first.float().square().mean(), second.float().mean()]
    each = [torch.autograd.grad(loss, weights, retain_graph=True) for loss in losses]
    torch.autograd.grad(losses[0], x, retain_graph=True)  # its sums of weight gradients are nobody's
    both = torch.autograd.grad(losses[0] + losses[1], weights)
    for a, b, total in zip(*each, both):
        torch.testing.assert_close(a + b, total, rtol=1e-3, atol=1e-5)


def test_frozen_weights_cost_no_gradient_and_pass_it_on() -> None:
    weights, (x, state) = LSTMWeights(*(w.detach() for w in parameters())), inputs()
    y, _ = lstm_cpu.PackedLSTM(weights)(x, state)
    y.float().sum().backward()
    assert x.grad is not None and x.grad.any()
    y, _ = lstm_cpu.PackedLSTM(weights)(x.detach(), (state[0].detach(), state[1]))
    assert not y.requires_grad


def test_some_frozen_weights() -> None:
    weights, (x, state) = parameters(), inputs()
    for part in (weights.w_ih, weights.b_hh):
        part.requires_grad_(False)
    lstm_cpu.PackedLSTM(weights)(x.detach(), state)[0].float().sum().backward()
    assert [weight.grad is not None for weight in weights] == [False, True, True, False]


def test_without_gradient_the_result_is_the_same() -> None:
    weights, (x, state) = parameters(), inputs()
    layer = lstm_cpu.PackedLSTM(weights)
    y, after = layer(x, state)
    with torch.no_grad():
        again, after_again = layer(x, state)
    assert torch.equal(y, again) and all(map(torch.equal, after, after_again))
    assert not again.requires_grad


def test_input_that_is_projected_in_several_blocks_gives_the_same(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, (x, state) = parameters(), inputs()
    whole = outcome(lstm_cpu.PackedLSTM(weights), x, state, weights)
    monkeypatch.setattr(lstm_steps, "ROWS", 2 * B)  # of 9 steps, so that the last block is short
    for value, expected in zip(outcome(lstm_cpu.PackedLSTM(weights), x, state, weights), whole):
        assert error(value, expected) < (2e-2 if dtype == torch.bfloat16 else 2e-6)


def test_the_state_is_not_changed_in_place() -> None:
    weights, (x, state) = parameters(), inputs()
    before = [part.clone() for part in state]
    outcome(lstm_cpu.PackedLSTM(weights), x, state, weights)
    assert all(map(torch.equal, state, before))


def test_gradients_that_come_in_are_not_changed() -> None:
    weights, (x, state) = parameters(), inputs()
    y, (h, c) = lstm_cpu.PackedLSTM(weights)(x, state)
    seen = []
    for output in (y, h, c):
        output.register_hook(lambda grad: seen.append((grad, grad.clone())))
    (y.float().square().sum() + h.square().sum() + c.square().sum()).backward()
    assert len(seen) == 3
    assert all(torch.equal(grad, before) for grad, before in seen)


def test_it_is_chosen_where_it_can_be_used(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = parameters()
    monkeypatch.setattr(lstm_cpu, "cpu_multiplies_bf16", lambda: True)
    assert isinstance(prepare_lstm(weights, dtype), lstm_cpu.PackedLSTM)
    assert isinstance(prepare_lstm(weights), PlainLSTM)
    assert isinstance(prepare_lstm(weights, torch.float64), PlainLSTM)
    double = LSTMWeights(*(weight.double() for weight in weights))
    assert isinstance(prepare_lstm(double, dtype), PlainLSTM)


def test_without_bfloat16_products_torchs_kernel_runs(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lstm_cpu, "cpu_multiplies_bf16", lambda: False)
    assert isinstance(prepare_lstm(parameters(), dtype), PlainLSTM)


def test_nothing_of_a_step_outlives_it() -> None:
    """The graph must not hang in a cycle that only the garbage collector finds: a step holds hundreds of megabytes."""
    import gc
    import weakref

    weights, (x, state) = parameters(), inputs()
    gc.disable()
    try:
        layer = lstm_cpu.PackedLSTM(weights, drop())
        packed = weakref.ref(layer.packed)
        layer(x, state)[0].float().sum().backward()
        del layer
        assert packed() is None
    finally:
        gc.enable()
