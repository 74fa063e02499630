"""One LSTM layer as a function of its weights.

Shapes: T time, B batch, I input features, H hidden features. Gates are stacked in torch's order: input, forget, cell,
output.

The weights are arguments, not attributes, so that a dropped recurrent matrix is simply passed in; which library runs
(oneDNN, cuDNN, torch's own) is torch's choice.
"""

from __future__ import annotations

import torch
from torch import Tensor

LayerState = tuple[Tensor, Tensor]
"""Hidden and cell state of one layer, each (B, H)."""


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


def share_buffer(*weights: Tensor) -> tuple[Tensor, ...]:
    """Copy weights one behind the other into one buffer and return views of it.

    cuDNN wants the weights of a layer in one piece, in the order of `lstm_layer`'s arguments; otherwise torch makes
    that piece anew, with a warning, in every call. Differentiable.
    """
    flat = torch.cat([w.reshape(-1) for w in weights])
    return tuple(part.view(w.shape) for part, w in zip(flat.split([w.numel() for w in weights]), weights))
