"""An LSTM layer with weights in float16 and numbers in float32, for inference on a CPU without bfloat16.

Shapes: T time, B batch, I input features, H hidden features.

A step with few rows reads all weights and does little with them, so it takes as long as that reading. In float16 it is
half as much, rounded to eleven bits, three more than bfloat16 has; each is turned into float32 as it is read, an
instruction that x86 processors have had since AVX2. The steps run in torch's own loop, where the equations between two
products cost half of what they cost from Python. With many rows the layer is as fast as in float32.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from textxfer.kernels.lstm import LayerState, LSTMWeights, lstm_reference
from textxfer.kernels.lstm_steps import ROWS

_PROBE = 8


def fp16_is_usable(device: torch.device) -> bool:
    """Whether this device can run `Fp16LSTM`.

    Args:
        device: The device of weights and activations.
    """
    return device.type == "cpu" and _runs()


@cache
def _runs() -> bool:
    """Try it: the functions are torch's own, but what does the work (FBGEMM) is not on all processors."""
    matrix = torch.arange(-2 * _PROBE * _PROBE, 2 * _PROBE * _PROBE).view(4 * _PROBE, _PROBE) / 256  # exact in float16
    weights = LSTMWeights(matrix, matrix.flip(0), *torch.ones(2, 4 * _PROBE))
    x, (h, c) = torch.ones(2, 1, _PROBE) / 8, torch.ones(2, 1, _PROBE) / 8
    try:
        with torch.no_grad():
            found, _ = Fp16LSTM(weights)(x, (h, c))
            return torch.allclose(found, lstm_reference(x, (h, c), *weights)[0], rtol=0, atol=1e-5)
    except (RuntimeError, AttributeError):
        return False


class Fp16LSTM:
    """A layer with weights in float16; see `PreparedLSTM`. Without gradient.

    Args:
        weights: The parameters.
    """

    def __init__(self, weights: LSTMWeights) -> None:
        w_ih, w_hh, b_ih, b_hh = (weight.detach() for weight in weights)
        self._cell = torch.ops.quantized.make_quantized_cell_params_fp16(_packed(w_ih, b_ih), _packed(w_hh, b_hh))
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
        h, c = (part.float().unsqueeze(0) for part in state)
        y = torch.empty(*x.shape[:2], h.shape[2], dtype=x.dtype)
        steps = max(1, ROWS // x.shape[1])
        for block, out in zip(x.split(steps), y.split(steps)):
            found, h, c = self._run(block.float(), h, c)
            out.copy_(found)
        return y, (h[0].to(self._state_dtype), c[0].to(self._state_dtype))

    def _run(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run over steps, (T, B, I), from a state, each (1, B, H): hidden states, (T, B, H), and the state."""
        return torch.quantized_lstm(
            *(x, (h, c), [self._cell]),
            has_biases=True,
            num_layers=1,
            dropout=0.0,
            train=False,
            bidirectional=False,
            batch_first=False,
            dtype=torch.float16,
            use_dynamic=True,
        )


def _packed(matrix: Tensor, bias: Tensor) -> torch.ScriptObject:
    """Return a matrix, (M, N), in float16, in the order in which it is read, and its bias, (M,)."""
    return torch.ops.quantized.linear_prepack_fp16(matrix.float().contiguous(), bias.float())
