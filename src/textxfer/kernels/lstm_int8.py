"""An LSTM layer in 8 bits for inference on a CPU: half the bytes of bfloat16.

Shapes: T time, B batch, I input features, H hidden features.

Weights have one scale per row. Hidden states have one scale per layer, which is known before the layer runs: they lie
between -1 and 1 in any case, and mostly within less, which `textxfer.models.precision` measures on a sample. They go
from layer to layer as `codes`, bytes h * levels / range + levels + 1, where the processor says how many levels there
may be (`code_levels`). Gates and cell are float32.

Source: the scheme of "static quantization" (weights and ranges of activations beforehand).
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from textxfer.kernels.capability import cpu_multiplies_bf16
from textxfer.kernels.lstm import LayerState, LSTMWeights
from textxfer.kernels.lstm_steps import run_window

CODES = torch.uint8
"""The dtype of hidden states that are bytes."""
_PROBE = 64
"""Rows and columns of the product that shows how the processor adds."""
_WEIGHT_LEVELS = 127


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
    levels = code_levels()
    return codes.float().sub_(levels + 1).mul_(span / levels).to(dtype)


@cache
def code_levels() -> int:
    """Return how many levels the codes have on either side of zero: 127, or 63 where larger ones give wrong sums.

    x86 processors without VNNI add two products of bytes in 16 bits, which hold 2 * 127 * 127, not 2 * 255 * 127: what
    is larger is cut off without a word. One product shows which kind this is.
    """
    weights = _Weights(torch.ones(_PROBE, _PROBE))
    found = _linear(torch.full((_PROBE, _PROBE), 255, dtype=CODES), 1.0, 0, weights)
    exact = 255.0 * _PROBE
    return 127 if bool((found.float() / exact - 1).abs().max() < 0.01) else 63


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
            x: Input, (T, B, I): codes, or numbers, which are rounded to as many levels between
                minus and plus the largest.
            state: State before the window, each (B, H).

        Returns:
            The codes of the hidden states of all steps, (T, B, H), and the state after the last step.

        Raises:
            RuntimeError: A gradient is wanted.
        """
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (x, *state)):
            raise RuntimeError("int8 is for inference: compute in bfloat16 or float32 where a gradient is needed")
        codes, scale = (x, self._spans[0] / code_levels()) if x.dtype == CODES else _to_codes(x.float())
        return run_window(codes, state, _Products(self._inputs, self._recurrent, self._bias, scale, self._spans[1]))


class _Weights:
    """A matrix (M, N) as signed bytes, packed, with a scale per row."""

    def __init__(self, matrix: Tensor) -> None:
        self.rows = len(matrix)
        self.scales = matrix.abs().amax(dim=1).clamp(min=1e-12) / _WEIGHT_LEVELS
        self.zeros = torch.zeros(self.rows, dtype=torch.int32)
        self.packed = torch.ops.onednn.qlinear_prepack((matrix / self.scales[:, None]).round().to(torch.int8), None)


class _Products:
    """The products of a layer for inputs of one scale; see `Products`."""

    dtype = CODES

    def __init__(self, inputs: _Weights, recurrent: _Weights, bias: Tensor, scale: float, span: float) -> None:
        self.hidden = recurrent.rows // 4
        self._inputs, self._recurrent, self._bias, self._scale = inputs, recurrent, bias, scale
        self._span, self._levels = span, code_levels()
        self._sums = _sums()
        self._half_up = torch.tensor(self._levels + 1.5)

    def project(self, x: Tensor) -> Tensor:
        """Multiply codes of the input, (N, I), with the input weights."""
        return _linear(x, self._scale, self._levels + 1, self._inputs)

    def recur(self, h: Tensor, projected: Tensor) -> Tensor:
        """Multiply codes of hidden states with the recurrent weights; add projected input and biases."""
        w = self._recurrent
        # "sum" adds in the place of `projected`, which nobody needs afterwards.
        return torch.ops.onednn.qlinear_pointwise.binary(
            *(h, self._span / self._levels, self._levels + 1, w.packed, w.scales, w.zeros, projected, self._bias),
            *(1.0, 0, self._sums, 1.0, 0, "sum", 1.0, "none", [], ""),
        )

    def write(self, h: Tensor, out: Tensor) -> None:
        """Write codes: what becomes a byte loses its fraction, so a half on top of it rounds."""
        codes = torch.add(self._half_up, h, alpha=self._levels / self._span)
        out.copy_(codes if self._span == 1 else codes.clamp_(1, 2 * self._levels + 1))


def _to_codes(x: Tensor) -> tuple[Tensor, float]:
    """Return numbers as bytes, and the scale that gives the numbers back."""
    levels, largest = code_levels(), float(x.abs().amax().clamp(min=1e-12))
    return x.mul(levels / largest).add_(levels + 1.5).to(CODES), largest / levels


def _linear(codes: Tensor, scale: float, zero: int, weights: _Weights) -> Tensor:
    """Multiply codes, (N, I), that stand for (code - zero) * scale, with weights, (M, I): (N, M)."""
    w = weights
    return torch.ops.onednn.qlinear_pointwise(
        codes, scale, zero, w.packed, w.scales, w.zeros, None, 1.0, 0, _sums(), "none", [], ""
    )


def _sums() -> torch.dtype:
    """Return the dtype of products: bfloat16 has half the bytes, but without instructions a hundred times the time."""
    return torch.bfloat16 if cpu_multiplies_bf16() else torch.float32
