"""How and when a process is ended: a signal, a full disk or a locked folder, at a moment or in a write."""

from __future__ import annotations

import os
import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.crash.places import Place
from tests.crash.processes import Running, send

How = Literal["SIGKILL", "SIGTERM", "SIGINT", "full disk", "locked folder"]
_HOWS: dict[str, list[How]] = {
    "plain": ["SIGKILL", "SIGKILL", "SIGTERM", "SIGINT"],
    "small disk": ["full disk", "full disk", "SIGKILL"],
    "lockable": ["locked folder", "locked folder", "SIGKILL"],
}
_POLL = 0.002
_MOST = 0.7
"""Share of a command's time behind which no end is drawn."""
_CODES: dict[How, set[int]] = {
    # The number below zero: the signal came before the command heeds it, or behind that.
    "SIGKILL": {-signal.SIGKILL},
    "SIGTERM": {143, -signal.SIGTERM},
    "SIGINT": {130, -signal.SIGINT},
    "full disk": {2},
    "locked folder": {2},
}
_SAYS: dict[int, str] = {143: "ended by SIGTERM", 130: "interrupted", 2: ": error: "}


@dataclass(frozen=True)
class End:
    """An end of a process.

    Attributes:
        how: What ends it.
        after: Seconds from its start, or from the write.
        write: Which write to wait for, counted from 1 by the temporary names that appear; 0: none.
        spare: Bytes that a full disk still has.
    """

    how: How
    after: float
    write: int
    spare: int

    def __str__(self) -> str:
        if self.write:
            return f"{self.how} {1000 * self.after:.1f} ms after write {self.write} has begun"
        return f"{self.how} after {self.after:.2f} s"


def draw(generator: random.Random, kind: str, seconds: float, *, many_writes: bool) -> End:
    """Draw an end.

    Args:
        generator: What draws.
        kind: The place in which the command writes.
        seconds: How long the command may take.
        many_writes: Whether it writes states.
    """
    how = generator.choice(_HOWS[kind])
    spare = generator.choice([0, 0, 1 << 12])
    if generator.random() < 0.5:
        return End(how, generator.uniform(0, _MOST * seconds), 0, spare)
    within = generator.choice([0, 0.003, 0.03]) * generator.random()
    return End(how, within, generator.randint(1, 20) if many_writes else 1, spare)


def apply(end: End, process: Running, place: Place) -> bool:
    """Wait for the moment and end the process, which goes on to run for a while; False if it has ended before."""
    if end.write and not _writes(end.write, process, place.folder):
        return False
    if process.wait(end.after):
        return False
    if end.how == "full disk":
        place.fill(end.spare)
    elif end.how == "locked folder":
        place.lock()
    else:
        send(process, getattr(signal, end.how))
    return True


def unexpected(end: End, code: int, printed: str) -> str:
    """Say what is wrong with the exit code or the last words of a process that was ended; empty if nothing is."""
    if code == 0:
        return ""  # it was done before it noticed
    if code not in _CODES[end.how]:
        return f"it ended with code {code}"
    if code > 0 and _SAYS[code] not in printed:
        return f"it ended with code {code} and did not say so"
    if "Traceback" in printed and code != -signal.SIGINT:
        return "it printed a traceback"
    return ""


def _writes(count: int, process: Running, folder: Path) -> bool:
    """Wait until so many new temporary names have appeared; False if the process ends before."""
    known, seen = _scratch_names(folder), 0
    while not process.wait(0):
        names = _scratch_names(folder)
        seen += len(names - known)
        if seen >= count:
            return True
        known |= names
        time.sleep(_POLL)
    return False


def _scratch_names(folder: Path) -> set[str]:
    """Return the names that begin with a dot, not those within such a folder."""
    found: set[str] = set()
    for place, names, files in os.walk(folder):
        found.update(os.path.join(place, name) for name in (*names, *files) if name.startswith("."))  # noqa: PTH118
        names[:] = [name for name in names if not name.startswith(".")]
    return found
