"""Text: rules, tokenizers, vocabularies, readers, token stores and the batches made of them."""

from textxfer.text.class_batches import ClassBatches
from textxfer.text.corpus import (
    Corpus,
    DataError,
    Document,
    check_classes,
    from_frame,
    from_texts,
    read_csv,
    read_folder,
    read_jsonl,
    read_text,
)
from textxfer.text.detokenize import detokenize
from textxfer.text.lm_batches import LMBatches
from textxfer.text.rules import BOS, FLD, MAJ, PAD, REP, SPECIALS, UNK, UP, WREP, Rules, join_fields, rules
from textxfer.text.store import TokenStore
from textxfer.text.tokenizer import RulesTokenizer, SpacyTokenizer, Tokenizer, tokenizer_from_dict
from textxfer.text.vocab import Vocab

__all__ = [
    "BOS",
    "FLD",
    "MAJ",
    "PAD",
    "REP",
    "SPECIALS",
    "UNK",
    "UP",
    "WREP",
    "ClassBatches",
    "Corpus",
    "DataError",
    "Document",
    "LMBatches",
    "Rules",
    "RulesTokenizer",
    "SpacyTokenizer",
    "TokenStore",
    "Tokenizer",
    "Vocab",
    "check_classes",
    "detokenize",
    "from_frame",
    "from_texts",
    "join_fields",
    "read_csv",
    "read_folder",
    "read_jsonl",
    "read_text",
    "rules",
    "tokenizer_from_dict",
]
