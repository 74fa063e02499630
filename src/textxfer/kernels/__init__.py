"""Fast paths behind plain functions, each with its reference version beside it."""

from textxfer.kernels.lstm import LayerState, lstm_layer, lstm_reference, share_buffer
from textxfer.kernels.masks import check_dropout, keep_mask

__all__ = ["LayerState", "check_dropout", "keep_mask", "lstm_layer", "lstm_reference", "share_buffer"]
