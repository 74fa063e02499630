"""One LSTM layer by direct calls of cuDNN, for CUDA devices.

Shapes: T time, B batch, I input features, H hidden features.

`torch.lstm` gives weights to cuDNN in the buffer in which they lie, or makes such a buffer in every call. Here each
draw of a mask has one: the parameters are cast and dropped on the way into it, all windows of the draw use it, and
their gradients of the weights are summed in the parameters' dtype and masked once.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._C._autograd import _get_current_graph_task_keep_graph
from torch.autograd.function import once_differentiable

from textxfer.kernels.deferred import DeferredGrads, Finish, token_of
from textxfer.kernels.lstm import LayerState, LSTMWeights, WeightDrop

_LSTM = 2  # cuDNN's number of the mode
_BF16_SINCE = 91300  # the first cuDNN that has recurrent layers in bfloat16


def usable(weights: LSTMWeights, dtype: torch.dtype | None) -> bool:
    """Whether `CudnnLSTM` can run these weights in this dtype on this machine."""
    dtype, cudnn = dtype or weights.w_hh.dtype, torch.backends.cudnn
    if not (all(w.is_cuda for w in weights) and torch.version.cuda and cudnn.is_available() and cudnn.enabled):
        return False
    return _has_bf16(weights.w_hh.device) if dtype == torch.bfloat16 else dtype in (torch.float16, torch.float32)


@cache
def _has_bf16(device: torch.device) -> bool:
    version = torch.backends.cudnn.version() or 0
    return version >= _BF16_SINCE and torch.cuda.get_device_capability(device) >= (8, 0)


class CudnnLSTM:
    """A layer that is ready to run over windows, see `PreparedLSTM`; only where `usable` says so.

    The buffer of weights is new for each draw and comes from torch's caching allocator, which costs nothing. One that
    lived for ever could be written by the next draw while a forward pass of the last one still awaits its backward.

    Args:
        weights: The parameters.
        dtype: The dtype to compute in; None for the parameters' own.
        drop: Which recurrent weights are dropped; None for none.
    """

    def __init__(self, weights: LSTMWeights, dtype: torch.dtype | None = None, drop: WeightDrop | None = None) -> None:
        w_ih, w_hh, _, _ = weights
        dtype = dtype or w_hh.dtype
        self._layout = _layout(w_ih.shape[1], w_hh.shape[1], dtype, w_hh.device)
        self._state_dtype = w_hh.dtype
        with torch.no_grad():
            self._flat = w_hh.new_empty(self._layout.size, dtype=dtype)
            _fill(self._layout.views(self._flat), weights, drop)
        self._grads = DeferredGrads([w.requires_grad for w in weights])
        self._token = token_of(self._grads, weights, _finish(drop))

    def __call__(self, x: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """Run over a window; see `PreparedLSTM`."""
        h, c = state
        # Asked here: inside of an autograd function gradients are always off.
        if torch.is_grad_enabled() and any(t.requires_grad for t in (x, h, c, self._token)):
            y, h, c = _Window.apply(x, h, c, self._token, self._flat, self._layout, self._grads)
        else:
            y, h, c, _ = _forward(*_cast(x, h, c, self._flat.dtype), self._flat, self._layout, train=False)
        return y, (_as_state(h, self._state_dtype), _as_state(c, self._state_dtype))


class _Layout(NamedTuple):
    """Where cuDNN wants the weights of a layer in its buffer.

    Attributes:
        inputs: I.
        hidden: H.
        size: Elements of the buffer.
        offsets: Where each of the four weights begins.
    """

    inputs: int
    hidden: int
    size: int
    offsets: tuple[int, ...]

    def views(self, flat: Tensor) -> list[Tensor]:
        """Return the weights as views of a buffer: (4H, I), (4H, H), (4H,), (4H,)."""
        places = zip(self.offsets, _shapes(self.inputs, self.hidden))
        return [flat[start : start + math.prod(shape)].view(shape) for start, shape in places]


def _shapes(inputs: int, hidden: int) -> tuple[tuple[int, ...], ...]:
    return (4 * hidden, inputs), (4 * hidden, hidden), (4 * hidden,), (4 * hidden,)


@cache
def _layout(inputs: int, hidden: int, dtype: torch.dtype, device: torch.device) -> _Layout:
    """Ask cuDNN where the weights lie: torch moves weights into a buffer for it, and we look where they are then."""
    weights = [torch.zeros(shape, dtype=dtype, device=device) for shape in _shapes(inputs, hidden)]
    with torch.no_grad():
        buffer = torch._cudnn_rnn_flatten_weight(weights, 4, inputs, _LSTM, hidden, 0, 1, False, False)  # pyright: ignore[reportPrivateImportUsage]
    return _Layout(inputs, hidden, buffer.numel(), tuple(int(weight.storage_offset()) for weight in weights))


def _fill(places: list[Tensor], weights: LSTMWeights, drop: WeightDrop | None) -> None:
    """Write the weights to their places, cast and dropped on the way."""
    for index, (place, weight) in enumerate(zip(places, weights)):
        if drop is not None and index == 1:
            _drop(weight, drop, place)
        else:
            place.copy_(weight)


def _drop(values: Tensor, drop: WeightDrop, out: Tensor) -> None:
    """Write values x kept / (1 - p): one kernel that reads in one dtype and writes in another."""
    torch.addcmul(values.new_zeros(()), values, drop.kept, value=drop.scale, out=out)


def _finish(drop: WeightDrop | None) -> Finish:
    """Return what turns sums of the gradients of weights as used into those of the parameters."""

    def finish(sums: list[Tensor | None]) -> list[Tensor | None]:
        if drop is not None and sums[1] is not None:
            _drop(sums[1], drop, sums[1])
        return sums

    return finish


def _cast(x: Tensor, h: Tensor, c: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Return input and state as cuDNN wants them: (T, B, I), (1, B, H), (1, B, H), contiguous, in one dtype."""
    return x.to(dtype).contiguous(), h.to(dtype).unsqueeze(0).contiguous(), c.to(dtype).unsqueeze(0).contiguous()


