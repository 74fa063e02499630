"""Files and folders that appear complete or not at all, by a temporary name and a rename."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from textxfer.non_finite import encode
from textxfer.scratch import aside, new_name, real, remove_leftovers, scratch

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says when there is no room for more."""
_MANY = 1000
_TRIES = 100
_HERE, _EXCHANGE = -100, 2
"""AT_FDCWD and RENAME_EXCHANGE of Linux."""


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; what was written there takes its place at the end, unless an error came.

    Args:
        path: The file to write; its folder is made if it is not there. If it is a link, the file that it leads to.

    Yields:
        The temporary path of an empty file in the same folder.
    """
    path = real(path)
    with _named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path.parent, path.name)
        with scratch(path, folder=False) as part:
            yield part
            sync(part)
            part.replace(path)
        sync(path.parent)


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a file, whole or not at all.

    Args:
        path: The file; its folder is made if it is not there.
        data: All of its content.
    """
    with replacing(path) as scratch:
        scratch.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all.

    Args:
        path: The file; its folder is made if it is not there.
        text: All of its content. Half surrogate pairs are written as they are.
    """
    write_bytes(path, text.encode("utf-8", "surrogatepass"))


def write_json(path: str | Path, value: Any) -> None:
    """Write a JSON file, whole or not at all.

    Args:
        path: The file; its folder is made if it is not there.
        value: JSON values: None, truth values, numbers, strings, lists, dicts with strings as keys. NaN and infinities
            become strings, see `textxfer.non_finite`.
    """
    write_text(path, json.dumps(encode(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def system_errors(path: Path) -> Iterator[None]:
    """Let safetensors raise what the system said: an `OSError` that names the file, as everything else does.

    Args:
        path: The file that is written in the block.

    Raises:
        OSError: The system refused to write it.
    """
    from safetensors import SafetensorError

    try:
        yield
    except SafetensorError as error:
        if (found := re.search(r"\(os error (\d+)\)", str(error))) is None:
            raise
        number = int(found[1])
        raise OSError(number, os.strerror(number), str(path)) from error


@contextmanager
def new_folder(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield an empty scratch folder that becomes `target` when the block ends without an error.

    Args:
        target: Where the folder shall appear; its parents are made. If it is a link, the folder that it leads to.
        replace: Whether an existing folder may be replaced. It is removed last; on Linux the two change their names in
            one step, elsewhere the old one has another name for a moment, and gets it back if the process dies then.

    Raises:
        FileExistsError: If `target` exists and must not be replaced, before the block or after it.
    """
    target = real(target)
    with _named(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(target.parent, target.name)
        if target.exists() and not replace:
            raise FileExistsError(f"{target} exists already")
        with scratch(target, folder=True) as part:
            yield part
            _sync_all(part)
            _swap(part, target, replace)
        sync(target.parent)


def remove_folder(folder: Path) -> None:
    """Remove a folder, if it is there; at no moment has it its name and half of its files.

    Args:
        folder: The folder. If it is a link, the link stays.
    """
    folder = real(folder)
    remove_leftovers(folder.parent, folder.name)
    part = new_name(folder)
    try:
        folder.rename(part)
    except FileNotFoundError:
        return
    shutil.rmtree(part, ignore_errors=True)


def remove_if_empty(folder: Path) -> None:
    """Remove a folder that is there and holds nothing.

    Args:
        folder: The folder. If it is a link, the link stays.
    """
    folder = real(folder)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Let the error of a full disk name what was to be written; the system names no file there."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL and error.filename is None:
            error.filename = str(path)
        raise


def _sync_all(folder: Path) -> None:
    """Flush a folder to the disk with all that is in it."""
    paths = list(folder.rglob("*"))
    if len(paths) > _MANY and hasattr(os, "sync"):  # the whole disk at once is faster than so many files
        os.sync()
        return
    for path in (*paths, folder):
        sync(path)


def _swap(part: Path, target: Path, replace: bool) -> None:
    """Let a finished folder take its name, or that of another folder; begin again if another writer was faster."""
    for left in reversed(range(_TRIES)):
        try:
            if not target.exists():
                part.rename(target)
                return
            if not replace:
                raise FileExistsError(f"{target} exists already")
            if _exchange(part, target) or _put(part, target):
                return
        except OSError as error:
            if not replace and error.errno in (errno.EEXIST, errno.ENOTEMPTY):
                raise FileExistsError(f"{target} exists already") from None
            if not (left and replace and part.exists() and _is_others_doing(error)):
                raise


def _put(part: Path, target: Path) -> bool:
    """Put a folder in the place of another in two steps, for systems that cannot do it in one."""
    with aside(target) as old:
        target.rename(old)
        part.rename(target)
    return True


def _is_others_doing(error: OSError) -> bool:
    """Whether an error means that the target came or went meanwhile."""
    return isinstance(error, FileNotFoundError) or error.errno in (errno.EEXIST, errno.ENOTEMPTY)


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change their names in one step, so that none is missing at any moment; False where it cannot."""
    if sys.platform != "linux":
        return False
    import ctypes

    exchange = getattr(ctypes.CDLL(None), "renameat2", None)
    return exchange is not None and not exchange(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE)


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits.

    Args:
        path: The file.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Flush a file or folder to the disk.

    Args:
        path: A file or folder that exists.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
