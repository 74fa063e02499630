"""Facts about a GPU, its cuDNN and its torch that the design of the fast paths rests on; about two minutes.

    python -m benchmarks gpu_probe --device cuda      # or python -m benchmarks.gpu_probe

Each probe is on its own: one that fails leaves a line with its error, and the others go on. `replay_ms` is the time of
the work as a CUDA graph, which is the device's own; `host_ms` is how long Python and torch need to launch it.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator
from statistics import median
from typing import Any

import torch

from benchmarks import gpu_probes, results
from benchmarks.driver import Options
from benchmarks.gpu_layer import DEVICE, Times
from benchmarks.gpu_probes import Probe

SUITE = "gpu_probe"


def run_suite(options: Options) -> None:
    """Run all probes, or those that `options.only` names, and write what they found."""
    if not torch.cuda.is_available():
        print("gpu_probe needs a CUDA GPU, and torch finds none: nothing was measured")
        return
    began, limit = time.perf_counter(), math.inf if options.seconds is None else options.seconds
    for probe in gpu_probes.PROBES:
        case = probe.__name__
        if not options.wants(SUITE, case, DEVICE):
            continue
        rows = []
        for row in _guarded(case, probe, options):
            rows.append(row)
            print(_shown(row), flush=True)
            if time.perf_counter() - began > limit:
                print(f"{case}: cut short after {limit:.0f} s", flush=True)
                break
        if not options.quick:
            results.write(SUITE, rows, DEVICE, options.out)
        torch.cuda.empty_cache()  # raises if a probe has left the GPU unusable


def _guarded(case: str, probe: Probe, options: Options) -> Iterator[dict[str, Any]]:
    """Yield result lines; an error becomes one of them."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for impl, times, figures in probe(options):
                if times is not None:
                    figures["host_ms"] = round(1000 * median(times.host), 3)
                    figures["min_ms"] = round(1000 * min(times.wall), 3)
                yield _row(case, impl, times, figures)
    except Exception as error:
        yield _row(case, "error", None, {"error": f"{type(error).__name__}: {error}"[:500]})


def _row(case: str, impl: str, times: Times | None, figures: dict[str, Any]) -> dict[str, Any]:
    if times is not None:
        return results.row(SUITE, case, impl, times.wall, device=DEVICE, **figures)
    named = {"suite": SUITE, "case": case, "impl": impl, "device": DEVICE}
    return {**named, **figures, "versions": results.versions(DEVICE)}


def _shown(row: dict[str, Any]) -> str:
    hidden = {"suite", "case", "impl", "device", "versions", "rounds", "iqr_ms"}
    values = [f"{key} {value}" for key, value in row.items() if key not in hidden]
    return f"{row['case']}, {row['impl']}: {', '.join(values)}"


def main() -> None:
    """Run all probes."""
    run_suite(Options(device="cuda"))


if __name__ == "__main__":
    main()
