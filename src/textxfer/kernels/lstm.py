"""One LSTM layer: its weights, what it is to prepare it, the kernel that works everywhere, and the reference.

Shapes: T time, B batch, I input features, H hidden features. Gates are stacked in torch's order: input, forget, cell,
output.

A layer is *prepared* once per draw of its weight dropout (weights dropped, cast, laid out for the kernel) and then run
over as many windows as the batch has. `prepare_lstm` in `kernels/prepare.py` chooses the kernel.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

LayerState = tuple[Tensor, Tensor]
"""Hidden and cell state of one layer, each (B, H)."""


class LSTMWeights(NamedTuple):
    """The parameters of one LSTM layer.

    Attributes:
        w_ih: Input weights, (4H, I).
        w_hh: Recurrent weights, (4H, H).
        b_ih: First bias, (4H,).
        b_hh: Second bias, (4H,).
    """

    w_ih: Tensor
    w_hh: Tensor
    b_ih: Tensor
    b_hh: Tensor


class WeightDrop(NamedTuple):
    """One draw of DropConnect on the recurrent weights (Wan et al. 2013).

    Attributes:
        kept: Which weights are kept, (4H, H) bool.
        p: Probability with which a weight is dropped; kept ones are multiplied by 1 / (1 - p).
    """

    kept: Tensor
    p: float

    @property
    def scale(self) -> float:
        """What kept weights are multiplied by."""
        return 1 / (1 - self.p)

    def mask(self, dtype: torch.dtype) -> Tensor:
        """Return ones and zeros, (4H, H).

        Args:
            dtype: Type of the ones and zeros.
        """
        return self.kept.view(torch.uint8).to(dtype)  # torch converts bytes five times as fast as truth values

    def apply(self, w_hh: Tensor, dtype: torch.dtype) -> Tensor:
        """Drop and scale: recurrent weights to weights, or their gradient to theirs, in another dtype.

        Args:
            w_hh: Recurrent weights or their gradient, (4H, H).
            dtype: Type of the result.

        Returns:
            What is kept, times `scale`, and zeros, (4H, H).
        """
        return (w_hh * self.scale).to(dtype).mul_(self.mask(dtype))


class PreparedLSTM(Protocol):
    """A layer that is ready to run over windows, all with the same weights."""

    def __call__(self, x: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """Run over a window.

        Args:
            x: Input, (T, B, I), any float dtype.
            state: State before the window, each (B, H), in the parameters' dtype.

        Returns:
            The hidden states of all steps in the compute dtype, (T, B, H), and the state after the last step in the
            parameters' dtype: it can be carried on and saved whatever dtype the next window is computed in.
        """
        ...


class PlainLSTM:
    """torch's own kernel for the device and dtype, whatever these are.

    Args:
        weights: The parameters.
        dtype: The dtype to compute in; None for the parameters' own.
        drop: Which recurrent weights are dropped; None for none.
    """

    def __init__(self, weights: LSTMWeights, dtype: torch.dtype | None = None, drop: WeightDrop | None = None) -> None:
        w_ih, w_hh, b_ih, b_hh = weights
        if drop is not None:
            w_hh = w_hh * drop.mask(w_hh.dtype).mul_(drop.scale)
        cast = [w.to(dtype or w.dtype) for w in (w_ih, w_hh, b_ih, b_hh)]
        self.state_dtype = w_ih.dtype
        self.weights = LSTMWeights(*(_in_one_piece(cast) if w_ih.is_cuda else cast))

    def __call__(self, x: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """Run over a window.

        Args and Returns: as `PreparedLSTM.__call__`.
        """
        dtype = self.weights.w_hh.dtype
        y, (h, c) = lstm_layer(x.to(dtype), (state[0].to(dtype), state[1].to(dtype)), *self.weights)
        return y, (h.to(self.state_dtype), c.to(self.state_dtype))


def lstm_layer(
    x: Tensor, state: LayerState, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor
) -> tuple[Tensor, LayerState]:
    """Run one LSTM layer over a window, with the fastest kernel torch has for the device and dtype.

    Args:
        x: Input, (T, B, I).
        state: Hidden and cell state before the window, each (B, H), in the dtype of `x`.
        w_ih: Input weights, (4H, I).
        w_hh: Recurrent weights, (4H, H).
        b_ih: First bias, (4H,).
        b_hh: Second bias, (4H,).

    Returns:
        The hidden states of all steps, (T, B, H), and the state after the last one.
    """
    weights = [w_ih, w_hh, b_ih, b_hh]
    # cuDNN keeps what backward needs only if it is told to train, also where a model in eval mode is differentiated.
    train = torch.is_grad_enabled() and any(t.requires_grad for t in (x, *state, *weights))
    initial = [s.unsqueeze(0).contiguous() for s in state]
    y, h, c = torch.lstm(x, initial, weights, True, 1, 0.0, train, False, False)
    return y, (h.squeeze(0), c.squeeze(0))


def lstm_reference(
    x: Tensor, state: LayerState, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor
) -> tuple[Tensor, LayerState]:
    """Compute what `lstm_layer` computes, step by step from the equations: slow, for tests.

    Args and Returns: as `lstm_layer`. Source: Hochreiter & Schmidhuber 1997 with the forget gate of Gers et al. 2000.
    """
    h, c = state
    outputs = []
    for x_t in x:
        gates = x_t @ w_ih.T + b_ih + h @ w_hh.T + b_hh
        i, f, g, o = gates.chunk(4, dim=-1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        outputs.append(h)
    return torch.stack(outputs), (h, c)


def _in_one_piece(weights: list[Tensor]) -> tuple[Tensor, ...]:
    """Copy weights one behind the other into one buffer and return views of it; differentiable.

    cuDNN wants the weights of a layer like this; otherwise torch makes that piece anew, with a warning, in every call.
    """
    flat = torch.cat([w.reshape(-1) for w in weights])
    return tuple(part.view(w.shape) for part, w in zip(flat.split([w.numel() for w in weights]), weights))
