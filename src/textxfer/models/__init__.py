"""Models: the AWD-LSTM encoder, the language model, the text classifier, and transfer between them."""

from textxfer.models.awd_lstm import AWDLSTM, EncoderOutput, State
from textxfer.models.classifier import ClassifierConfig, ClassifierOutput, TextClassifier
from textxfer.models.config import AWDLSTMConfig
from textxfer.models.language_model import LanguageModel, LMOutput, token_loss
from textxfer.models.lstm import WeightDropLSTM
from textxfer.models.transfer import (
    TransferReport,
    load_by_name,
    load_encoder,
    remap_vocab,
    transfer_language_model,
)

__all__ = [
    "AWDLSTM",
    "AWDLSTMConfig",
    "ClassifierConfig",
    "ClassifierOutput",
    "EncoderOutput",
    "LMOutput",
    "LanguageModel",
    "State",
    "TextClassifier",
    "TransferReport",
    "WeightDropLSTM",
    "load_by_name",
    "load_encoder",
    "remap_vocab",
    "token_loss",
    "transfer_language_model",
]
