"""An LSTM layer with weights in float16 and numbers in float32, for inference on a CPU without bfloat16.

Shapes: T time, B batch, I input features, H hidden features.

A step with few rows reads all weights and does little with them, so it takes as long as that reading. In float16 it is
half as much, rounded to eleven bits, three more than bfloat16 has; each is turned into float32 as it is read, an
instruction that x86 processors have had since AVX2. With many rows the layer is as fast as in float32.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from textxfer.kernels.lstm import LayerState, LSTMWeights
from textxfer.kernels.lstm_steps import run_window

_PROBE = 8


def fp16_is_usable(device: torch.device) -> bool:
    """Whether this device can run `Fp16LSTM`.

    Args:
        device: The device of weights and activations.
    """
    return device.type == "cpu" and _multiplies()


@cache
def _multiplies() -> bool:
    """Try it: the functions are torch's own, but what does the work (FBGEMM) is not on all processors."""
    try:
        return bool(torch.equal(_linear(torch.ones(1, _PROBE), _packed(torch.eye(_PROBE))), torch.ones(1, _PROBE)))
    except (RuntimeError, AttributeError):
        return False


class Fp16LSTM:
    """A layer with weights in float16; see `PreparedLSTM`. Without gradient.

    Args:
        weights: The parameters.
    """

    def __init__(self, weights: LSTMWeights) -> None:
        w_ih, w_hh, b_ih, b_hh = (weight.detach() for weight in weights)
        self._products = _Products(w_ih.float(), w_hh.float(), (b_ih + b_hh).float())
        self._state_dtype = w_hh.dtype

    def __call__(self, x: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """Run over a window.

        Args:
            x: Input, (T, B, I), any float dtype.
            state: State before the window, each (B, H).

        Returns:
            The hidden states of all steps in the dtype of `x`, (T, B, H), and the state after the last step in the
            parameters' dtype.

        Raises:
            RuntimeError: A gradient is wanted.
        """
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (x, *state)):
            raise RuntimeError("weights in float16 are for inference: compute in float32 where a gradient is needed")
        h, c = state
        y, (h, c) = run_window(x.float(), (h.float(), c.float()), self._products)
        return y.to(x.dtype), (h.to(self._state_dtype), c.to(self._state_dtype))


class _Products:
    """The products of a layer; see `Products`."""

    dtype = torch.float32

    def __init__(self, w_ih: Tensor, w_hh: Tensor, bias: Tensor) -> None:
        self.hidden = w_hh.shape[1]
        self._inputs, self._recurrent = _packed(w_ih, bias), _packed(w_hh)

    def project(self, x: Tensor) -> Tensor:
        """Multiply input, (N, I), with the input weights; the biases are added here, once."""
        return _linear(x, self._inputs)

    def recur(self, h: Tensor, projected: Tensor) -> Tensor:
        """Multiply hidden states, (B, H), with the recurrent weights; add projected input and biases."""
        return _linear(h, self._recurrent).add_(projected)

    def write(self, h: Tensor, out: Tensor) -> None:
        """Write hidden states as they are."""
        out.copy_(h)


def _packed(matrix: Tensor, bias: Tensor | None = None) -> torch.ScriptObject:
    """Return a matrix, (M, N), in float16, in the order in which it is read."""
    return torch.ops.quantized.linear_prepack_fp16(matrix.contiguous(), bias)


def _linear(x: Tensor, weights: torch.ScriptObject) -> Tensor:
    """Multiply x, (K, N) in float32, with weights, (M, N), and add their bias: (K, M)."""
    return torch.ops.quantized.linear_dynamic_fp16(x, weights)
