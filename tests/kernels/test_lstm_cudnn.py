"""cuDNN itself on a GPU; on a CPU what stands around it, with stand-ins for torch's three functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from textxfer.kernels import lstm_cudnn
from textxfer.kernels.lstm import LayerState, LSTMWeights, WeightDrop, lstm_reference
from textxfer.kernels.lstm_cudnn import CudnnLSTM, usable

T, B, INPUT, H = 6, 3, 5, 4
PADDING = 3
"""Unused elements that the stand-in wants between the weights: nothing may rely on there being none."""


def weights_of(inputs: int = INPUT, hidden: int = H, device: str | torch.device = "cpu") -> LSTMWeights:
    shapes = [(4 * hidden, inputs), (4 * hidden, hidden), (4 * hidden,), (4 * hidden,)]
    return LSTMWeights(*(((torch.rand(shape, device=device) - 0.5) / hidden**0.5).requires_grad_() for shape in shapes))


def state_of(hidden: int = H, batch: int = B, device: str | torch.device = "cpu") -> LayerState:
    h, c = torch.rand(2, batch, hidden, device=device) - 0.5
    return h.requires_grad_(), c.requires_grad_()


def windows_of(
    n: int, inputs: int = INPUT, time: int = T, batch: int = B, device: str | torch.device = "cpu"
) -> list[Tensor]:
    return [torch.randn(time, batch, inputs, device=device, requires_grad=True) for _ in range(n)]


def drop_of(weights: LSTMWeights, p: float = 0.4) -> WeightDrop:
    return WeightDrop(torch.rand_like(weights.w_hh) >= p, p)


def run(layer: Callable[..., Any], windows: Sequence[Tensor], state: LayerState) -> tuple[list[Tensor], Tensor]:
    """Run over windows, gradient flowing through all, and return what came out and an objective."""
    outputs = []
    for x in windows:
        y, state = layer(x, state)
        outputs.append(y)
    everything = [*outputs, *state]
    factors = torch.linspace(-1, 1, sum(t.numel() for t in everything), dtype=torch.float64, device=state[0].device)
    parts = factors.split([t.numel() for t in everything])
    return everything, torch.stack([(t.flatten() * f).sum() for t, f in zip(everything, parts)]).sum()


def expected(
    weights: LSTMWeights, windows: Sequence[Tensor], state: LayerState, drop: WeightDrop | None = None
) -> tuple[list[Tensor], list[Tensor]]:
    """The same by the plain equations in float64: outputs, then gradients of weights, state, inputs."""
    copies = [t.detach().double().requires_grad_() for t in (*weights, *state, *windows)]
    w_ih, w_hh, b_ih, b_hh, h, c, *inputs = copies
    dropped = w_hh if drop is None else w_hh * drop.kept / (1 - drop.p)
    outputs, objective = run(lambda x, s: lstm_reference(x, s, w_ih, dropped, b_ih, b_hh), inputs, (h, c))
    return outputs, list(torch.autograd.grad(objective, copies))


def assert_near(found: Sequence[Tensor | None], wanted: Sequence[Tensor], tolerance: float) -> None:
    """Compare tensors by their largest difference, relative to their largest element."""
    assert len(found) == len(wanted)
    for index, (one, other) in enumerate(zip(found, wanted)):
        assert one is not None, index
        error = (one.double() - other.double()).abs().max() / other.abs().max().clamp(min=1e-6)
        assert error < tolerance, (index, float(error))


class StandIns:
    """cuDNN by the equations, with what torch's functions demand and do: dtypes, layout, an overwritten reserve."""

    def __init__(self) -> None:
        self.trained: list[bool] = []
        self.masks: list[tuple[bool, ...]] = []

    def flatten(self, weights: list[Tensor], stride: int, *sizes: int) -> Tensor:
        offsets, size = self.offsets(weights)
        flat = weights[0].new_zeros(size)
        for weight, start in zip(weights, offsets):
            weight.set_(flat.untyped_storage(), start, weight.shape, weight.stride())
        return flat

    def offsets(self, weights: Sequence[Tensor]) -> tuple[list[int], int]:
        places = [0]
        for weight in weights:
            places.append(places[-1] + weight.numel() + PADDING)
        return places[:-1], places[-1]

    def forward(self, x: Tensor, weights: list[Tensor], stride: int, flat: Tensor, *rest: Any) -> tuple[Tensor, ...]:
        h, c, mode, hidden, projection, layers, batch_first, dropout, train, both_ways, sizes, dropout_state = rest
        assert (stride, mode, projection, layers, batch_first, dropout) == (4, 2, 0, 1, False, 0.0)
        assert (both_ways, sizes, dropout_state) == (False, [], None)
        assert hidden == h.shape[2] and h.shape == c.shape == (1, x.shape[1], hidden)
        assert {t.dtype for t in (x, h, c, flat, *weights)} == {flat.dtype}
        assert all(t.is_contiguous() for t in (x, h, c))
        assert [w.storage_offset() for w in weights] == self.offsets(weights)[0]
        assert all(w.untyped_storage().data_ptr() == flat.data_ptr() for w in weights)
        assert not torch.is_autocast_enabled(x.device.type)
        self.trained.append(train)
        y, (h, c) = lstm_reference(x, (h[0], c[0]), *weights)
        return y, h.unsqueeze(0), c.unsqueeze(0), torch.zeros(int(train), dtype=torch.uint8), flat

    def backward(self, x: Tensor, weights: list[Tensor], stride: int, flat: Tensor, *rest: Any) -> tuple[Any, ...]:
        h, c, y, dy, dh, dc, mode, hidden, *sizes, reserve, mask = rest
        assert (stride, mode, hidden, *sizes) == (4, 2, H, 0, 1, False, 0.0, True, False, [], None)
        assert reserve.tolist() == [0], "the reserve was used before"
        reserve.fill_(1)
        self.masks.append(tuple(mask))
        leaves = [t.detach().clone().requires_grad_() for t in (x, h, c, *weights)]
        with torch.enable_grad():
            again, (h_after, c_after) = lstm_reference(leaves[0], (leaves[1][0], leaves[2][0]), *leaves[3:])
            assert torch.equal(again, y)
            results = (again, h_after.unsqueeze(0), c_after.unsqueeze(0))
            given = [torch.zeros_like(r) if g is None else g for r, g in zip(results, (dy, dh, dc))]
            dx, dh, dc, *dw = torch.autograd.grad(results, leaves, given)
        return dx, dh, dc, dw if mask[3] else []


