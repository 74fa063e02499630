"""Starting processes that train together, each with a hard limit of time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 120
"""After so many seconds a process is killed: a test fails, and nothing hangs."""


@dataclass(frozen=True)
class Ended:
    """How a process has ended: its exit code and what it printed."""

    code: int
    out: str


def environment(**variables: str) -> dict[str, str]:
    """The variables of a process: one thread, and no trace of a launcher that may have started the tests."""
    own = {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "PYTHONWARNINGS": "error"}
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RESTART_COUNT")
    return {name: value for name, value in os.environ.items() if name not in names} | own | variables


def together(
    folder: Path, *jobs: str, world: int = 2, seconds: float = SECONDS, minutes: float = 1.0, first_only: bool = False
) -> list[Ended]:
    """Run jobs of `tests.distributed.jobs` in `world` processes that meet by a file in the folder.

    With `first_only` the others are killed when the first one has ended.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.distributed.jobs", str(folder), str(world), str(minutes)]
    processes = [start([*command, str(rank), *jobs], environment()) for rank in range(world)]
    first = end(processes[0], seconds)
    return [first, *(end(process, 0.1 if first_only else seconds) for process in processes[1:])]


def torchrun(
    arguments: Sequence[str],
    *options: str,
    seconds: float = SECONDS,
    script: Sequence[str] = ("-m", "textxfer"),
    **env: str,
) -> Ended:
    """Run a program, by default the command line, by torchrun."""
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--nproc-per-node", "2", *options]
    # Warnings of torchrun itself are not ours.
    return end(start([*command, *script, *arguments], environment(PYTHONWARNINGS="ignore", **env)), seconds)


def start(command: Sequence[str], env: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        env=env,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def end(process: subprocess.Popen[str], seconds: float) -> Ended:
    """Wait for a process; after the time it is killed with all that it has started."""
    try:
        out, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, _ = process.communicate()
        out += f"\nkilled after {seconds} s"
    return Ended(process.returncode, out)
