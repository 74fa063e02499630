"""Text: rules, tokenizers, vocabularies, readers, token stores and the batches made of them.

The batches need torch and are imported at first use: a process that only tokenizes does without.
"""

from typing import TYPE_CHECKING

from textxfer._lazy import lazy
from textxfer.text.corpus import (
    Corpus,
    DataError,
    Document,
    Label,
    LabelKind,
    check_classes,
    from_dataset,
    from_frame,
    from_records,
    from_texts,
    label_kind,
    read_csv,
    read_folder,
    read_jsonl,
    read_parquet,
    read_text,
)
from textxfer.text.detokenize import detokenize
from textxfer.text.fastai_rules import FastaiRules
from textxfer.text.rule_sets import rules
from textxfer.text.rules import Rules
from textxfer.text.specials import BOS, FLD, MAJ, PAD, REP, SPECIALS, UNK, UP, WREP, join_fields
from textxfer.text.spelling import join_pieces
from textxfer.text.splits import hold_out, split_documents
from textxfer.text.store import TokenStore
from textxfer.text.subword import SubwordTokenizer
from textxfer.text.text_rules import TextRules
from textxfer.text.tokenizer import RulesTokenizer, SpacyTokenizer, Tokenizer
from textxfer.text.tokenizers import tokenizer_from_dict
from textxfer.text.vocab import Vocab

if TYPE_CHECKING:
    from textxfer.text.class_batches import ClassBatches
    from textxfer.text.lm_batches import LMBatches

__getattr__ = lazy(
    __name__, {"textxfer.text.class_batches": ["ClassBatches"], "textxfer.text.lm_batches": ["LMBatches"]}
)

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
    "FastaiRules",
    "LMBatches",
    "Label",
    "LabelKind",
    "Rules",
    "RulesTokenizer",
    "SpacyTokenizer",
    "SubwordTokenizer",
    "TextRules",
    "TokenStore",
    "Tokenizer",
    "Vocab",
    "check_classes",
    "detokenize",
    "from_dataset",
    "from_frame",
    "from_records",
    "from_texts",
    "hold_out",
    "join_fields",
    "join_pieces",
    "label_kind",
    "read_csv",
    "read_folder",
    "read_jsonl",
    "read_parquet",
    "read_text",
    "rules",
    "split_documents",
    "tokenizer_from_dict",
]
