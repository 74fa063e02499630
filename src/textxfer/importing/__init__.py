"""Weights of fastai 2, fastai 1 and the scripts of Howard & Ruder 2018, made model folders."""

from textxfer.importing.convert import Imported, import_weights
from textxfer.importing.layouts import Net, recognize
from textxfer.importing.token_match import TokenMatch, match_tokens
from textxfer.importing.vocab_files import read_tokens
from textxfer.importing.weight_files import read_weights

__all__ = [
    "Imported",
    "Net",
    "TokenMatch",
    "import_weights",
    "match_tokens",
    "read_tokens",
    "read_weights",
    "recognize",
]
