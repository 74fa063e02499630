"""Times of implementations that take turns, and the ratios between them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

import torch

from benchmarks import results

if TYPE_CHECKING:
    from benchmarks.driver import Case, Impl, Options


@dataclass(frozen=True)
class Timed:
    """What the rounds gave, by implementation.

    Attributes:
        seconds: Wall time of each round, on CUDA until the device is done.
        host: On CUDA, the part of it after which the host could go on.
        peaks: On CUDA, largest number of bytes that a round took on top of what was there.
    """

    seconds: dict[str, list[float]]
    host: dict[str, list[float]]
    peaks: dict[str, int]


def interleave(runs: Mapping[Impl, Callable[[], Any]], options: Options) -> Timed:
    """Run each implementation once per round, in an order that is shuffled for each round."""
    names = [impl.name for impl in runs]
    timed = Timed({name: [] for name in names}, {name: [] for name in names}, dict.fromkeys(names, 0))
    for number in range(options.size(options.rounds, 2)):
        for impl in random.Random(number).sample(list(runs), len(runs)):
            before = _reset_peak(options)
            began = time.perf_counter()
            runs[impl]()
            host = time.perf_counter() - began
            _wait(options)
            timed.seconds[impl.name].append((time.perf_counter() - began) / impl.repeats)
            timed.host[impl.name].append(host / impl.repeats)
            if options.device == "cuda":
                timed.peaks[impl.name] = max(timed.peaks[impl.name], torch.cuda.max_memory_allocated() - before)
    return timed


def row(
    suite: str, case: Case, impl: Impl, timed: Timed, options: Options, ceiling: Mapping[str, float]
) -> dict[str, Any]:
    """Return the result line of an implementation."""
    seconds = timed.seconds[impl.name]
    middle = median(seconds)
    figures: dict[str, Any] = {"device": options.device, "dtype": impl.dtype, "threads": torch.get_num_threads()}
    if case.steps > 1:
        figures |= {"steps": case.steps, "ms_per_step": _rounded(1000 * middle / case.steps)}
    if options.device == "cuda":
        figures["host_ms"] = _rounded(1000 * median(timed.host[impl.name]))
    figures |= {case.unit: case.count, f"{case.unit}_per_s": _rounded(case.count / middle)}
    for peer in case.peers:
        figures |= ratio(timed.seconds, impl.name, peer)
    flops = case.flops if impl.flops is None else impl.flops
    if flops and impl.dtype in ceiling:
        achieved = flops / middle
        figures |= {"gflops": _rounded(achieved / 1e9), "ceiling_gflops": _rounded(ceiling[impl.dtype] / 1e9)}
        figures["ceiling_share"] = _rounded(achieved / ceiling[impl.dtype])
    return results.row(suite, case.name, impl.name, seconds, **figures, **case.figures, **impl.figures)


def ratio(seconds: Mapping[str, list[float]], name: str, peer: str) -> dict[str, float | str]:
    """Compare with the fastest variant of a peer: its time over the own, median and quartiles over the rounds.

    Args:
        seconds: Times of the rounds by implementation.
        name: The implementation.
        peer: The peer: all implementations of that name, and those of names that begin with it and a hyphen.
    """
    variants = [other for other in seconds if other == peer or other.startswith(f"{peer}-")]
    if not variants:
        return {}
    best = min(variants, key=lambda other: median(seconds[other]))
    ratios = [theirs / own for theirs, own in zip(seconds[best], seconds[name])]
    low, middle, high = quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    return {
        f"ratio_to_{peer}": _rounded(middle),
        f"ratio_to_{peer}_q1": _rounded(low),
        f"ratio_to_{peer}_q3": _rounded(high),
        **({f"fastest_{peer}": best} if len(variants) > 1 else {}),
    }


def allocated(options: Options) -> int:
    """Return the bytes that torch holds on the CUDA device; 0 on a CPU."""
    _wait(options)
    return torch.cuda.memory_allocated() if options.device == "cuda" else 0


def _reset_peak(options: Options) -> int:
    before = allocated(options)
    if options.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    return before


def _wait(options: Options) -> None:
    if options.device == "cuda":
        torch.cuda.synchronize()


def _rounded(value: float) -> float:
    """Round to four digits that count."""
    return float(f"{value:.4g}")
