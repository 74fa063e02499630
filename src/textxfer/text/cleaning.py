"""What is done to a text before it is cut into words: entities, odd characters, white space, repeated words."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from html.entities import codepoint2name, html5
from itertools import groupby, islice
from operator import eq

# Every quantifier has a bound, so the cost is linear in the text whatever the text.
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_DAMAGED_ENTITY = re.compile(r"(?<![\w&;])(#\d{2,5}|amp|apos|gt|lt|nbsp|quot);")
# Others are numbers of something: "bug #1234;", "wore #24;".
_DAMAGED_CODES = frozenset([*range(36, 40), *range(128, 160), *(code for code in codepoint2name if code >= 160)])
_DAMAGED_APOSTROPHE = re.compile(r" #39;(?=(?:s|t|re|ve|ll|d|m)\b)")
_DAMAGED_HINTS = ("#", "amp;", "apos;", "gt;", "lt;", "nbsp;", "quot;")
_BREAK = re.compile(r"<[bB][rR]\s{0,8}/?>")
_SPLIT_MARK = re.compile(r" @([-,.])@ ")
_BLANK_LINES = re.compile(r"\n{3,}")
_UNUSABLE = re.compile("[\0\ud800-\udfff]")


def _one_form() -> dict[int, str]:
    """Build the table of characters that are other ways to write something usual."""
    table: dict[str, str] = {bytes([code]).decode("latin-1"): _windows(code) for code in range(0x80, 0xA0)}
    table |= dict.fromkeys("‘’‚‛′", "'") | dict.fromkeys("“”„‟″", '"') | {"…": "..."}  # noqa: RUF001
    table |= {"\u200b": " "}  # zero-width space: between words of scripts without spaces
    invisible = ["\u00ad", "\u200e", "\u200f", "\u2060", "\ufeff", *map(chr, [*range(0x202A, 0x202F)])]
    table |= dict.fromkeys([*invisible, *map(chr, range(0x2066, 0x206A))], "")
    return {ord(character): table.get(form, form) for character, form in table.items()}


def _windows(code: int) -> str:
    return bytes([code]).decode("cp1252", "replace")


_ONE_FORM = _one_form()
_OTHER_FORM = re.compile(f"[{''.join(map(chr, _ONE_FORM))}]")


def clean(text: str, normalize: bool) -> str:
    """Resolve what is markup or accident of encoding rather than words.

    HTML entities are resolved if they are complete ("&amp;", twice if escaped twice) or clearly the rest of one
    ("it #39;s"), never inside words ("camp;"), and no number that stands for itself ("bug #1234;"). `<br />` is a line
    break. The split marks of WikiText are joined. Characters that no encoding can hold become U+FFFD.

    Args:
        text: Any text.
        normalize: Whether to bring quotes, ellipses, C1 controls and invisible characters to one form.
    """
    if ";" in text:
        if any(hint in text for hint in _DAMAGED_HINTS):
            text = _DAMAGED_ENTITY.sub(_completed, _DAMAGED_APOSTROPHE.sub("'", text))
        if "&" in text:
            text = _ENTITY.sub(_unescape, _ENTITY.sub(_unescape, text))
    if "<" in text:
        text = _BREAK.sub("\n", text)
    if "@ " in text:
        text = _SPLIT_MARK.sub(r"\1", text)
    if "\0" in text or not text.isascii():
        text = _UNUSABLE.sub("\ufffd", text)
    if normalize:
        if not text.isascii() and _OTHER_FORM.search(text):
            text = text.translate(_ONE_FORM)
        if "``" in text or "''" in text:  # quotes of the Penn Treebank and its relatives
            text = text.replace("``", '"').replace("''", '"')
    return text


def tidy_spaces(text: str) -> str:
    """Reduce white space to single spaces, line breaks and, where there were blank lines, double line breaks."""
    if "\n" not in text:
        return " ".join(text.split())
    text = "\n".join([" ".join(line.split()) for line in text.split("\n")]).strip("\n")
    return _BLANK_LINES.sub("\n\n", text) if "\n\n\n" in text else text


def collapse_words(text: str, threshold: int, mark: str) -> str:
    """Write runs of equal words as mark, number and word.

    The last word of a run may carry punctuation: "no no no no!" is a run of four.

    Args:
        text: Words of one line with single spaces between them.
        threshold: From how many equal words on.
        mark: The token that announces a run.
    """
    words = text.split(" ")
    if True not in map(eq, words, islice(words, 1, None)):
        return text
    return " ".join(_collapsed([(word, len(list(group))) for word, group in groupby(words)], threshold, mark))


def _collapsed(runs: list[tuple[str, int]], threshold: int, mark: str) -> Iterator[str]:
    """Yield the words again, long runs as one piece."""
    borrowed = False  # whether this word went to the run before it
    for (word, n), following in zip(runs, [*runs[1:], ("", 0)]):
        if borrowed:
            borrowed = False
            continue
        rest = _rest_after(word, *following) if n > 1 else ""
        if word[:1].isalnum() and n + bool(rest) >= threshold:
            yield f"{mark} {n + bool(rest)} {word}"
            if rest:
                yield rest
                borrowed = True
        else:
            yield from [word] * n


def _rest_after(word: str, following: str, n: int) -> str:
    """Return what a word that occurs once has behind `word`, if that is punctuation."""
    rest = following[len(word) :]
    return rest if n == 1 and following.startswith(word) and not rest[0].isalnum() else ""


def _completed(match: re.Match[str]) -> str:
    """Give the rest of an entity its `&` back, if it is one."""
    name = match[1]
    return match[0] if name[0] == "#" and int(name[1:]) not in _DAMAGED_CODES else f"&{name};"


def _unescape(match: re.Match[str]) -> str:
    entity = match[0]
    # Of a name that it does not know html.unescape resolves the beginning: "&timestamp;" has a "&times" in it.
    return html.unescape(entity) if entity[1] == "#" else html5.get(entity[1:], entity)