@pytest.fixture
def cudnn(monkeypatch: pytest.MonkeyPatch) -> StandIns:
    """Stand-ins in the place of torch's functions."""
    stand_ins = StandIns()
    lstm_cudnn._layout.cache_clear()
    monkeypatch.setattr(torch, "_cudnn_rnn_flatten_weight", stand_ins.flatten)
    monkeypatch.setattr(torch, "_cudnn_rnn", stand_ins.forward)
    monkeypatch.setattr(torch.ops.aten, "_cudnn_rnn_backward", stand_ins.backward)
    return stand_ins


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("dropped", [False, True])
def test_equals_the_reference(cudnn: StandIns, n: int, dropped: bool) -> None:
    weights, state, windows = weights_of(), state_of(), windows_of(n)
    drop = drop_of(weights) if dropped else None
    outputs, objective = run(CudnnLSTM(weights, torch.float32, drop), windows, state)
    objective.backward()
    wanted, grads = expected(weights, windows, state, drop)
    assert_near(outputs, wanted, 1e-6)
    assert_near([t.grad for t in (*weights, *state, *windows)], grads, 1e-5)
    if drop is not None:
        assert weights.w_hh.grad is not None
        assert not weights.w_hh.grad[~drop.kept].any()
    assert cudnn.trained == [True] * n


def test_computes_in_16_bits_and_keeps_parameters_gradients_and_state_in_32(cudnn: StandIns) -> None:
    weights, state, windows = weights_of(), state_of(), windows_of(2)
    drop = drop_of(weights)
    outputs, objective = run(CudnnLSTM(weights, torch.bfloat16, drop), windows, state)
    objective.backward()
    assert [t.dtype for t in outputs] == [torch.bfloat16] * 2 + [torch.float32] * 2
    found = [t.grad for t in (*weights, *state, *windows)]
    assert all(grad is not None and grad.dtype == torch.float32 for grad in found)
    wanted, grads = expected(weights, windows, state, drop)
    assert_near(outputs, wanted, 0.02)
    assert_near(found, grads, 0.04)


def test_sums_of_many_windows_are_exact_to_32_bits(cudnn: StandIns) -> None:
    weights, state = weights_of(), state_of()
    layer = CudnnLSTM(weights, torch.bfloat16)
    x = windows_of(1)[0]
    once = torch.autograd.grad(layer(x, state)[0].sum(), weights)
    many = torch.autograd.grad(torch.stack([layer(x, state)[0].sum() for _ in range(33)]).sum(), weights)
    assert_near(many, [33 * grad for grad in once], 1e-5)  # 33 additions in bfloat16 would be off by 1e-2


