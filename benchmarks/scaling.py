"""A training step of the language model by one and by several processes, and what their sums of gradients cost.

`python -m benchmarks.scaling [--quick]`. The batch is that of all processes together, each process has one thread.
`weak-` has a batch of that size for each process instead. Every number of processes is started by torchrun, in turn,
round after round; a line has the median step over all rounds. `sum_ms` is the time in which the gradients of the whole
model are summed, alone; `sum_mb` their size.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks import results
from benchmarks.driver import Options
from benchmarks.lm_models import Size, learner
from textxfer import distributed
from textxfer.callbacks._peers import join
from textxfer.callbacks._reduce import sum_gradients
from textxfer.training import Callback, Learner

FULL, QUICK = Size(30_000, 400, 1152, 3, 32), Size(500, 16, 32, 2, 8, 10)
WARMUP, BUCKET = 2, 25e6


class Watch(Callback):
    """Note when each batch ends."""

    train_only = True

    def __init__(self) -> None:
        self.ends: list[float] = []

    def after_batch(self, learn: Learner) -> None:
        self.ends.append(time.perf_counter())


def measure(size: Size, steps: int) -> dict[str, list[float]]:
    """Train some steps in this process and return the seconds of each, and of sums of gradients alone."""
    watch = Watch()
    learn = learner(size, steps + WARMUP, Options())
    learn.fit(1, 1e-3, [watch])
    seconds = [after - before for before, after in zip(watch.ends[WARMUP - 1 :], watch.ends[WARMUP:])]
    peers, sums = join(torch.device("cpu"), 10.0), []
    for param in learn.model.parameters():
        param.grad = torch.zeros_like(param)
    for _ in range(steps if peers else 0):
        began = time.perf_counter()
        if peers is not None:
            sum_gradients(peers, learn.model, BUCKET)
        sums.append(time.perf_counter() - began)
    return {"seconds": seconds, "sums": sums[1:]}


def started(workers: int, size: Size, steps: int) -> dict[str, list[float]]:
    """Let torchrun start the processes, and return what the first one has measured."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "seconds.json"
        torchrun = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone"]
        numbers = [str(value) for value in (size.vocab, size.embed, size.hidden, size.layers, size.batch, size.bptt)]
        program = ["-m", "benchmarks.scaling", "--child", str(out), "--steps", str(steps), "--size", *numbers]
        env = os.environ | {"OMP_NUM_THREADS": "1"}
        subprocess.run([*torchrun, "--nproc-per-node", str(workers), *program], check=True, env=env)
        return json.loads(out.read_text())


def run(size: Size, workers: Sequence[int], steps: int, rounds: int) -> list[dict[str, Any]]:
    """Measure in turn and return the result lines."""
    jobs = [("lm-step", each, size) for each in workers]
    jobs += [
        ("weak-lm-step", n, Size(size.vocab, size.embed, size.hidden, size.layers, size.batch * n, size.bptt))
        for n in workers[1:]
    ]
    found: list[list[dict[str, list[float]]]] = [[] for _ in jobs]
    for _ in range(rounds):
        for (_, n, of), results_of in zip(jobs, found):
            results_of.append(started(n, of, steps))
    rows: list[dict[str, Any]] = []
    for (case, n, of), measured in zip(jobs, found):
        seconds = [value for each in measured for value in each["seconds"]]
        rows.append(_row(case, n, of, seconds, [value for each in measured for value in each["sums"]]))
    for row in rows:
        row["ratio_to_one_worker"] = round(row["tokens_per_s"] / rows[0]["tokens_per_s"], 3)
    return rows


def _row(case: str, workers: int, size: Size, seconds: Sequence[float], sums: Sequence[float]) -> dict[str, Any]:
    name = f"{case}-{size.vocab}-{size.embed}-{size.hidden}-{size.layers}-{size.batch}x{size.bptt}"
    figures: dict[str, Any] = {"workers": workers, "tokens_per_s": round(size.tokens / median(seconds))}
    if sums:
        weights = sum(4 * out * (inside + out + 2) for inside, out in size.config().sizes)
        figures["sum_mb"] = round(4 * (weights + size.vocab * (size.embed + 1)) / 1e6, 3)
        figures["sum_ms"] = round(1000 * median(sums), 2)
    return results.row("scaling", name, "textxfer", seconds, threads_per_worker=1, **figures)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one round, results printed only")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="numbers of processes, 1 first")
    parser.add_argument("--rounds", type=int, default=3, help="how often each number is measured")
    parser.add_argument("--steps", type=int, default=8, help="steps of a round")
    parser.add_argument("--out", type=Path, default=results.RESULTS, help="folder of the result file")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, nargs=6, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child is not None:
        torch.set_num_threads(1)
        measured = measure(Size(*options.size), options.steps)
        if distributed.is_main():
            options.child.write_text(json.dumps(measured))
        return
    rounds, steps = (1, 4) if options.quick else (options.rounds, options.steps)
    rows = run(QUICK if options.quick else FULL, options.workers, steps, rounds)
    print(results.table(rows, ("case", "workers", "median_ms", "tokens_per_s", "ratio_to_one_worker", "sum_ms")))
    if not options.quick:
        print(f"written to {results.write('scaling', rows, folder=options.out)}")


if __name__ == "__main__":
    main()
