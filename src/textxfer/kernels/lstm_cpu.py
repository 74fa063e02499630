"""An LSTM layer on CPUs that multiply in bfloat16: half the bytes and twice the products of float32, or more.

Shapes: T time, B batch, I input features, H hidden features.

torch's own bfloat16 LSTM reads its weights in the layout they come in at every step, computes weight gradients in
float32, and rounds the cell to 16 bits between windows. Here the recurrent matrix is packed once per draw in the layout
that oneDNN wants; all products that do not depend on the recurrence (input projection, gradients of input and weights)
are one large product per window; products have bfloat16 operands and sum in float32; gates and cell are float32.

`PlainLSTM` is the reference.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from textxfer.kernels.capability import cpu_multiplies_bf16
from textxfer.kernels.deferred import DeferredGrads, token_of
from textxfer.kernels.layout import transposed
from textxfer.kernels.lstm import LayerState, LSTMWeights, WeightDrop
from textxfer.kernels.lstm_steps import Factors, run_window

_BF16 = torch.bfloat16
_ROWS = 32  # for which oneDNN lays packed weights out; they work with any number


def usable(weights: LSTMWeights, dtype: torch.dtype | None) -> bool:
    """Whether `PackedLSTM` can run these weights in this dtype on this machine."""
    fits = dtype == _BF16 and all(w.device.type == "cpu" and w.dtype == torch.float32 for w in weights)
    return fits and torch.backends.mkldnn.enabled and cpu_multiplies_bf16()  # pyright: ignore[reportAttributeAccessIssue]


class PackedLSTM:
    """A layer prepared for bfloat16 products on a CPU; see `PreparedLSTM`.

    Args:
        weights: The parameters, float32.
        drop: Which recurrent weights are dropped; None for none.
    """

    def __init__(self, weights: LSTMWeights, drop: WeightDrop | None = None) -> None:
        w_ih, w_hh, b_ih, b_hh = (weight.detach() for weight in weights)
        dropped = w_hh.to(_BF16) if drop is None else drop.apply(w_hh, _BF16)
        self.packed = _Packed(w_ih.to(_BF16), dropped, (b_ih + b_hh).to(_BF16))
        needed = [weight.requires_grad for weight in weights]
        self.grads = DeferredGrads(needed)
        self.token = token_of(self.grads, weights, _Finish(tuple(needed), drop)) if any(needed) else w_ih.new_empty(0)

    def __call__(self, x: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """Run over a window; see `PreparedLSTM`."""
        x = x.to(_BF16)
        inputs = (x, *state, self.token)
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs):
            y, h, c = _Window.apply(*inputs, self.packed, self.grads)
        else:
            y, (h, c) = run_window(x, state, self.packed)
        return y, (h, c)


class _Packed:
    """Weights in bfloat16, the recurrent ones in oneDNN's layout for each direction; see `Products`."""

    dtype = _BF16

    def __init__(self, w_ih: Tensor, w_hh: Tensor, bias: Tensor) -> None:
        self.w_ih, self.bias = w_ih, bias
        self.hidden = w_hh.shape[1]
        self._forward = _pack(w_hh)
        self._w_hh: Tensor | None = w_hh
        self._backward: Tensor | None = None

    def project(self, x: Tensor) -> Tensor:
        """Multiply input, (N, I), with the input weights."""
        return x @ self.w_ih.t()

    def recur(self, h: Tensor, projected: Tensor) -> Tensor:
        """Multiply hidden states with the recurrent weights; add projected input and biases."""
        return _product(h, self._forward, projected, self.bias)

    def back(self, d_gates: Tensor, add: Tensor | None) -> Tensor:
        """Multiply gradients of the gates, (B, 4H), with the transposed recurrent weights; add gradients of h."""
        if self._w_hh is not None:  # packed when the first gradient comes by, after which the plain ones go
            self._backward, self._w_hh = _pack(transposed(self._w_hh)), None
        assert self._backward is not None
        return _product(d_gates, self._backward, add, None)

    def write(self, h: Tensor, out: Tensor) -> None:
        """Write hidden states."""
        out.copy_(h)


