"""What a suite is, and how its cases are run: correctness first, then all implementations in turn, round after round.

A suite is a module `benchmarks.<name>` that has one of two functions:

- `cases(options) -> Iterable[Case]`: the driver checks, times, measures and writes each case. The usual way.
- `run_suite(options) -> None`: the suite does all of that itself, with `results.row` and `results.write`.

A case compares implementations (`Impl`) of the same work. `Impl.build()` makes models and data and returns a `Work`,
whose `run()` is one round of the timed work; it raises `Skip` where the implementation cannot take part, as
`benchmarks.peers` does for one that is not installed. `Case.check()` returns figures
by implementation; each of them must be finite and at most `Case.limit`. Ours ends the run otherwise, before anything is
timed; a peer that computes something else is left out, for its time would mean nothing, and so is one that raises.
"""

from __future__ import annotations

import gc
import importlib
import math
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch

from benchmarks import ceilings, memory, results, timing
from benchmarks.peers import OURS, reason
from textxfer.kernels import fp16_is_usable, int8_is_usable, multiplies_bf16

Figures = Mapping[str, Mapping[str, float]]
"""Figures by implementation."""


@dataclass(frozen=True)
class Options:
    """What the command line says.

    Attributes:
        quick: Tiny sizes, few rounds, nothing written.
        rounds: How often each implementation is timed.
        device: `cpu` or `cuda`.
        threads: Threads of torch; None leaves its default.
        only: Names of the cases to run; empty: all.
        out: Folder of the result files.
        seconds: Begin no case when so many have passed; None: all cases.
        missing: Leave out cases that have results, in `out` or with those of the project.
    """

    quick: bool = False
    rounds: int = 5
    device: Literal["cpu", "cuda"] = "cpu"
    threads: int | None = None
    only: tuple[str, ...] = ()
    out: Path = results.RESULTS
    seconds: float | None = None
    missing: bool = False

    @property
    def half(self) -> bool:
        """Whether the device multiplies 16-bit numbers; on others they would take hundreds of times as long."""
        return multiplies_bf16(torch.device(self.device))

    @property
    def kind(self) -> str:
        """The device, or `cpu-fp32` for a CPU without 16-bit products: results of both kinds stand side by side."""
        return self.device if self.half else f"{self.device}-fp32"

    def has(self, dtype: str) -> bool:
        """Whether the device computes in a dtype that is called as in `Impl`."""
        if dtype == "int8":
            return int8_is_usable(torch.device(self.device))
        if dtype == "float16 weights":
            return fp16_is_usable(torch.device(self.device))
        return self.half or dtype not in ("bfloat16", "float16")

    def wants(self, suite: str, case: str, kind: str | None = None) -> bool:
        """Whether to run a case; `kind` is what its results are filed under, if not `self.kind`."""
        if self.only and case not in self.only:
            return False
        return not (self.missing and results.has(suite, case, kind or self.kind, self.out, results.RESULTS))

    def size(self, full: Any, quick: Any) -> Any:
        """Return the first, or in a quick run the second."""
        return quick if self.quick else full


@dataclass(frozen=True)
class Work:
    """An implementation that is ready.

    Attributes:
        run: One round of what is timed.
        close: Lets go of what `run` needed.
    """

    run: Callable[[], Any]
    close: Callable[[], None] = lambda: None


@dataclass(frozen=True, eq=False)
class Impl:
    """An implementation of a case.

    Attributes:
        name: Its name; variants of a peer are called `peer-variant`.
        build: Prepares it.
        dtype: What it computes in: `float32`, `bfloat16`, `float16`, `float16 weights`, `int8`.
        repeats: How many times the work of the case a round does; its time is divided by that.
        figures: Further fields of its result line.
        flops: Floating-point operations of a round, where they are not those of the case: a model of another kind.
    """

    name: str
    build: Callable[[], Work]
    dtype: str = "float32"
    repeats: int = 1
    figures: Mapping[str, Any] = field(default_factory=dict)
    flops: float | None = None


@dataclass(frozen=True)
class Case:
    """The same work by several implementations.

    Attributes:
        name: Its name.
        impls: The implementations.
        count: How many tokens, documents, ... a round handles.
        unit: What is counted.
        peers: Whom to compare with: `ratio_to_<peer>` is the time of the fastest variant of the peer over the own.
        flops: Floating-point operations of a round, by the sizes of its matrix products; 0: not counted.
        steps: Training steps of a round.
        check: Compares the implementations with a reference.
        limit: Largest figure that `check` may return.
        memory: Whether to measure the peak memory, on a CPU in a process of its own.
        warmups: Rounds before those that count; one where a round is long.
        figures: Further fields of all result lines.
    """

    name: str
    impls: list[Impl]
    count: int
    unit: str = "tokens"
    peers: tuple[str, ...] = ("fastai",)
    flops: float = 0.0
    steps: int = 1
    check: Callable[[], Figures] | None = None
    limit: float = 0.05
    memory: bool = True
    warmups: int = 2
    figures: Mapping[str, Any] = field(default_factory=dict)


