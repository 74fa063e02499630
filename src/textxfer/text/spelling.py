"""How words are written as subword pieces, and back.

A model of pieces sees single words, each in lower case. White space is written as a mark, `▁`, before the first piece
of a word; what the rules cut off a word ("and", "/", "or") has none, so the text comes back with its spaces. The marks
of the rules stay whole: "(Hello!!!!)" is `▁(`, `xxmaj`, `hello`, `xxrep`, `4`, `▁!`, `)`. Behind a number `▁` only says
that the number ends. Characters without a piece are written as the bytes of their UTF-8, `<0x00>` to `<0xFF>`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, get_args

from textxfer.text.detokenize import MAX_REPEATS
from textxfer.text.specials import FLD, MAJ, REP, SPECIALS, UP, WREP
from textxfer.text.text_rules import TextRules

Form = Literal["NFC", "NFKC"]

WORD = "▁"
"""Begins the first piece of each word (U+2581)."""
LITERAL = "\0"
"""Stands for a U+2581 of the text itself between spelling and encoding; NUL is in no text that the rules cleaned."""
BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
"""The pieces for single bytes, in their order."""
LINE_BREAKS = ("\n", "\n\n")
"""Line breaks, which are words of their own."""

_BYTE = {piece: byte for byte, piece in enumerate(BYTES)}
_JOINERS = frozenset("\u200c\u200d")
_APOSTROPHES = frozenset("'\u2019")
_PART = re.compile(r"\s+|\S{1,256}")


@dataclass(frozen=True)
class Spelling:
    """The way from a text to the words that are to be cut into pieces.

    Args:
        rules: The rules; they work on the text before the pieces do.
        normalize: Form of Unicode that texts are brought to before the rules see them: `NFC` joins letters and their
            accents, `NFKC` also writes ligatures, wide letters and the like as plain ones. None: what the rules do.

    Raises:
        ValueError: `normalize` is something else.
    """

    rules: TextRules
    normalize: Form | None = "NFC"

    def __post_init__(self) -> None:
        if self.normalize is not None and self.normalize not in get_args(Form):
            raise ValueError(f"normalize must be 'NFC', 'NFKC' or None, not {self.normalize!r}")

    def chunks(self, text: str) -> list[str]:
        """Return the words of a text as the rules cut them; line breaks are words of their own."""
        if self.normalize is not None and not text.isascii():
            # Before the rules, or an "xxup" in wide letters would become a mark behind their back. Part by part, since
            # normalization takes quadratic time on long sequences of combining marks.
            form = self.normalize
            text = "".join([unicodedata.normalize(form, part) for part in _PART.findall(text)])
        return self.rules.chunks(text)

    def words(self, chunk: str) -> list[str]:
        """Return a word as marks of the rules and strings to be cut into pieces, `▁` before the first of them."""
        if chunk.isspace():
            return [chunk] if chunk in LINE_BREAKS else as_bytes(chunk)
        parts = self.rules.pre_chunk(chunk).split()
        tokens = self.rules.post_chunk([segment for part in parts for segment in segments(part)])
        words: list[str] = []
        begins, numbered = True, False
        for token in tokens:
            if token in self.rules.specials:
                words.append(token)
                numbered = token in (REP, WREP, FLD)
            else:
                token = token.replace(WORD, LITERAL)
                words.append(WORD + token if begins else token)
                begins, numbered = numbered, False
        return words


def segments(word: str) -> list[str]:
    """Cut a word where letters and digits meet other characters; the rules mark the case of each segment.

    Combining marks and joiners stay with what is before them. So does an apostrophe inside a word, except before a
    capital: "don't" is one segment, "O'Neil" are three.

    Args:
        word: A string without white space.
    """
    if word.isalnum():
        return [word]
    cuts = [0]
    inside: bool | None = None  # whether the segment is one of letters and digits
    for i, character in enumerate(word):
        if i and (character in _JOINERS or unicodedata.category(character)[0] == "M"):
            continue
        following = word[i + 1 : i + 2]
        if inside and character in _APOSTROPHES and following.isalnum() and not following.isupper():
            continue
        if inside is not None and inside != character.isalnum():
            cuts.append(i)
        inside = character.isalnum()
    return [word[start:stop] for start, stop in zip(cuts, [*cuts[1:], len(word)])]


def as_bytes(text: str) -> list[str]:
    """Return the pieces for the bytes of a text."""
    return [BYTES[byte] for byte in text.encode("utf-8", "replace")]


def join_pieces(tokens: Sequence[str]) -> list[str]:
    """Turn pieces into words, for `detokenize`.

    Marks of case and of repeated characters are applied; `xxbos`, `xxpad`, `xxunk`, line breaks and the marks of
    repeated words and fields stay tokens of their own. Bytes that make no character become U+FFFD.

    Args:
        tokens: Tokens as a `SubwordTokenizer` returns them or a language model writes them, in any order.

    Returns:
        The words; white space was between them, and nowhere else.
    """
    words: list[str] = []
    word = _Word()
    units = list(_units(tokens))
    position = 0
    while position < len(units):
        text, begins, mark = units[position]
        position += 1
        if mark in (UP, MAJ):
            word.coming = mark
        elif mark == REP:
            if run := _run(units, position):
                n, starts, position = run
                word = word.finish(words) if starts else word
                word.repeat = n
        elif mark:
            word = word.finish(words)
            words.append(mark)
        else:
            if begins and word.repeat == 1:
                word = word.finish(words)
            word.add(text)
    word.finish(words)
    return words


class _Word:
    """A word that grows piece by piece."""

    def __init__(self, coming: str = "") -> None:
        self.text = ""
        self.marks: dict[int, str] = {}
        self.coming = coming
        self.repeat = 1

    def add(self, text: str) -> None:
        if not text:
            return
        if self.coming:
            self.marks[len(self.text)] = self.coming
        self.text += text[0] * self.repeat + text[1:]
        self.coming, self.repeat = "", 1

    def finish(self, words: list[str]) -> _Word:
        """Append the word to others; return the next one, to which a mark goes that stood at the end of this."""
        text = self.text
        for start, mark in sorted(self.marks.items(), reverse=True):  # from the end: upper case may be longer
            stop = start + (1 if mark == MAJ else len(segments(self.text[start:])[0]))
            stop = min([stop, *(other for other in self.marks if other > start)])
            text = text[:start] + text[start:stop].upper() + text[stop:]
        if text:
            words.append(text)
        return _Word(self.coming)


_Unit = tuple[str, bool, str]


def _units(tokens: Iterable[str]) -> Iterator[_Unit]:
    """Yield text, whether a word begins with it, and instead of text a mark."""
    for is_byte, group in groupby(tokens, _BYTE.__contains__):
        if is_byte:
            yield bytes(map(_BYTE.__getitem__, group)).decode("utf-8", "replace"), False, ""
            continue
        for token in group:
            if token in SPECIALS or token.isspace():
                yield "", False, token
            else:
                yield token.removeprefix(WORD), token.startswith(WORD), ""


def _run(units: Sequence[_Unit], position: int) -> tuple[int, bool, int] | None:
    """Read the number behind `xxrep`: the number, whether a word begins, where the character is; None if there is none.

    The number ends where the next `▁` is.
    """
    end = position
    while end < len(units) and not units[end][2] and (end == position or not units[end][1]):
        end += 1
    digits = "".join([text for text, _, _ in units[position:end]])
    ended = end < len(units) and units[end][1]
    if not ended or not (digits.isascii() and digits.isdigit() and len(digits) < 10):
        return None
    return min(int(digits), MAX_REPEATS), units[position][1], end
