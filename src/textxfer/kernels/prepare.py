"""Which kernel runs an LSTM layer: chosen by device and dtype, once per draw of the dropped weights."""

from __future__ import annotations

import torch

from textxfer.kernels import lstm_cpu, lstm_cudnn, lstm_fp16, lstm_int8
from textxfer.kernels.lstm import LSTMWeights, PlainLSTM, PreparedLSTM, WeightDrop


def prepare_lstm(
    weights: LSTMWeights,
    dtype: torch.dtype | None = None,
    drop: WeightDrop | None = None,
    spans: tuple[float, float] = (1.0, 1.0),
) -> PreparedLSTM:
    """Prepare a layer with the fastest kernel that there is for it.

    Args:
        weights: The parameters.
        dtype: The dtype to compute in; None for the parameters' own, `torch.int8` for 8-bit products, whose output is
            codes (`lstm_int8`). `torch.float16` on a CPU, without gradient, is weights in float16 (`lstm_fp16`).
        drop: Which recurrent weights are dropped; None for none.
        spans: Ranges of hidden states in 8 bits, see `lstm_int8`.

    Returns:
        The layer, ready to run over windows.

    Raises:
        ValueError: 8 bits are asked for where they cannot be had: in training or on a device without such products.
    """
    if dtype == torch.int8:
        if drop is not None or not lstm_int8.int8_is_usable(weights.w_hh.device):
            raise ValueError("int8 is for inference on a CPU with oneDNN: use bfloat16 or float32")
        return lstm_int8.Int8LSTM(weights, spans)
    inference = drop is None and not torch.is_grad_enabled()
    if dtype == torch.float16 and inference and lstm_fp16.fp16_is_usable(weights.w_hh.device):
        return lstm_fp16.Fp16LSTM(weights)
    if lstm_cudnn.usable(weights, dtype):
        return lstm_cudnn.CudnnLSTM(weights, dtype, drop)
    if lstm_cpu.usable(weights, dtype):
        return lstm_cpu.PackedLSTM(weights, drop)
    return PlainLSTM(weights, dtype, drop)