def test_some_windows_of_a_draw_and_the_same_ones_again(cudnn: StandIns) -> None:
    weights, state, windows = weights_of(), state_of(), windows_of(3)
    drop = drop_of(weights)
    layer = CudnnLSTM(weights, torch.float32, drop)
    losses = [run(layer, [x], state)[1] for x in windows]
    wanted = [expected(weights, [x], state, drop)[1][:4] for x in windows]
    found = torch.autograd.grad(losses[1], weights, retain_graph=True)
    assert_near(found, wanted[1], 1e-5)
    found = torch.autograd.grad(losses[0] + losses[1], weights, retain_graph=True)
    assert_near(found, [a + b for a, b in zip(*wanted[:2])], 1e-5)
    torch.autograd.grad(losses[2], windows[2], retain_graph=True)  # leaves sums that nobody fetched
    torch.stack(losses).sum().backward()
    assert_near([w.grad for w in weights], [sum(parts) for parts in zip(*wanted)], 1e-5)  # pyright: ignore[reportArgumentType]


def test_the_state_may_be_cut_between_windows(cudnn: StandIns) -> None:
    weights, state, windows = weights_of(), state_of(), windows_of(2)
    layer = CudnnLSTM(weights, torch.float32)
    _, (h, c) = layer(windows[0], state)
    cut = h.detach(), c.detach()
    layer(windows[1], cut)[0].sum().backward()
    assert windows[0].grad is None and state[0].grad is None
    wanted = torch.autograd.grad(lstm_reference(windows[1], cut, *weights)[0].sum(), weights)
    assert_near([w.grad for w in weights], wanted, 1e-5)


@pytest.mark.parametrize("trained", [(), (1,), (0, 2)])
def test_frozen_weights(cudnn: StandIns, trained: tuple[int, ...]) -> None:
    weights, state, windows = weights_of(), state_of(), windows_of(2)
    for index, weight in enumerate(weights):
        weight.requires_grad_(index in trained)
    drop = drop_of(weights)
    _, objective = run(CudnnLSTM(weights, torch.float32, drop), windows, state)
    objective.backward()
    _, grads = expected(weights, windows, state, drop)
    assert_near([weights[i].grad for i in trained], [grads[i] for i in trained], 1e-5)
    assert all(weights[i].grad is None for i in range(4) if i not in trained)
    assert_near([x.grad for x in windows], grads[-2:], 1e-5)
    assert {mask[3] for mask in cudnn.masks} == {bool(trained)}


def test_an_input_without_gradient_gets_none(cudnn: StandIns) -> None:
    weights = weights_of()
    h, c = (t.detach() for t in state_of())
    y, _ = CudnnLSTM(weights, torch.float32)(windows_of(1)[0].detach(), (h, c))
    y.sum().backward()
    assert cudnn.masks == [(False, False, False, True)]


def test_is_told_to_train_only_where_there_will_be_a_backward_pass(cudnn: StandIns) -> None:
    weights, (h, c), (x,) = weights_of(), state_of(), windows_of(1)
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode:
            y, after = CudnnLSTM(weights, torch.bfloat16, drop_of(weights))(x, (h, c))
        assert not y.requires_grad and not after[0].requires_grad and after[1].dtype == torch.float32
    frozen = LSTMWeights(*(w.detach() for w in weights))
    assert not CudnnLSTM(frozen, torch.float32)(x.detach(), (h.detach(), c.detach()))[0].requires_grad
    assert CudnnLSTM(frozen, torch.float32)(x, (h.detach(), c.detach()))[0].requires_grad
    assert cudnn.trained == [False, False, False, True]


def test_autocast_does_not_change_the_dtype(cudnn: StandIns) -> None:
    weights, state, windows = weights_of(), state_of(), windows_of(1)
    with torch.autocast("cpu", torch.bfloat16):
        y, _ = CudnnLSTM(weights, torch.float32)(windows[0], state)
    assert y.dtype == torch.float32  # and the stand-in has looked whether autocast is off


def test_nothing_is_kept_alive_by_a_finished_step(cudnn: StandIns) -> None:
    import gc
    import weakref

    gc.collect()
    gc.disable()  # a cycle would have to wait for it
    try:
        layer = CudnnLSTM(weights_of(), torch.float32)
        y, _ = layer(windows_of(1)[0], state_of())
        buffer = weakref.ref(layer._flat)
        y.sum().backward()
        del layer, y
        assert buffer() is None
    finally:
        gc.enable()


