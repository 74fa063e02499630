"""Which kernel runs an LSTM layer: chosen by device and dtype, once per draw of the dropped weights."""

from __future__ import annotations

import torch

from textxfer.kernels import lstm_cpu, lstm_cudnn
from textxfer.kernels.lstm import LSTMWeights, PlainLSTM, PreparedLSTM, WeightDrop


def prepare_lstm(
    weights: LSTMWeights, dtype: torch.dtype | None = None, drop: WeightDrop | None = None
) -> PreparedLSTM:
    """Prepare a layer with the fastest kernel that there is for it.

    Args:
        weights: The parameters.
        dtype: The dtype to compute in; None for the parameters' own.
        drop: Which recurrent weights are dropped; None for none.
    """
    if lstm_cudnn.usable(weights, dtype):
        return lstm_cudnn.CudnnLSTM(weights, dtype, drop)
    if lstm_cpu.usable(weights, dtype):
        return lstm_cpu.PackedLSTM(weights, drop)
    return PlainLSTM(weights, dtype, drop)