def run(suite: str, options: Options) -> None:
    """Run a suite."""
    module = importlib.import_module(f"benchmarks.{suite}")
    print(f"== {suite} on {options.device}", flush=True)
    if hasattr(module, "run_suite"):
        module.run_suite(options)
        return
    began = time.monotonic()
    ceiling = ceilings.measure(options.device, options.quick)
    print("ceilings, GFLOP/s: " + ", ".join(f"{name} {value / 1e9:,.0f}" for name, value in ceiling.items()))
    for case in module.cases(options):
        if not options.wants(suite, case.name):
            continue
        if options.seconds is not None and time.monotonic() - began > options.seconds:
            print(f"{case.name} is left out: the time is over", flush=True)
            continue
        rows = _run_case(suite, case, options, ceiling)
        if rows and not options.quick:
            print(f"written to {results.write(suite, rows, options.kind, options.out)}", flush=True)


def child(suite: str, case: str, impl: str, options: Options) -> None:
    """Run one round of one implementation and nothing else, for the memory it takes."""
    cases: Iterable[Case] = importlib.import_module(f"benchmarks.{suite}").cases(options)
    chosen = next(each for each in cases if each.name == case)
    work = next(each for each in chosen.impls if each.name == impl).build()
    work.run()
    work.close()


def verify(case: Case) -> tuple[Figures, set[str]]:
    """Run the check of a case and print its figures; return them, and the peers that do not compute what they should.

    Raises:
        SystemExit: A figure of ours is not finite or above the limit.
    """
    checked = {} if case.check is None else case.check()
    wrong = set()
    for impl, figures in checked.items():
        listed = ", ".join(f"{name} {value:.2g}" for name, value in figures.items())
        print(f"{case.name}, {impl}: {listed}", flush=True)
        for name, value in figures.items():
            if math.isfinite(value) and value <= case.limit:
                continue
            if impl.startswith(OURS):
                raise SystemExit(f"{case.name}, {impl}: {name} is {value}, and at most {case.limit} is right")
            print(f"{case.name}: {impl} is left out: its {name} is {value:.2g}", flush=True)
            wrong.add(impl)
    return checked, wrong


def relative_error(found: torch.Tensor, exact: torch.Tensor) -> float:
    """Return the norm of the difference as a share of that of the exact numbers."""
    return float((found.double() - exact).norm() / exact.double().norm())


def _run_case(suite: str, case: Case, options: Options, ceiling: Mapping[str, float]) -> list[dict[str, Any]]:
    checked, wrong = verify(case)
    case = replace(case, impls=[impl for impl in case.impls if impl.name not in wrong and options.has(impl.dtype)])
    with ExitStack() as stack:
        works, held = _build(case, options, stack)
        timed = timing.interleave({impl: works[impl.name].run for impl in case.impls if impl.name in works}, options)
    del works
    gc.collect()
    if options.device == "cuda":
        torch.cuda.empty_cache()
    rows = []
    for impl in case.impls:
        if impl.name not in timed.seconds:
            continue
        line = timing.row(suite, case, impl, timed, options, ceiling)
        rows.append({**line, **memory.figures(suite, case, impl, options, timed, held), **checked.get(impl.name, {})})
    print(results.table(rows, _shown(case, rows)), flush=True)
    return rows


def _build(case: Case, options: Options, stack: ExitStack) -> tuple[dict[str, Work], dict[str, int]]:
    """Build and warm up what can take part; return the works and, on CUDA, the memory that each holds."""
    works: dict[str, Work] = {}
    held: dict[str, int] = {}
    for impl in case.impls:
        before = timing.allocated(options)
        try:
            work = impl.build()
            stack.callback(work.close)
            for _ in range(options.size(case.warmups, 1)):
                work.run()
        except Exception as error:
            print(f"{case.name}: {impl.name} is left out: {reason(impl.name, error)}", flush=True)
            continue
        works[impl.name] = work
        held[impl.name] = timing.allocated(options) - before
    return works, held


def _shown(case: Case, rows: list[dict[str, Any]]) -> list[str]:
    """Return the columns of the printed table: those that have a value in some row."""
    names = ["case", "impl", "dtype", "median_ms", "iqr_ms", "ms_per_step", f"{case.unit}_per_s"]
    names += [f"ratio_to_{peer}" for peer in case.peers]
    names += ["ceiling_share", "peak_rss_mb", "peak_mb"]
    return [name for name in names if any(row.get(name) is not None for row in rows)]
