"""Splitting a word into tokens with regular expressions alone, for any script that puts spaces between words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cache

_IDEOGRAPHS = "\u2e80-\u2fdf\u3005-\u3007\u3041-\u309f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"


@cache
def word_pattern() -> re.Pattern[str]:
    """Return the pattern of one token; built at first use, since it needs a table of combining marks.

    In order of preference: emoticons; English contractions in two parts ("do", "n't"); elided articles ("l'");
    abbreviations with dots; numbers with separators; ideographs and hiragana one by one; words with their combining
    marks; runs of dots or dashes; flags and emoji with their modifiers; any other character alone.
    """
    marks = _combining_marks()
    letter = rf"(?:(?![{_IDEOGRAPHS}])[^\W_])"
    word = rf"{letter}(?:{letter}|[{marks}\u200c\u200d])*+"
    return re.compile(
        r"[:;=8][-^'o]?[)(\]\[DPp|*](?!\w)|<3(?!\w)"
        rf"|{letter}+?(?=n['\u2019]t(?!\w))|n['\u2019]t(?!\w)|['\u2019](?:s|re|ve|ll|d|m)(?!\w)"
        rf"|{letter}{{1,2}}['\u2019](?!(?:ll|re|ve)(?!\w))(?={letter}{{2}})"
        r"|(?:[^\W\d_]\.){2,}"
        r"|\d+(?:[.,:]\d+)++(?!\w)"
        rf"|[{_IDEOGRAPHS}][{marks}]*"
        rf"|{word}"
        r"|\.{2,}|-{2,}"
        r"|[\U0001f1e6-\U0001f1ff]{2}"
        rf"|\S[{marks}\U0001f3fb-\U0001f3ff]*(?:\u200d[^\w\s][{marks}\U0001f3fb-\U0001f3ff]*)*",
        re.IGNORECASE,
    )


def split_word(word: str) -> list[str]:
    """Return the tokens of a string without white space; joined together they are the string again."""
    return word_pattern().findall(word)


def _combining_marks() -> str:
    """All combining marks as the inside of a character class; Python's own class of letters leaves them out."""
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in _mark_ranges())


def _mark_ranges() -> Iterator[tuple[int, int]]:
    first = None
    for code in [*range(0x300, 0x20000), *range(0xE0100, 0xE01F1)]:
        is_mark = unicodedata.category(chr(code))[0] == "M"
        if is_mark and first is None:
            first = code
        elif not is_mark and first is not None:
            yield first, code - 1
            first = None
