"""Fast paths behind plain functions, each with its reference version beside it."""

from textxfer.kernels.capability import cpu_multiplies_bf16, multiplies_bf16
from textxfer.kernels.cross_entropy import IGNORE, cross_entropy, cross_entropy_reference
from textxfer.kernels.deferred import DeferredGrads, SharedWeight, token_of
from textxfer.kernels.embedding import lookup, lookup_reference
from textxfer.kernels.linear_ce import (
    TokenLosses,
    linear_cross_entropy,
    linear_cross_entropy_reference,
    token_losses,
)
from textxfer.kernels.lstm import (
    LayerState,
    LSTMWeights,
    PlainLSTM,
    PreparedLSTM,
    WeightDrop,
    lstm_layer,
    lstm_reference,
)
from textxfer.kernels.lstm_fp16 import Fp16LSTM, fp16_is_usable
from textxfer.kernels.lstm_int8 import CODES, Int8LSTM, code_levels, from_codes, int8_is_usable
from textxfer.kernels.masks import check_dropout, draw_kept, keep_mask
from textxfer.kernels.prepare import prepare_lstm

__all__ = [
    "CODES",
    "IGNORE",
    "DeferredGrads",
    "Fp16LSTM",
    "Int8LSTM",
    "LSTMWeights",
    "LayerState",
    "PlainLSTM",
    "PreparedLSTM",
    "SharedWeight",
    "TokenLosses",
    "WeightDrop",
    "check_dropout",
    "code_levels",
    "cpu_multiplies_bf16",
    "cross_entropy",
    "cross_entropy_reference",
    "draw_kept",
    "fp16_is_usable",
    "from_codes",
    "int8_is_usable",
    "keep_mask",
    "linear_cross_entropy",
    "linear_cross_entropy_reference",
    "lookup",
    "lookup_reference",
    "lstm_layer",
    "lstm_reference",
    "multiplies_bf16",
    "prepare_lstm",
    "token_losses",
    "token_of",
]
