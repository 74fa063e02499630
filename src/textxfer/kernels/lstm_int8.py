"""An LSTM layer in 8 bits for inference on a CPU: half the bytes of bfloat16.

Shapes: T time, B batch, I input features, H hidden features.

Weights have one scale per row. Hidden states have one scale per layer, which is known before the layer runs: they lie
between -1 and 1 in any case, and mostly within less, which `textxfer.models.precision` measures on a sample. They go
from layer to layer as `codes`, bytes h * 127 / range + 128. Gates and cell are float32.

Source: the scheme of "static quantization" (weights and ranges of activations beforehand).
"""

from __future__ import annotations

import torch
from torch import Tensor

from textxfer.kernels.lstm import LayerState, LSTMWeights
from textxfer.kernels.lstm_steps import run_window

CODES = torch.uint8
"""The dtype of hidden states that are bytes."""
_LEVELS, _ZERO = 127, 128


def int8_is_usable(device: torch.device) -> bool:
    """Whether this device can run `Int8LSTM`.

    Args:
        device: The device of weights and activations.
    """
    ops = torch.ops.onednn
    return device.type == "cpu" and torch.backends.mkldnn.is_available() and hasattr(ops, "qlinear_pointwise")


def from_codes(codes: Tensor, dtype: torch.dtype, span: float = 1.0) -> Tensor:
    """Return the hidden states that codes stand for.

    Args:
        codes: Bytes, (T, B, H).
        dtype: Type of the result.
        span: Range of the layer's hidden states, > 0: the codes 1 and 255 stand for -span and span.
    """
    return codes.float().sub_(_ZERO).mul_(span / _LEVELS).to(dtype)


class Int8LSTM:
    """A layer prepared for 8-bit products; see `PreparedLSTM`. Without gradient, and its output is codes.

    Args:
        weights: The parameters.
        spans: Ranges of the input's codes and of the layer's own: hidden states beyond +-span are cut, 0 < span <= 1.
    """

    def __init__(self, weights: LSTMWeights, spans: tuple[float, float] = (1.0, 1.0)) -> None:
        w_ih, w_hh, b_ih, b_hh = (weight.detach().float() for weight in weights)
        self._inputs, self._recurrent, self._bias = _Weights(w_ih), _Weights(w_hh), b_ih + b_hh
        self._spans = spans

    def __call__(self, x: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """Run over a window.

        Args:
            x: Input, (T, B, I): codes, or numbers, which are rounded to 255 levels between their largest and smallest.
            state: State before the window, each (B, H).

        Returns:
            The codes of the hidden states of all steps, (T, B, H), and the state after the last step.

        Raises:
            RuntimeError: A gradient is wanted.
        """
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (x, *state)):
            raise RuntimeError("int8 is for inference: compute in bfloat16 or float32 where a gradient is needed")
        codes, scale = (x, self._spans[0] / _LEVELS) if x.dtype == CODES else _to_codes(x.float())
        return run_window(codes, state, _Products(self._inputs, self._recurrent, self._bias, scale, self._spans[1]))


class _Weights:
    """A matrix (M, N) as signed bytes, packed, with a scale per row."""

    def __init__(self, matrix: Tensor) -> None:
        self.rows = len(matrix)
        self.scales = matrix.abs().amax(dim=1).clamp(min=1e-12) / _LEVELS
        self.zeros = torch.zeros(self.rows, dtype=torch.int32)
        self.packed = torch.ops.onednn.qlinear_prepack((matrix / self.scales[:, None]).round().to(torch.int8), None)


class _Products:
    """The products of a layer for inputs of one scale; see `Products`."""

    dtype = CODES

    def __init__(self, inputs: _Weights, recurrent: _Weights, bias: Tensor, scale: float, span: float) -> None:
        self.hidden = recurrent.rows // 4
        self._inputs, self._recurrent, self._bias, self._scale = inputs, recurrent, bias, scale
        self._span = span
        self._half_up = torch.tensor(_ZERO + 0.5)

    def project(self, x: Tensor) -> Tensor:
        """Multiply codes of the input, (N, I), with the input weights."""
        w = self._inputs
        return torch.ops.onednn.qlinear_pointwise(
            x, self._scale, _ZERO, w.packed, w.scales, w.zeros, None, 1.0, 0, torch.bfloat16, "none", [], ""
        )

    def recur(self, h: Tensor, projected: Tensor) -> Tensor:
        """Multiply codes of hidden states with the recurrent weights; add projected input and biases."""
        w = self._recurrent
        # "sum" adds in the place of `projected`, which nobody needs afterwards.
        return torch.ops.onednn.qlinear_pointwise.binary(
            *(h, self._span / _LEVELS, _ZERO, w.packed, w.scales, w.zeros, projected, self._bias),
            *(1.0, 0, torch.bfloat16, 1.0, 0, "sum", 1.0, "none", [], ""),
        )

    def write(self, h: Tensor, out: Tensor) -> None:
        """Write codes: what becomes a byte loses its fraction, so a half on top of it rounds."""
        codes = torch.add(self._half_up, h, alpha=_LEVELS / self._span)
        out.copy_(codes if self._span == 1 else codes.clamp_(1, 255))


def _to_codes(x: Tensor) -> tuple[Tensor, float]:
    """Return numbers as bytes, and the scale that gives the numbers back."""
    largest = float(x.abs().amax().clamp(min=1e-12))
    return x.mul(_LEVELS / largest).add_(_ZERO + 0.5).to(CODES), largest / _LEVELS
