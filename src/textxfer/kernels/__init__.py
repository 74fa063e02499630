"""Fast paths behind plain functions, each with its reference version beside it."""

from textxfer.kernels.cross_entropy import IGNORE, cross_entropy, cross_entropy_reference
from textxfer.kernels.lstm import LayerState, lstm_layer, lstm_reference, share_buffer
from textxfer.kernels.masks import check_dropout, keep_mask

__all__ = [
    "IGNORE",
    "LayerState",
    "check_dropout",
    "cross_entropy",
    "cross_entropy_reference",
    "keep_mask",
    "lstm_layer",
    "lstm_reference",
    "share_buffer",
]