class _Window(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, h: Tensor, c: Tensor, token: Tensor, packed: _Packed, grads: DeferredGrads
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.packed, ctx.grads = packed, grads
        ctx.factors = Factors.empty(x.shape[0], x.shape[1], packed.hidden)
        y, (h_last, c_last) = run_window(x, (h, c), packed, ctx.factors)
        ctx.save_for_backward(x, h, y)
        ctx.set_materialize_grads(False)
        return y, h_last, c_last

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]  (the decorator hides the parameters' names)
        ctx: Any, *grad_outputs: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        x, h, y = ctx.saved_tensors
        packed: _Packed = ctx.packed
        d_gates, dh, dc = _through_time(ctx.factors, packed, *grad_outputs)
        flat = d_gates.flatten(0, 1)
        _add_weight_grads(ctx.grads, flat, x, h, y)
        dx = (flat @ packed.w_ih).view_as(x) if ctx.needs_input_grad[0] else None
        return dx, dh, dc, x.new_empty(0, dtype=torch.float32), None, None


def _through_time(
    saved: Factors, packed: _Packed, dy: Tensor | None, dh_last: Tensor | None, dc_last: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Go back through the window: gradients before the gates' non-linearities, (T, B, 4H), and of the state."""
    steps, batch, hidden = saved.cell.shape
    d_gates = torch.empty(steps, batch, 4 * hidden, dtype=_BF16)
    outputs = torch.zeros(steps, batch, hidden, dtype=_BF16) if dy is None else dy.to(_BF16)
    dc = torch.zeros(batch, hidden) if dc_last is None else dc_last.clone()
    dh = outputs[-1].to(torch.float32, copy=True) if dh_last is None else dh_last + outputs[-1]
    at_gates = torch.empty(batch, 4, hidden)
    at_cell, at_output, dc_of_each = at_gates[:, :3], at_gates[:, 3], dc.unsqueeze(1)
    before = [None, *outputs.unbind(0)[:-1]]
    for factors, out, dy_before in reversed(list(zip(saved.steps(), d_gates.unbind(0), before))):
        dc.addcmul_(dh, factors.cell)
        torch.mul(factors.gates[:, :3], dc_of_each, out=at_cell)
        torch.mul(factors.gates[:, 3], dh, out=at_output)
        out.copy_(at_gates.view(batch, -1))
        dc.mul_(factors.forget)
        dh.copy_(packed.back(out, dy_before))
    return d_gates, dh, dc


def _add_weight_grads(grads: DeferredGrads, d_gates: Tensor, x: Tensor, h: Tensor, y: Tensor) -> None:
    """Add the window's weight gradients; `d_gates` is (T B, 4H)."""
    w_ih, w_hh, b_ih, b_hh = grads.needed
    if not any(grads.needed):
        return
    by_gates = transposed(d_gates)
    if w_ih:
        grads.add(0, (by_gates @ x.flatten(0, 1)).float())
    if w_hh:
        before = torch.cat([h.to(_BF16).unsqueeze(0), y[:-1]]).flatten(0, 1)
        grads.add(1, (by_gates @ before).float())
    if b_ih or b_hh:
        # A product with ones: ten times as fast as torch's sum, and summed in float32 as well.
        grads.add(2, (d_gates.new_ones(1, len(d_gates)) @ d_gates).float().squeeze(0))


class _Finish(NamedTuple):
    """From summed gradients to those of the four parameters."""

    needed: tuple[bool, ...]
    drop: WeightDrop | None

    def __call__(self, sums: list[Tensor | None]) -> list[Tensor | None]:
        w_ih, w_hh, bias, _ = sums
        if w_hh is not None and self.drop is not None:
            w_hh = self.drop.apply(w_hh, w_hh.dtype)
        both = (None if bias is None or not needed else bias.clone() for needed in self.needed[2:])
        return [w_ih, w_hh, *both]


def _pack(weight: Tensor) -> Tensor:
    return torch.ops.mkldnn._reorder_linear_weight(weight, _ROWS)


def _product(x: Tensor, packed: Tensor, add: Tensor | None, bias: Tensor | None) -> Tensor:
    """Return x times the transposed packed matrix, plus `add` and bias, summed in float32 and rounded once."""
    if add is None:
        return torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
    return torch.ops.mkldnn._linear_pointwise.binary(x, add, packed, bias, "add")
