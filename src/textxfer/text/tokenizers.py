"""The kinds of tokenizers by name."""

from __future__ import annotations

from typing import Any

from textxfer.text.rule_sets import rules_from_dict
from textxfer.text.subword import SubwordTokenizer
from textxfer.text.tokenizer import RulesTokenizer, SpacyTokenizer, Tokenizer


def tokenizer_from_dict(value: dict[str, Any]) -> Tokenizer:
    """Build a tokenizer from what its `to_dict` returned.

    Args:
        value: JSON values with a `kind`: `spacy`, `rules` or `subword`.

    Returns:
        The tokenizer.

    Raises:
        ValueError: It is a kind of tokenizer that this version does not know, or a parameter is wrong.
        DataError: A subword model is damaged.
    """
    kind = value.get("kind")
    if kind == SpacyTokenizer.kind:
        return SpacyTokenizer(value["language"], rules_from_dict(value["rules"]))
    if kind == RulesTokenizer.kind:
        return RulesTokenizer(rules_from_dict(value["rules"]))
    if kind == SubwordTokenizer.kind:
        return SubwordTokenizer.from_dict(value)
    raise ValueError(f"unknown kind of tokenizer {kind!r}; this version knows 'spacy', 'rules' and 'subword'")
