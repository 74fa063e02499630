"""What is done to a text before it is cut into words: entities, odd characters, white space, repeated words."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from itertools import groupby, islice
from operator import eq

# Every quantifier has a bound or eats characters that nothing else can match, so cost is linear in the text.
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_DAMAGED_ENTITY = re.compile(r"(?<![\w&])(#\d{2,5}|amp|apos|gt|lt|nbsp|quot);")
_BREAK = re.compile(r"<[bB][rR]\s{0,8}/?>")
_SPLIT_MARK = re.compile(r" @([-,.])@ ")

_UNUSABLE = dict.fromkeys([0, *range(0xD800, 0xE000)], "\ufffd")
_TYPOGRAPHY = {
    **{code: bytes([code]).decode("cp1252", "replace") for code in range(0x80, 0xA0)},
    **dict.fromkeys(map(ord, "\u00ad\u200b\u2060\ufeff"), ""),
    **dict.fromkeys(map(ord, "‘’‚‛′"), "'"),  # noqa: RUF001
    **dict.fromkeys(map(ord, "“”„‟″"), '"'),
    ord("…"): "...",
}
_TYPOGRAPHY = {code: _TYPOGRAPHY.get(ord(text), text) if len(text) == 1 else text for code, text in _TYPOGRAPHY.items()}
_IS_UNUSABLE = re.compile("[\0\ud800-\udfff]")
_IS_TYPOGRAPHY = re.compile(f"[{''.join(map(chr, _TYPOGRAPHY))}]")


def clean(text: str, normalize: bool) -> str:
    """Resolve markup that is not part of the text's words.

    HTML entities are resolved if they are complete ("&amp;", twice if escaped twice) or clearly the rest of one
    ("it #39;s"), never inside words ("camp;"). `<br />` is a line break. The split marks of WikiText are joined.

    Args:
        text: Any text.
        normalize: Whether to bring quotes, ellipses, C1 controls and invisible characters to one form.
    """
    if ";" in text:
        text = _DAMAGED_ENTITY.sub(r"&\1;", text)
        if "&" in text:
            text = _ENTITY.sub(_unescape, _ENTITY.sub(_unescape, text))
    if "<" in text:
        text = _BREAK.sub("\n", text)
    if "@ " in text:
        text = _SPLIT_MARK.sub(r"\1", text)
    if _IS_UNUSABLE.search(text):
        text = text.translate(_UNUSABLE)
    if normalize and not text.isascii() and _IS_TYPOGRAPHY.search(text):
        text = text.translate(_TYPOGRAPHY)
    return text


def tidy_spaces(text: str) -> str:
    """Reduce white space to single spaces, line breaks and, where there were blank lines, double line breaks."""
    if "\n" not in text:
        return " ".join(text.split())
    text = "\n".join(" ".join(line.split()) for line in text.split("\n")).strip("\n")
    return re.sub(r"\n{3,}", "\n\n", text)


def collapse_words(text: str, threshold: int, mark: str) -> str:
    """Write runs of equal words as mark, number and word.

    The last word of a run may carry punctuation: "no no no no!" is a run of four.

    Args:
        text: Text with single spaces.
        threshold: From how many equal words on.
        mark: The token that announces a run.
    """
    words = text.split(" ")
    if True not in map(eq, words, islice(words, 1, None)):
        return text
    return " ".join(_collapsed([(word, len(list(group))) for word, group in groupby(words)], threshold, mark))


def _collapsed(runs: list[tuple[str, int]], threshold: int, mark: str) -> Iterator[str]:
    i = 0
    while i < len(runs):
        word, n = runs[i]
        rest = ""
        if n > 1 and word[0].isalnum() and i + 1 < len(runs):
            rest = _rest_after(word, *runs[i + 1])
        n += bool(rest)
        if n >= threshold and word[0].isalnum():
            yield f"{mark} {n} {word}"
            if rest:
                yield rest
                i += 1
        else:
            yield from [word] * (n - bool(rest))
        i += 1


def _rest_after(word: str, follower: str, n: int) -> str:
    """What follows `word` in a single follower that is the word with punctuation; otherwise nothing."""
    rest = follower[len(word) :]
    return rest if n == 1 and follower.startswith(word) and not rest[0].isalnum() else ""


def _unescape(match: re.Match[str]) -> str:
    return html.unescape(match.group())
