"""Files and folders that appear complete or not at all, by a temporary name and a rename; and a lock."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None

_MANY = 1000


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; what was written there takes its place at the end, unless an error came.

    Args:
        path: The file to write; its folder is made if it is not there.

    Yields:
        The temporary path, in the same folder.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield scratch
        sync(scratch)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
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
        value: JSON values: None, truth values, numbers, strings, lists, dicts with strings as keys.
    """
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


@contextmanager
def new_folder(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield an empty scratch folder that becomes `target` when the block ends without an error.

    Args:
        target: Where the folder shall appear; its parents are made.
        replace: Whether an existing folder may be replaced; it is moved aside first and removed last.

    Raises:
        FileExistsError: If `target` exists and must not be replaced.
    """
    if target.exists() and not replace:
        raise FileExistsError(f"{target} exists already")
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_name(f".{target.name}.{platform.node()}-{os.getpid()}.part")
    _remove_leftovers(target)
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        yield scratch
        _sync_all(scratch)
        _swap(scratch, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    sync(target.parent)


def _sync_all(folder: Path) -> None:
    """Flush a folder to the disk with all that is in it."""
    paths = list(folder.rglob("*"))
    if len(paths) > _MANY and hasattr(os, "sync"):  # the whole disk at once is faster than so many files
        os.sync()
        return
    for path in (*paths, folder):
        sync(path)


def _remove_leftovers(target: Path) -> None:
    """Remove what processes of this machine began to write and were killed before they could tidy up."""
    prefix = f".{target.name}.{platform.node()}-"
    for leftover in target.parent.glob(f"{glob.escape(prefix)}*.part"):
        process = leftover.name.removeprefix(prefix).removesuffix(".part")
        if process.isdecimal() and not _is_running(int(process)):
            shutil.rmtree(leftover, ignore_errors=True)


def _is_running(process: int) -> bool:
    if os.name != "posix":
        return True  # there is no harmless way to ask
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _swap(scratch: Path, target: Path) -> None:
    if not target.exists():
        scratch.rename(target)
        return
    old = target.with_name(f".{target.name}.{os.getpid()}.old")
    target.rename(old)
    scratch.rename(target)
    shutil.rmtree(old)


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


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold a lock while the block runs; another process or thread that wants it waits.

    The system frees the lock when its holder dies, so none is ever left over. Where there are no such locks (Windows,
    some network drives) nobody waits.

    Args:
        path: The lock file. It is made, and removed at the end.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = _locked(path)
    try:
        yield
    finally:
        # While the lock is held: who waited for it sees that the file is gone and makes a new one.
        with suppress(OSError):
            path.unlink()
        file.close()


def _locked(path: Path) -> IO[bytes]:
    while True:
        file = path.open("ab")
        if fcntl is None:
            return file
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:  # a file system without locks
            return file
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            return file
        file.close()