def _as_state(state: Tensor, dtype: torch.dtype) -> Tensor:
    return state.squeeze(0).to(dtype)


def _forward(x: Tensor, h: Tensor, c: Tensor, flat: Tensor, layout: _Layout, train: bool) -> tuple[Tensor, ...]:
    """Return y, (T, B, H), the state after the window, (1, B, H) each, and what backward needs to know."""
    # Autocast would run the layer in float16, whatever dtype it is asked for.
    with torch.autocast(x.device.type, enabled=False):
        y, h, c, reserve, _ = torch._cudnn_rnn(  # pyright: ignore[reportPrivateImportUsage]
            x, layout.views(flat), 4, flat, h, c, _LSTM, layout.hidden, 0, 1, False, 0.0, train, False, [], None
        )
    return y, h, c, reserve


class _Window(torch.autograd.Function):
    """One window. cuDNN must be told to train wherever there will be a backward pass, in evaluation mode too."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, h: Tensor, c: Tensor, token: Tensor, flat: Tensor, layout: _Layout, grads: DeferredGrads
    ) -> tuple[Tensor, Tensor, Tensor]:
        x, h, c = _cast(x, h, c, flat.dtype)
        y, h_after, c_after, reserve = _forward(x, h, c, flat, layout, train=True)
        ctx.save_for_backward(x, h, c, y, reserve, flat, token)
        ctx.layout, ctx.grads = layout, grads
        ctx.set_materialize_grads(False)
        return y, h_after, c_after

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]  (the decorator hides the parameters' names)
        ctx: Any, *grad_outputs: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        if all(grad is None for grad in grad_outputs):
            return (None,) * 7
        x, h, c, y, reserve, flat, token = ctx.saved_tensors
        layout: _Layout = ctx.layout
        needed = ctx.needs_input_grad[:4]
        # cuDNN overwrites it, and a graph that is retained may be run again.
        if _get_current_graph_task_keep_graph():
            reserve = reserve.clone()
        weights, sizes = layout.views(flat), (_LSTM, layout.hidden, 0, 1, False, 0.0, True, False, [], None)
        dx, dh, dc, dw = torch.ops.aten._cudnn_rnn_backward(
            x, weights, 4, flat, h, c, y, *grad_outputs, *sizes, reserve, needed
        )
        if needed[3]:
            _collect(ctx.grads, dw, token.dtype)
        wanted = [grad if need else None for grad, need in zip((dx, dh, dc, torch.empty_like(token)), needed)]
        wanted[1:3] = [None if grad is None else grad.squeeze(0) for grad in wanted[1:3]]
        return *wanted, None, None, None


def _collect(grads: DeferredGrads, dw: list[Tensor], dtype: torch.dtype) -> None:
    """Add a window's gradients of the weights to the sums, which are in the parameters' dtype."""
    for index, (grad, needed) in enumerate(zip(dw, grads.needed)):
        if needed:
            first = grads.buffer(index) is None
            grads.add(index, grad.to(dtype) if first else grad)
