"""Memory of a process and all that it started, sampled from outside (Linux only)."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.driver import Case, Impl, Options
    from benchmarks.timing import Timed

_EVERY = 0.05
PROC = Path("/proc")


@dataclass(frozen=True)
class Peak:
    """Largest memory seen, in MB.

    Attributes:
        rss: Sum of the resident sizes; pages that processes share count in each of them.
        pss: Sum of the proportional sizes; shared pages count once.
        output: What the command printed.
        seconds: How long it ran.
    """

    rss: float
    pss: float
    output: str
    seconds: float


def run(command: Sequence[str]) -> Peak:
    """Run a command with this Python and watch its process tree.

    Raises:
        RuntimeError: The command failed.
    """
    rss = pss = 0.0
    began = time.perf_counter()
    with subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True) as process:
        output: list[str] = []
        assert process.stdout is not None
        reader = threading.Thread(target=lambda stream: output.append(stream.read()), args=(process.stdout,))
        reader.start()
        while process.poll() is None:
            tree = _tree(process.pid)
            rss = max(rss, sum(_kilobytes(pid, "status", "VmRSS") for pid in tree) / 1024)
            pss = max(pss, sum(_kilobytes(pid, "smaps_rollup", "Pss") for pid in tree) / 1024)
            time.sleep(_EVERY)
        reader.join()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return Peak(rss, pss, "".join(output), time.perf_counter() - began)


def figures(
    suite: str, case: Case, impl: Impl, options: Options, timed: Timed, held: Mapping[str, int]
) -> dict[str, Any]:
    """Return the peak memory of an implementation: on CUDA as measured while it was timed, else of a process anew."""
    if not case.memory:
        return {}
    if options.device == "cuda":  # what it holds between rounds, and what a round takes on top
        return {"peak_mb": round((held[impl.name] + timed.peaks[impl.name]) / 2**20)}
    if options.quick:
        return {}
    threads = [] if options.threads is None else ["--threads", str(options.threads)]
    try:
        peak = run(["-m", "benchmarks", suite, "--case", case.name, "--child", impl.name, *threads])
    except RuntimeError as error:  # killed, perhaps: the times are there all the same
        print(f"{case.name}, {impl.name}: no memory: {error}", flush=True)
        return {}
    return {"peak_rss_mb": round(peak.rss)}


def _tree(root: int) -> list[int]:
    """Return the process and its descendants."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdecimal() and (parent := _parent(int(entry.name))):
            children.setdefault(parent, []).append(int(entry.name))
    found = [root]
    for pid in found:  # grows while it is read
        found += children.get(pid, [])
    return found


def _parent(pid: int) -> int:
    try:
        return int((PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:  # it has ended
        return 0


def _kilobytes(pid: int, file: str, field: str) -> int:
    try:
        lines = (PROC / str(pid) / file).read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), 0)
