"""The bytes of plain and packed files, block by block."""

from __future__ import annotations

import gzip
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from textxfer.text.document import DataError, MissingPackageError

PACKINGS = (".gz", ".xz", ".zst")
"""Endings of the names of packed files that are read."""

_BLOCK = 1 << 16
_ZSTD_BLOCK = 1 << 12  # a few packed bytes may stand for a great many


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
    if path.suffix.lower() == ".zst":
        _zstandard()
    return path


def read_blocks(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file in blocks of some 64 KiB, unpacking `.gz`, `.xz` and `.zst`.

    Raises:
        DataError: The packed file is damaged or cut short.
        MissingPackageError: The file is a `.zst` file and the package `zstandard` is not installed.
    """
    packing = path.suffix.lower()
    damage: tuple[type[Exception], ...] = (gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError)
    if packing == ".zst":
        damage = (*damage, _zstandard().ZstdError)
    try:
        if packing == ".zst":
            with path.open("rb") as file:
                yield from _unpacked_zstd(file)
            return
        opener: Any = {".gz": gzip.open, ".xz": lzma.open}.get(packing, open)
        with opener(path, "rb") as file:
            while block := file.read(_BLOCK):
                yield block
    except damage as error:
        raise DataError(f"{path}: the packed file is damaged or cut short ({error}); copy it again") from error


def _unpacked_zstd(file: IO[bytes]) -> Iterator[bytes]:
    """Yield what the frames of a file hold; unlike a stream reader of the package, notice if the last is cut."""
    unpacker = None
    while block := file.read(_ZSTD_BLOCK):
        while block:
            unpacker = unpacker or _zstandard().ZstdDecompressor().decompressobj()
            if unpacked := unpacker.decompress(block):
                yield unpacked
            block = unpacker.unused_data if unpacker.eof else b""
            unpacker = None if unpacker.eof else unpacker
    if unpacker is not None:
        raise EOFError("the last frame has no end")


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError as error:
        raise MissingPackageError("reading .zst files needs the package zstandard (pip install zstandard)") from error
    return zstandard
