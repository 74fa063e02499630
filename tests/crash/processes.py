"""Processes that run `textxfer`: forked by the server, or started by the true command line."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from tests.crash.rights import obey_modes

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 300.0
"""Seconds after which a process that does not end counts as hanging."""


class Hangs(Exception):
    """A process has not ended in a long time."""


class Running(Protocol):
    """A process that runs a command."""

    pid: int

    def wait(self, seconds: float) -> bool:
        """Wait for at most so long; whether it has ended."""
        ...

    def code(self) -> int:
        """Return the exit code of a process that has ended; of one that a signal ended, its number below zero."""
        ...


@dataclass(frozen=True)
class Command:
    """What a process runs.

    Attributes:
        arguments: Those of `textxfer`.
        log: The file for all that it prints.
        obeys: Whether it obeys the modes of folders even as root.
        keep_all: Whether it keeps the state behind each batch.
        seen: Where it copies the last states to before they are removed; None: nowhere.
    """

    arguments: Sequence[str]
    log: Path
    obeys: bool = False
    keep_all: bool = False
    seen: Path | None = None


class Server:
    """Forks processes that have textxfer imported already; one at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
            cwd=ROOT,
            bufsize=0,  # a line is read byte by byte: `select` knows nothing of what waits in a buffer
            start_new_session=True,
        )
        assert self._process.stdin and self._process.stdout
        self._to: IO[bytes] = self._process.stdin
        self._from: IO[bytes] = self._process.stdout
        self.read()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exception: object) -> None:
        """End the server; it goes when there are no more requests."""
        self._to.close()
        self._from.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def start(self, command: Command) -> Running:
        """Fork a process."""
        self.write(
            {
                "arguments": list(command.arguments),
                "log": str(command.log),
                "obeys": command.obeys,
                "keep_all": command.keep_all,
                "seen": None if command.seen is None else str(command.seen),
            }
        )
        return _Forked(self, self.read()["pid"])

    def write(self, request: dict[str, Any]) -> None:
        """Send a request."""
        self._to.write(json.dumps(request).encode() + b"\n")

    def read(self) -> dict[str, int]:
        """Wait for an answer."""
        line = self._from.readline()
        if not line:
            raise RuntimeError("the server has ended")
        return json.loads(line)

    def answers(self, seconds: float) -> bool:
        """Whether there is an answer, or one comes in so many seconds."""
        return bool(select.select([self._from], [], [], max(seconds, 0))[0])


class _Forked:
    def __init__(self, server: Server, pid: int) -> None:
        self.pid = pid
        self._server = server
        self._ended = False
        self._code: int | None = None

    def wait(self, seconds: float) -> bool:
        if not self._ended and self._server.answers(seconds):
            self._server.read()
            self._ended = True
        return self._ended

    def code(self) -> int:
        if self._code is None:
            self._server.write({})
            self._code = self._server.read()["code"]
        return self._code


class TrueCommand:
    """A process as people start it, with all its imports and plots."""

    def __init__(self, command: Command) -> None:
        with command.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "textxfer", *command.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(),
                cwd=ROOT,
                preexec_fn=obey_modes if command.obeys else None,
            )
        self.pid = self._process.pid

    def wait(self, seconds: float) -> bool:
        """See `Running`."""
        if self._process.returncode is not None:
            return True
        # waitid leaves it in the table of processes: its number cannot come to mean another one before `code`.
        until = time.monotonic() + seconds
        while os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
            if time.monotonic() >= until:
                return False
            time.sleep(min(0.02, max(seconds, 0.001)))
        return True

    def code(self) -> int:
        """See `Running`."""
        return self._process.wait()


def finish(process: Running, seconds: float = PATIENCE) -> int:
    """Wait for the end of a process and return its exit code.

    Raises:
        Hangs: It did not come.
    """
    if not process.wait(seconds):
        raise Hangs(f"no end after {seconds:.0f} s")
    return process.code()


def stop(process: Running) -> None:
    """End a process because something is wrong, however far it is."""
    if not process.wait(0):
        send(process, signal.SIGKILL)
        process.wait(PATIENCE)
    process.code()


def send(process: Running, number: int) -> None:
    """Send a signal; `code` must not have been called."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, number)


def environment() -> dict[str, str]:
    """The variables of a process: one thread, warnings are shown, and no trace of a launcher."""
    own = {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "MPLBACKEND": "Agg"}
    return {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")} | own
