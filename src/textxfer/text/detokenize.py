"""From tokens back to readable text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from textxfer.text.specials import BOS, FLD, MAJ, PAD, REP, SPECIALS, UP, WREP

MAX_REPEATS = 100
"""A model that writes `xxrep 1000000 a` gets no more than this many."""

_CLITIC = re.compile(r"(?:n['’]t|['’](?:s|re|ve|ll|d|m|em))$", re.IGNORECASE)  # noqa: RUF001
_ELIDED = re.compile(r"[^\W\d_]{1,2}['\u2019]$")
_CLOSING = frozenset(".,;:!?)]}%…»”’\n")  # noqa: RUF001
_OPENING = frozenset("([{#$£€¥«“‘¿¡\n")  # noqa: RUF001
_JOINING = frozenset("-/\\_")
_QUOTES = frozenset("\"'")


class _Unit(NamedTuple):
    """A token with the marks that stood before it."""

    token: str
    case: str = ""
    run: int = 1
    times: int = 1


def detokenize(tokens: Sequence[str]) -> str:
    """Write tokens as text: marks are applied and dropped, spaces go where English typography has them.

    What tokenization lost cannot come back: hyphens and slashes are taken to join words, a lone "i" to be the pronoun.

    Args:
        tokens: Tokens as a tokenizer returns them or a language model writes them; marks may stand anywhere.

    Returns:
        The text.
    """
    parts: list[str] = []
    last = ""
    spaced = False  # whether a space is due before an ordinary word
    open_quotes: set[str] = set()
    for word, joined in _words(_units(tokens)):
        possessive = word == "'" and word not in open_quotes and last in ("s", "S")
        closes = possessive or word in open_quotes or _CLOSING.issuperset(word) or _CLITIC.match(word) is not None
        joins = word in _JOINING
        parts.append(f" {word}" if spaced and not (joined or closes or joins) else word)
        opens = word in _QUOTES and not closes
        spaced = not (opens or joins or word in _OPENING or word == "\n\n" or _ELIDED.match(word))
        if word in _QUOTES and not possessive:
            open_quotes ^= {word}
        last = word[-1:]
    return "".join(parts).strip()


def _units(tokens: Sequence[str]) -> Iterator[_Unit]:
    """Gather the marks before each token; padding and marks without their token are dropped."""
    case, run, times = "", 1, 1
    pairs = iter(zip(tokens, [*tokens[1:], ""]))
    for token, following in pairs:
        if token in (UP, MAJ):
            case = token
        elif token in (FLD, REP, WREP) and _is_number(following):
            next(pairs)
            n = min(int(following), MAX_REPEATS)
            if token == FLD:
                yield _Unit("\n")
            elif token == REP:
                run = n
            else:
                times = n
        elif token and token not in (BOS, PAD):
            yield _Unit(token, "" if token in SPECIALS else case, run, times)
            case, run, times = "", 1, 1


def _words(units: Iterator[_Unit]) -> Iterator[tuple[str, bool]]:
    """Apply the marks; yield each word and whether it belongs to the one before it without a space."""
    shouting = False
    for token, case, run, times in units:
        joined = run > 1 and token.isalnum() and not case  # a mark of its own begins a word
        if joined or _CLITIC.match(token):
            # "NASA's" is more common than "IT'S".
            word = token.upper() if case == UP or (shouting and token[1:] != "s") else token
        else:
            word = "I" if token == "i" else _with_case(token, case)
            shouting = case == UP
        yield " ".join([word * run] * times), joined


def _with_case(token: str, case: str) -> str:
    if case == UP:
        return token.upper()
    return token[:1].upper() + token[1:] if case == MAJ else token


def _is_number(token: str) -> bool:
    return token.isascii() and token.isdigit() and len(token) < 10
