"""The special tokens, and the marks between the fields of a document."""

from __future__ import annotations

from collections.abc import Sequence

UNK = "xxunk"
"""A token that is not in the vocabulary."""
PAD = "xxpad"
"""Fills up the shorter documents of a batch."""
BOS = "xxbos"
"""Begins every document."""
FLD = "xxfld"
"""Begins a field; its number follows."""
REP = "xxrep"
"""A repeated character; number and character follow."""
WREP = "xxwrep"
"""A repeated word; number and word follow."""
UP = "xxup"
"""The next word was written in capitals."""
MAJ = "xxmaj"
"""The next word began with a capital."""
SPECIALS = (UNK, PAD, BOS, FLD, REP, WREP, UP, MAJ)
"""All special tokens in the order of their ids."""


def join_fields(fields: Sequence[str]) -> str:
    """Join the fields of a document: one is left as it is, several are marked `xxfld 1`, `xxfld 2`, ...

    Args:
        fields: Texts of the fields, in their order.

    Returns:
        The text of the document.
    """
    if len(fields) == 1:
        return fields[0]
    return " ".join(f"{FLD} {number} {text}" for number, text in enumerate(fields, 1))
