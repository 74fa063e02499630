"""Locks on files and folders, for what only one process or thread may do at a time, such as a download."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None


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


def hold(path: Path, *, wait: bool = True) -> int | None:
    """Take the lock on a file or folder that is there.

    Args:
        path: The file or folder.
        wait: Whether to wait for another who has it.

    Returns:
        A descriptor, for `free`. None where there are no such locks, see `alone`.

    Raises:
        BlockingIOError: Another has the lock, and `wait` is off.
        FileNotFoundError: `path` is gone, perhaps since this waited.
    """
    if fcntl is None:
        return None
    try:
        # Some network drives lock only what is open for writing.
        descriptor = _opened(path)
    except PermissionError:  # another user's
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_at(descriptor, path):
            return descriptor
        raise FileNotFoundError(f"{path} is gone")
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError | FileNotFoundError):
            raise
        return None  # a file system without locks


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR)
    except IsADirectoryError:
        return os.open(path, os.O_RDONLY)


def free(descriptor: int) -> None:
    """Free a lock that `hold` took, also for processes that were forked meanwhile and have a copy of it."""
    if fcntl is not None:
        with suppress(OSError):  # closing frees it too, as long as there are no copies
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def _locked(path: Path) -> IO[bytes]:
    while True:
        file = path.open("ab")
        if fcntl is None:
            return file
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:  # a file system without locks
            return file
        if _is_at(file.fileno(), path):
            return file
        file.close()


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file still has its name; one question, for it may lose the name at any moment."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
