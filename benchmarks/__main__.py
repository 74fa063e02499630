"""Run benchmarks side by side: `python -m benchmarks [SUITE ...] [--quick] [--device cuda]`.

Without names all suites run that need no data. `--quick` runs them with tiny sizes and writes nothing: it shows that
they work, not how fast anything is.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks import driver, results

SUITES = ("lm_step", "lstm", "loss", "classify", "generate", "optim", "data")
GPU_SUITES = ("gpu_probe",)
PROGRAMS = ("tokenize", "corpus")
"""Suites that are programs of their own and need data sets: `python -m benchmarks.tokenize --help`."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the suites that the command line names."""
    options = _parser().parse_args(arguments)
    threads = 1 if options.quick and options.threads is None else options.threads
    if threads is not None:  # tiny products gain nothing from a second thread, and wait for it on a busy machine
        torch.set_num_threads(threads)
    if options.device == "cuda":  # for all alike; torch's default is slower for peers and for us
        torch.set_float32_matmul_precision("high")
    chosen = driver.Options(
        quick=options.quick,
        rounds=options.rounds,
        device=options.device,
        threads=threads,
        only=tuple(options.case),
        out=options.out,
        seconds=options.seconds,
        missing=options.missing,
    )
    if options.child:
        driver.child(options.suites[0], options.case[0], options.child, chosen)
        return
    for suite in options.suites or SUITES:
        if suite in PROGRAMS:
            _program(suite, options.quick)
        else:
            driver.run(suite, chosen)


def _program(suite: str, quick: bool) -> None:
    command = [sys.executable, "-W", "ignore", "-m", f"benchmarks.{suite}"]
    if quick and suite == "corpus":
        print("corpus has no quick run: it is left out")
        return
    subprocess.run([*command, *(["--quick"] if quick else [])], check=True)


def _parser() -> argparse.ArgumentParser:
    known = (*SUITES, *GPU_SUITES, *PROGRAMS)
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"some of {', '.join(known)}")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, two rounds, results printed only")
    parser.add_argument("--rounds", type=int, default=5, help="how often each implementation is timed")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, help="threads of torch; its own choice if left out, one if quick")
    parser.add_argument("--case", nargs="+", default=[], metavar="NAME", help="only these cases")
    parser.add_argument("--out", type=Path, default=results.RESULTS, help="folder of the result files")
    parser.add_argument("--seconds", type=float, help="begin no case of a suite when so many have passed")
    parser.add_argument("--missing", action="store_true", help="only cases without results, where a run was cut short")
    parser.add_argument("--child", metavar="IMPL", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
