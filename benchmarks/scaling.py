"""A training step of the language model by one and by several processes, and what their sums of gradients cost.

`python -m benchmarks.scaling [--quick]`. The batch is that of all processes together, each process has one thread.
`weak-` has a batch of that size for each process instead. Every number of processes is started by torchrun, in turn,
round after round; a line has the median step over all rounds. `sum_ms` is the time in which the gradients of the whole
model are summed, alone; `sum_mb` their size. The cases `all-reduce-` are sums of so many bytes by two processes.
`predicted_ms` is what `scale_model` says of the weak cases, from the step of one process and those sums. `load` is the
load of the machine before the first round and after the last one, for its other work slows ours down.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import astuple, replace
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch

from benchmarks import all_reduce, results
from benchmarks.driver import Options
from benchmarks.lm_models import Size, learner
from benchmarks.scale_model import Link, Training
from textxfer import distributed
from textxfer.callbacks._peers import join
from textxfer.callbacks._reduce import sum_gradients
from textxfer.training import Callback, Learner

FULL: Mapping[str, Size] = {
    "en-small": Size(15_000, 200, 512, 2, 16),
    "en-base": Size(30_000, 400, 1152, 3, 32),
}
QUICK: Mapping[str, Size] = {"quick": Size(500, 16, 32, 2, 8, 10)}
WARMUP, BUCKET = 2, 25e6

Seconds = dict[str, list[float]]


class Job(NamedTuple):
    """What is measured together: a model of a size by so many processes."""

    case: str
    model: str
    workers: int
    size: Size


class Watch(Callback):
    """Note when each batch ends."""

    train_only = True

    def __init__(self) -> None:
        self.ends: list[float] = []

    def after_batch(self, learn: Learner) -> None:
        self.ends.append(time.perf_counter())


def measure(size: Size, steps: int) -> Seconds:
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


def started(workers: int, steps: int, what: Sequence[str]) -> Seconds:
    """Let torchrun start the processes, and return what the first one has measured."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "seconds.json"
        torchrun = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone"]
        program = ["-m", "benchmarks.scaling", "--child", str(out), "--steps", str(steps), *what]
        env = os.environ | {"OMP_NUM_THREADS": "1"}
        subprocess.run([*torchrun, "--nproc-per-node", str(workers), *program], check=True, env=env)
        return json.loads(out.read_text())


def jobs_of(models: Mapping[str, Size], workers: Sequence[int]) -> list[Job]:
    """Return what to measure, one process first."""
    jobs = [Job("lm-step", model, each, size) for model, size in models.items() for each in workers]
    several = [job for job in jobs if job.workers > 1]
    return jobs + [job._replace(case="weak-lm-step", size=_times(job.size, job.workers)) for job in several]


def run(
    models: Mapping[str, Size], workers: Sequence[int], steps: int, rounds: int, sizes: Sequence[int]
) -> list[dict[str, Any]]:
    """Measure in turn and return the result lines; `sizes` are the bytes of the sums."""
    jobs, loads = jobs_of(models, workers), [os.getloadavg()[0]]
    found: dict[Job, list[Seconds]] = {job: [] for job in jobs}
    sums: Seconds = {str(size): [] for size in sizes}
    for _ in range(rounds):
        for job in jobs:
            numbers = [str(value) for value in astuple(job.size)]
            found[job].append(started(job.workers, steps, ["--size", *numbers]))
        for size, seconds in started(2, steps, ["--sums", *sums]).items():
            sums[size] += seconds
    loads.append(os.getloadavg()[0])
    rows = [_row(job, found[job]) for job in jobs]
    for row in rows:
        alone = next(other for other in rows if other["model"] == row["model"])
        row["ratio_to_one_worker"] = round(row["tokens_per_s"] / alone["tokens_per_s"], 3)
    rows += [
        results.row("scaling", f"all-reduce-{size}", "gloo", s, workers=2, bytes=int(size)) for size, s in sums.items()
    ]
    predict(rows)
    return [row | {"load": [round(load, 1) for load in loads]} for row in rows]


def link_of(rows: Sequence[Mapping[str, Any]]) -> Link:
    """Return the link between two processes that result lines tell of."""
    return Link.fitted({row["bytes"]: row["median_ms"] / 1000 for row in rows if "bytes" in row})


def training_of(rows: Sequence[Mapping[str, Any]], model: str) -> Training:
    """Return what result lines tell of one process that trains a model."""
    own = [row for row in rows if row.get("model") == model]
    alone = next(row for row in own if row["workers"] == 1)
    size = next(row["sum_mb"] for row in own if "sum_mb" in row)
    return Training(model, alone["median_ms"] / 1000, alone["tokens"], round(1e6 * size))


def predict(rows: Sequence[dict[str, Any]]) -> None:
    """Write into the lines of the weak cases what the model says of them."""
    for row in rows:
        if row["case"].startswith("weak-"):
            row["predicted_ms"] = round(1000 * training_of(rows, row["model"]).step(link_of(rows), row["workers"]), 2)


def _times(size: Size, factor: int) -> Size:
    return replace(size, batch=size.batch * factor)


def _row(job: Job, measured: Sequence[Seconds]) -> dict[str, Any]:
    seconds, sums = ([value for each in measured for value in each[name]] for name in ("seconds", "sums"))
    size = job.size
    name = f"{job.case}-{size.vocab}-{size.embed}-{size.hidden}-{size.layers}-{size.batch}x{size.bptt}"
    figures: dict[str, Any] = {"model": job.model, "workers": job.workers, "tokens": size.tokens}
    figures["tokens_per_s"] = round(size.tokens / median(seconds))
    if sums:
        weights = sum(4 * out * (inside + out + 2) for inside, out in size.config().sizes)
        figures["sum_mb"] = round(4 * (weights + size.vocab * (size.embed + 1)) / 1e6, 3)
        figures["sum_ms"] = round(1000 * median(sums), 2)
    return results.row("scaling", name, "textxfer", seconds, threads_per_worker=1, **figures)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    options = _parser().parse_args(arguments)
    if options.child is not None:
        torch.set_num_threads(1)
        sums = options.sums
        measured = all_reduce.measure(sums, options.steps) if sums else measure(Size(*options.size), options.steps)
        if distributed.is_main():
            options.child.write_text(json.dumps(measured))
        return
    rounds, steps = (1, 4) if options.quick else (options.rounds, options.steps)
    models, sizes = (QUICK, all_reduce.SIZES[:4]) if options.quick else (FULL, all_reduce.SIZES)
    rows = run(models, options.workers, steps, rounds, sizes)
    columns = (
        "case",
        "workers",
        "median_ms",
        "iqr_ms",
        "tokens_per_s",
        "ratio_to_one_worker",
        "sum_ms",
        "predicted_ms",
    )
    print(results.table(rows, columns))
    print(f"link: {link_of(rows)}")
    if not options.quick:
        print(f"written to {results.write('scaling', rows, folder=options.out)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one round, results printed only")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="numbers of processes, 1 first")
    parser.add_argument("--rounds", type=int, default=5, help="how often each number is measured")
    parser.add_argument("--steps", type=int, default=8, help="steps of a round")
    parser.add_argument("--out", type=Path, default=results.RESULTS, help="folder of the result file")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, nargs=6, help=argparse.SUPPRESS)
    parser.add_argument("--sums", type=int, nargs="+", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