def test_is_not_usable_on_a_cpu() -> None:
    assert not usable(weights_of(), torch.float32)


# Standard kernels; persistent ones in float16; persistent ones for small sizes.
SIZES = [(400, 264), (64, 1152), (256, 256), (40, 24)]


@pytest.mark.cuda
def test_what_is_usable(gpu: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = weights_of(device=gpu)
    assert usable(weights, torch.float32) and usable(weights, torch.float16)
    assert not usable(weights, torch.float64)
    monkeypatch.setattr(torch.backends.cudnn, "enabled", False)
    assert not usable(weights, torch.float32)


@pytest.mark.cuda
@pytest.mark.parametrize("inputs, hidden", SIZES)
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 5e-5), (torch.float16, 1e-2), (torch.bfloat16, 5e-2)])
@pytest.mark.parametrize("n, dropped", [(1, False), (1, True), (3, True)])
def test_cudnn_equals_the_reference(
    gpu: torch.device,
    monkeypatch: pytest.MonkeyPatch,
    inputs: int,
    hidden: int,
    dtype: torch.dtype,
    tolerance: float,
    n: int,
    dropped: bool,
) -> None:
    if dtype == torch.float32:  # in bfloat16 it would turn tensor cores off
        monkeypatch.setattr(torch.backends.cudnn.rnn, "fp32_precision", "ieee")
    weights, state = weights_of(inputs, hidden, gpu), state_of(hidden, 8, gpu)
    if not usable(weights, dtype):
        pytest.skip(f"no {dtype} here")
    windows = windows_of(n, inputs, 12, 8, gpu)
    drop = drop_of(weights) if dropped else None
    outputs, objective = run(CudnnLSTM(weights, dtype, drop), windows, state)
    objective.backward()
    wanted, grads = expected(weights, windows, state, drop)
    assert [t.dtype for t in outputs] == [dtype] * n + [torch.float32] * 2
    assert_near(outputs, wanted, tolerance)
    assert_near([t.grad for t in (*weights, *state, *windows)], grads, tolerance)
    if drop is not None:
        assert weights.w_hh.grad is not None
        assert not weights.w_hh.grad[~drop.kept].any()


@pytest.mark.cuda
def test_the_buffer_is_laid_out_in_torchs_order(gpu: torch.device) -> None:
    layout = lstm_cudnn._layout(400, 1152, torch.bfloat16, torch.device("cuda", torch.cuda.current_device()))
    flat = torch.arange(layout.size, device=gpu)
    assert [view.numel() // 4608 for view in layout.views(flat)] == [400, 1152, 1, 1]
    assert all(one[-1:].flatten()[-1] < other.flatten()[0] for one, other in pairwise(layout.views(flat)))


@pytest.mark.cuda
def test_cudnn_runs_a_retained_graph_twice_and_frozen_weights(gpu: torch.device) -> None:
    weights, state, windows = weights_of(64, 264, gpu), state_of(264, 8, gpu), windows_of(2, 64, 12, 8, gpu)
    drop = drop_of(weights)
    layer = CudnnLSTM(weights, torch.float32, drop)
    _, objective = run(layer, windows, state)
    once = torch.autograd.grad(objective, [*weights, *windows], retain_graph=True)
    again = torch.autograd.grad(objective, [*weights, *windows])
    for one, other in zip(once, again):
        torch.testing.assert_close(one, other)
    frozen = LSTMWeights(*(w.detach() for w in weights))
    _, objective = run(CudnnLSTM(frozen, torch.float32, drop), windows, state)
    for one, other in zip(torch.autograd.grad(objective, windows), once[4:]):
        torch.testing.assert_close(one, other)


@pytest.mark.cuda
def test_a_recorded_graph_gives_what_eager_execution_gives(gpu: torch.device) -> None:
    weights, state = weights_of(64, 264, gpu), state_of(264, 8, gpu)
    windows = windows_of(2, 64, 12, 8, gpu)
    drop = drop_of(weights)
    leaves = [*weights, *state, *windows]

    def work() -> list[Tensor]:
        outputs, objective = run(CudnnLSTM(weights, torch.float16, drop), windows, state)
        grads = torch.autograd.grad(objective, leaves)
        return [t.detach() for t in (*outputs, *grads)]

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=side):
        recorded = work()
    with torch.no_grad():
        for leaf in leaves:
            leaf.mul_(0.5)
    graph.replay()
    for found, wanted in zip(recorded, work()):
        torch.testing.assert_close(found, wanted)
