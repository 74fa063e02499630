"""From tokens back to readable text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from textxfer.text.rules import BOS, FLD, MAJ, PAD, REP, UP, WREP

MAX_REPEATS = 100
"""A model that writes `xxrep 1000000 a` gets no more than this many."""

_CLITIC = re.compile(r"(?:n['’]t|['’](?:s|re|ve|ll|d|m|em))$", re.IGNORECASE)
_CLOSES = frozenset(".,;:!?)]}%…»”’") | {"...", "\n", "\n\n"}
_OPENS = frozenset("([{#$£€¥«“‘¿¡") | {"\n", "\n\n"}
_JOINS = frozenset("-/\\_")
_ENDS_SENTENCE = frozenset(".!?\n")


def detokenize(tokens: Sequence[str]) -> str:
    """Write tokens as text: marks are applied and dropped, spaces go where English typography has them.

    What tokenization lost cannot come back: the case of single letters is guessed ("i", and at the start of a
    sentence), hyphens are taken to join words.

    Args:
        tokens: Tokens as tokenizers return them or a language model writes them; marks may stand anywhere.
    """
    text = ""
    glued = True  # whether the next piece follows without a space
    quotes: set[str] = set()
    for piece, glue_left in _pieces(tokens):
        closes = _closes(piece, text, quotes)
        if glue_left or closes or piece in _JOINS or glued or not text:
            text += piece
        else:
            text += f" {piece}"
        glued = piece in _OPENS or piece in _JOINS or (piece in ('"', "'") and not closes)
        if piece in ('"', "'"):
            quotes ^= {piece}
    return text.strip()


def _closes(piece: str, text: str, quotes: set[str]) -> bool:
    if piece == "'" and piece not in quotes and text[-1:].lower() == "s":
        return True
    return piece in _CLOSES or piece in quotes or bool(_CLITIC.match(piece))


def _pieces(tokens: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Apply the marks; yield pieces of text and whether each belongs to the word before it."""
    case: str | None = None
    shouting = sentence_start = True
    shouting = False
    i = 0
    while i < len(tokens):
        token = tokens[i]
        count = _count_after(tokens, i) if token in (FLD, REP, WREP) else None
        i += 1
        if token in (BOS, PAD):
            continue
        if token in (UP, MAJ):
            case = token
            continue
        if token == FLD and count is not None:
            i += 1
            yield "\n", True
            continue
        glue = False
        if token == REP and count is not None and i + 1 < len(tokens):
            token, glue = tokens[i + 1] * count, tokens[i + 1].isalnum()
            i += 2
        elif token == WREP and count is not None and i + 1 < len(tokens):
            i += 1
            while tokens[i] in (UP, MAJ) and i + 1 < len(tokens):
                case, i = tokens[i], i + 1
            word = _cased(tokens[i], case)
            token, case = " ".join([word] * count), None
            i += 1
        if _CLITIC.match(token):
            token = token.upper() if shouting else token
        else:
            shouting = case == UP
            token = _cased(token, case)
            if case is None and len(token) == 1 and not glue and (token == "i" or sentence_start):
                token = token.upper()
        case = None
        yield token, glue
        sentence_start = token[-1] in _ENDS_SENTENCE if token else sentence_start


def _cased(token: str, case: str | None) -> str:
    if case == UP:
        return token.upper()
    return token[:1].upper() + token[1:] if case == MAJ else token


def _count_after(tokens: Sequence[str], i: int) -> int | None:
    """The number that follows a mark, bounded; None if none does."""
    following = tokens[i + 1] if i + 1 < len(tokens) else ""
    return min(int(following), MAX_REPEATS) if following.isascii() and following.isdigit() else None
