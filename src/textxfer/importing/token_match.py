"""From an old vocabulary to ours: which row of the old weights each token has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from textxfer.artifact import ArtifactError
from textxfer.text import BOS, FLD, PAD, REP, UNK, UP, WREP, DataError
from textxfer.text.document import listed, unsound
from textxfer.text.rule_sets import rules as rule_set

RuleName = Literal["fastai", "2018"]

NAMES_2018 = {
    "_unk_": UNK,
    "_pad_": PAD,
    "xbos": BOS,
    "xfld": FLD,
    "t_up": UP,
    "tk_rep": REP,
    "tk_wrep": WREP,
}
"""Our names of the special tokens of the scripts of 2018."""

_FILLER = "xxfake"  # fills fastai 2's vocabulary up to a multiple of 8; no text has it
_PIECES = 0.2


@dataclass(frozen=True)
class TokenMatch:
    """An old vocabulary as ours.

    Attributes:
        rules: The rules that the vocabulary was made with.
        tokens: The tokens of the new vocabulary, special ones first, the others in their old order.
        old_tokens: Those of them that have a row in the old weights, in the order of their rows.
        rows: Rows of `old_tokens`, ascending.
        new: Tokens without a row.
        dropped: Old tokens that were left out: repeats, and what is no text.
        renamed: Number of special tokens that had other names.
    """

    rules: RuleName
    tokens: tuple[str, ...]
    old_tokens: tuple[str, ...]
    rows: tuple[int, ...]
    new: tuple[str, ...]
    dropped: tuple[str, ...]
    renamed: int

    @property
    def moved(self) -> int:
        """Number of tokens that have another id than before."""
        ids = {token: i for i, token in enumerate(self.tokens)}
        return sum(ids[token] != row for token, row in zip(self.old_tokens, self.rows))

    def __str__(self) -> str:
        parts = [f"{len(self.tokens):,} tokens: {len(self.rows):,} kept their rows, {self.moved:,} of them moved"]
        if self.renamed:
            parts.append(f"{self.renamed} special tokens got our names")
        if self.new:
            parts.append(f"new, with the mean row: {' '.join(self.new)}")
        if self.dropped:
            parts.append(f"{len(self.dropped):,} dropped: {listed(list(dict.fromkeys(self.dropped)))}")
        return "; ".join(parts)


def match_tokens(old: Sequence[str], rules: RuleName | None = None) -> TokenMatch:
    """Arrange an old vocabulary as ours.

    Of a token that occurs twice the last row counts, as with fastai and in 2018.

    Args:
        old: The old tokens in the order of their ids.
        rules: The rules that the texts were tokenized with; None to tell by the names of the special tokens.

    Returns:
        The new vocabulary, and which row of the old one each of its tokens has.

    Raises:
        DataError: The special tokens do not tell the rules.
        ArtifactError: The vocabulary is one of SentencePiece.
    """
    present = set(old)
    of_2018 = "_unk_" in present and UNK not in present
    if rules is None:
        if not of_2018 and UNK not in present:
            raise DataError(
                "the vocabulary has neither fastai's token 'xxunk' nor '_unk_' of 2018; name its rules: --rules"
            )
        rules = "2018" if of_2018 else "fastai"
    _refuse_pieces(old)
    found = _rows(old, NAMES_2018 if of_2018 else {})
    by_row = sorted(found.items(), key=lambda item: item[1])
    specials, kept = rule_set(rules).specials, set(found.values())
    return TokenMatch(
        rules=rules,
        tokens=(*specials, *(token for token, _ in by_row if token not in specials)),
        old_tokens=tuple(token for token, _ in by_row),
        rows=tuple(row for _, row in by_row),
        new=tuple(token for token in specials if token not in found),
        dropped=tuple(token for row, token in enumerate(old) if row not in kept),
        renamed=sum(token in NAMES_2018 for token in present) if of_2018 else 0,
    )


def _rows(old: Sequence[str], names: dict[str, str]) -> dict[str, int]:
    """Return the row of each token that is kept, under its new name."""
    found = {token: row for row, token in enumerate(old) if token != _FILLER and _is_text(token)}
    special = {ours: found.pop(theirs) for theirs, ours in names.items() if theirs in found}
    return found | special  # a plain word that happens to have one of our names gives way


def _is_text(token: str) -> bool:
    return unsound(token) is None


def _refuse_pieces(old: Sequence[str]) -> None:
    pieces = sum(token.startswith("▁") and len(token) > 1 for token in old)
    if pieces > _PIECES * len(old):
        raise ArtifactError(
            f"{pieces:,} of {len(old):,} tokens begin with '▁': the vocabulary is one of SentencePiece, whose model "
            "is needed to tokenize and is not in these files; only vocabularies of words can be imported"
        )
