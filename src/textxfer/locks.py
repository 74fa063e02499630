"""A lock on a file, for what only one process or thread may do at a time, such as a download."""

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
