"""Lines of plain, gzip'd and xz'd text files, with errors that say where the file is wrong."""

from __future__ import annotations

import gzip
import io
import lzma
import zlib
from codecs import lookup
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from textxfer.text.document import DataError


def existing_file(path: str | Path) -> Path:
    """Return the path if it is a file that is not empty.

    Raises:
        FileNotFoundError: There is none.
        DataError: It is a folder, or empty.
    """
    path = Path(path)
    if path.is_dir():
        raise DataError(f"{path}: is a folder, a file is needed (folders of texts are read by read_folder)")
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty")
    return path


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for reading, unpacking `.gz` and `.xz`.

    Raises:
        DataError: While reading, if the packed file is damaged or cut short.
    """
    opener = {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix.lower(), open)
    try:
        with opener(path, "rb") as file:
            yield file  # type: ignore[misc]
    except (gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        raise DataError(f"{path}: the packed file is damaged or cut short ({error}); copy it again") from error


def read_lines(path: Path, encoding: str, where: Callable[[int], str] | None = None) -> Iterator[str]:
    """Yield the lines of a file with their line ends; a byte order mark is dropped.

    Args:
        path: The file.
        encoding: Its encoding.
        where: What to call the place of a line, given its number; for the message.

    Raises:
        DataError: The file is damaged, or a line is not in the given encoding.
    """
    with open_bytes(path) as file:
        if _is_wide(encoding):
            yield from _wide_lines(path, file, encoding)
            return
        offset = 0
        for number, line in enumerate(file, 1):
            try:
                text = line.decode(encoding)
            except UnicodeDecodeError as error:
                place = where(number) if where else f"{path}, line {number}"
                raise DataError(_not_decodable(place, offset + error.start, line[error.start], encoding)) from None
            yield text.removeprefix("\ufeff") if number == 1 else text
            offset += len(line)


def check_encoding(encoding: str) -> None:
    """Refuse a name that is no encoding.

    Raises:
        ValueError: Python has no such encoding.
    """
    try:
        lookup(encoding)
    except LookupError:
        raise ValueError(f"encoding={encoding!r} is not known; usual ones are 'utf-8', 'cp1252', 'utf-16'") from None


def _is_wide(encoding: str) -> bool:
    return lookup(encoding).name.startswith(("utf-16", "utf-32"))


def _wide_lines(path: Path, file: IO[bytes], encoding: str) -> Iterator[str]:
    """Yield the lines of a file whose line ends are more than a byte."""
    try:
        with io.TextIOWrapper(file, encoding, newline="") as lines:
            for number, line in enumerate(lines, 1):
                yield line.removeprefix("\ufeff") if number == 1 else line
    except UnicodeError as error:
        raise DataError(f"{path}: not {encoding} text ({error}); pass the right encoding=") from None


def _not_decodable(place: str, offset: int, byte: int, encoding: str) -> str:
    return (
        f"{place}: byte 0x{byte:02x} at offset {offset} of the file is not {encoding}; "
        f"pass encoding=, often 'cp1252' or 'latin-1', or save the file as UTF-8"
    )
