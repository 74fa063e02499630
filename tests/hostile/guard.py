"""What reading a file may do: come to an end soon, take little memory, and fail with an error that names the file."""

from __future__ import annotations

import re
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from textxfer.artifact import ArtifactError
from textxfer.text.document import DataError, MissingPackageError
from textxfer.training import CheckpointError

OWN_ERRORS = (DataError, ArtifactError, CheckpointError, MissingPackageError, FileNotFoundError)
SECONDS = 20
"""Most seconds of the processor that reading may take. Files here have some kilobytes: most need milliseconds."""
_WAIT = 30
"""How many times longer it may take by the clock, on a machine that has other things to do."""
BASE_BYTES, FACTOR = 256 << 20, 64
"""Memory that reading may take: this much, and so many times the bytes of the files."""
_ROOM = 4 << 30


class Harm(AssertionError):
    """Reading did what it must not do."""


def outcome(read: Callable[[], Any], folder: Path, name: str) -> str | None:
    """Read and return the message of the error, or None if all went well.

    Raises:
        Harm: It raised another error than one of our own, did not name the file, or took too long or too much memory.
    """
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    _forget_peak()
    before = _memory("VmRSS")
    message = None
    try:
        with _limits():
            read()
    except OWN_ERRORS as error:
        message = str(error)
        if str(folder) not in message and name not in message:
            raise Harm(f"the error does not name the file: {message}") from error
    except Harm:
        raise
    except (Exception, RecursionError) as error:
        raise Harm(f"{type(error).__name__}: {error!s:.300}") from error
    taken = _memory("VmHWM") - before
    if taken > BASE_BYTES + FACTOR * size:
        raise Harm(f"{taken >> 20:,} MiB of memory for {size:,} bytes")
    return message


@contextmanager
def _limits() -> Iterator[None]:
    """End what takes too long, and refuse memory before the machine has none left."""

    def too_long(number: int, frame: object) -> None:
        raise Harm("not done in time")

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_memory("VmSize") + _ROOM, hard))
    earlier = [(number, signal.signal(number, too_long)) for number in (signal.SIGPROF, signal.SIGALRM)]
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, SECONDS * _WAIT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in earlier:
            signal.signal(number, handler)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _memory(which: str) -> int:
    found = re.search(rf"{which}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert found is not None
    return int(found[1]) << 10


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
