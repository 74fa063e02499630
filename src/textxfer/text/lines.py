"""Lines of plain and packed text files, with errors that say where the file is wrong."""

from __future__ import annotations

import io
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterator
from pathlib import Path

from textxfer.text.document import DataError, Errors
from textxfer.text.packed import PACKINGS, existing_file, read_blocks

__all__ = ["LONGEST_PACKED", "check_encoding", "existing_file", "longest_passage", "read_lines"]

LONGEST_PACKED = 1 << 26
"""Longest line or document of a packed file, in characters: a few packed bytes may stand for any number of them."""
_PIECE = 1 << 16


def read_lines(
    path: Path,
    encoding: str,
    where: Callable[[int], str] | None = None,
    *,
    errors: Errors = "strict",
    longest: int | None = None,
) -> Iterator[str]:
    r"""Yield the lines of a file with their ends, which are `\n`, `\r\n` or `\r`; a byte order mark is dropped.

    Args:
        path: The file, plain or packed as `.gz`, `.xz` or `.zst`.
        encoding: Its encoding.
        where: What to call the place of a line, given its number; for the message.
        errors: What to do with bytes that are not in the encoding: `strict` stops, `replace` puts U+FFFD for them.
        longest: Longest line that is read, in characters; None: any. Of a packed file at most `LONGEST_PACKED`.

    Raises:
        DataError: The file is damaged, a line is not in the given encoding, or it is longer than `longest`.
    """
    number = 1
    begun: list[str] = []
    length = 0
    limits = [limit for limit in (longest, longest_passage(path)) if limit is not None]
    longest = min(limits, default=None)

    def place() -> str:
        return where(number) if where else f"{path}, line {number}"

    for text in _decoded(path, encoding, errors, place):
        lines = io.StringIO(text, newline="").readlines()
        rest = None if lines[-1][-1] in "\r\n" else lines.pop()
        if begun and lines:
            lines[0] = "".join([*begun, lines[0]])
            begun, length = [], 0
        for line in lines:
            yield line
            number += 1
        if rest is not None:
            begun.append(rest)
            length += len(rest)
            if longest is not None and length > longest:
                raise DataError(f"{place()}: the line is longer than {longest:,} characters; is the file a table?")
    if begun:
        yield "".join(begun)


def longest_passage(path: Path) -> int | None:
    """Return how many characters a line or document of a file may have; None: any, which is the size of the file.

    Args:
        path: The file, plain or packed.
    """
    return LONGEST_PACKED if path.suffix.lower() in PACKINGS else None


def check_encoding(encoding: str) -> None:
    """Refuse a name that is no encoding of text.

    Raises:
        DataError: Python has no such encoding.
    """
    try:
        "".encode(encoding)
        getincrementaldecoder(encoding)
    except LookupError:
        raise DataError(f"encoding={encoding!r} is not known; usual ones are 'utf-8', 'cp1252', 'utf-16'") from None


def _decoded(path: Path, encoding: str, errors: Errors, place: Callable[[], str]) -> Iterator[str]:
    r"""Yield the text of a file in pieces that do not end between `\r` and `\n`."""
    held, first = "", True
    for text in _pieces(path, encoding, errors, place):
        if first:
            text, first = text.removeprefix("\ufeff"), False
        text = held + text
        held = "\r" if text.endswith("\r") else ""
        if text := text[: len(text) - len(held)]:
            yield text
    if held:
        yield held


def _pieces(path: Path, encoding: str, errors: Errors, place: Callable[[], str]) -> Iterator[str]:
    decoder = getincrementaldecoder(encoding)(errors)
    n_read = 0
    try:
        for block in read_blocks(path):
            n_read += len(block)
            try:
                text = decoder.decode(block)
            except UnicodeDecodeError as error:
                sound = error.start - len(error.object) + len(block)
                if sound > 0:  # what comes before is passed on first, so that the place is the right one
                    yield decoder.decode(block[:sound])
                raise
            # Packed files may yield very much at once, and lines are objects.
            for first in range(0, len(text), _PIECE):
                yield text[first : first + _PIECE]
        if text := decoder.decode(b"", True):
            yield text
    except UnicodeDecodeError as error:
        offset = n_read - len(error.object) + error.start
        raise DataError(
            f"{place()}: byte 0x{error.object[error.start]:02x} at offset {offset} of the file is not {encoding}; "
            f"pass encoding=, often 'cp1252' or 'latin-1', save the file as UTF-8, "
            f"or pass errors='replace' to put U+FFFD for such bytes"
        ) from None
    except MemoryError:  # the header of an .xz file may ask for gigabytes
        raise DataError(
            f"{path}: unpacking takes more memory than there is; pack it with a smaller dictionary"
        ) from None
    except UnicodeError as error:
        raise DataError(f"{path}: not {encoding} text ({error}); pass the right encoding=") from None
