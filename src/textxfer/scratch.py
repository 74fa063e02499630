"""Temporary names beside a file or folder: whose they are, and what is left of those whose process has died.

A name says machine and process and has a random part, so no two writers share one, be they threads, or containers that
number their processes alike. The owner holds a lock on what has the name; who can take that lock knows that the owner
is dead. Where there are no locks, the number of the process has to tell.
"""

from __future__ import annotations

import glob
import os
import platform
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from textxfer.locks import free, hold

_LEFTOVER = re.compile(
    rf"\.(?P<name>.+)\.{re.escape(platform.node())}-(?P<process>\d+)(?P<token>-[0-9a-f]+)?\.(?P<kind>part|old)"
)
_live: set[Path] = set()
"""The names that this process is using."""


def real(path: str | Path) -> Path:
    """Return where a path leads: what is written has to take the place of a link's target, not of the link.

    Args:
        path: A path that need not exist; a link may dangle.
    """
    return Path(os.path.realpath(path))


def new_name(path: Path, kind: str = "part") -> Path:
    """Return a name beside a path that nobody else has.

    Args:
        path: What it is for.
        kind: `part` for what is being made or removed, `old` for what is being replaced.
    """
    return path.with_name(f".{path.name}.{platform.node()}-{os.getpid()}-{secrets.token_hex(4)}.{kind}")


@contextmanager
def scratch(path: Path, *, folder: bool) -> Iterator[Path]:
    """Make an empty file or folder with a temporary name; what has that name at the end is removed.

    Args:
        path: The real path of what it is to become; it lies beside that.
        folder: Whether to make a folder.

    Yields:
        The temporary path.
    """
    name, lock = _made(path, folder)
    try:
        yield name
    finally:
        _remove(name)
        _release(name, lock)


@contextmanager
def aside(path: Path) -> Iterator[Path]:
    """Yield a temporary name for a folder that is being replaced.

    What has that name at the end is removed, or gets its own name back if nothing has taken its place.

    Args:
        path: The folder.

    Raises:
        FileNotFoundError: The folder is gone: another has replaced it.
    """
    name, lock = new_name(path, "old"), hold(path)  # the lock stays with the folder when the name changes
    _live.add(name)
    try:
        yield name
    finally:
        if path.exists():
            _remove(name)
        else:
            with suppress(OSError):  # of a disk that fails; the next process that writes here tries again
                name.rename(path)
        _release(name, lock)


def remove_leftovers(folder: Path, name: str | None = None) -> None:
    """Remove what processes of this machine began to write and were killed before they could tidy up.

    A folder that was just being replaced gets its name back.

    Args:
        folder: Where they lie.
        name: The name that they were to get; None: any.
    """
    if name is None:
        folder, middle = real(folder), "*"
    else:
        target = real(folder / name)
        folder, middle = target.parent, glob.escape(target.name)
    for leftover in sorted(folder.glob(f".{middle}.{glob.escape(platform.node())}-*")):
        if (found := _LEFTOVER.fullmatch(leftover.name)) is None:
            continue
        with _taken(leftover, int(found["process"]), found["token"] is not None) as abandoned:
            target = folder / found["name"]
            if not abandoned:
                continue
            if found["kind"] == "old" and not target.exists():
                leftover.rename(target)
            else:
                _remove(leftover)


@contextmanager
def _taken(leftover: Path, process: int, locked: bool) -> Iterator[bool]:
    """Say whether a temporary name is nobody's any more; until the block ends nobody else finds it so."""
    lock = None
    try:
        if locked and leftover not in _live and not leftover.is_symlink():
            lock = hold(leftover, wait=False)
    except (BlockingIOError, FileNotFoundError):
        yield False
        return
    try:
        yield leftover not in _live and (lock is not None or process == os.getpid() or not _is_running(process))
    finally:
        if lock is not None:
            free(lock)


def _made(path: Path, folder: bool) -> tuple[Path, int | None]:
    """Make a file or folder with a temporary name, and take its lock if there are locks."""
    while True:
        name = new_name(path)
        _live.add(name)
        try:
            if folder:
                name.mkdir()
            else:
                os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except BaseException:
            _live.discard(name)
            raise
        try:
            return name, hold(name)
        except FileNotFoundError:  # another process took it for a dead one's before it was locked
            _live.discard(name)


def _release(name: Path, lock: int | None) -> None:
    _live.discard(name)
    if lock is not None:
        free(lock)


def _remove(path: Path) -> None:
    """Remove a file, link or folder if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):  # of a disk that fails, and that is not what the caller has to know
            path.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    if os.name != "posix":
        return True  # there is no harmless way to ask
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # another user's; no number of a process
        return True
    return True
