"""Do thousands of predictions and hundreds of fits in one process, and see that it keeps nothing of them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from tests.soak.picture import draw
from tests.soak.watch import Sample, growth, problems
from tests.soak.work import LONGEST, soak
from textxfer.files import write_text


def main(arguments: Sequence[str] | None = None) -> int:
    """Soak; the exit code is 1 if something was kept."""
    options = _options(arguments)
    torch.set_num_threads(options.threads)
    predictions = -(-options.predictions // options.fits)
    samples: list[Sample] = []
    for each in soak(options.fits, predictions, options.lengths, options.seed):
        samples.append(each)
        if options.verbose or each.fits % 20 == 0:
            print(f"{each.fits} fits, {each.predictions:,} predictions, {each.rss / 2**20:.1f} MiB", flush=True)
    steady = samples[options.warmup :]
    told = problems(steady)
    if options.out is not None:
        write_text(options.out / "samples.jsonl", "".join(f"{json.dumps(asdict(each))}\n" for each in samples))
        draw(samples, options.warmup, options.out / "soak.svg")
    shares = ", ".join(f"{name} {100 * share:+.2f} %" for name, share in growth(steady).items())
    print(f"{samples[-1].seconds:.0f} s; after the first {options.warmup} fits: {shares}")
    print("\n".join(f"KEPT {line}" for line in told) or "nothing was kept")
    return 1 if told else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--out", type=Path, help="where samples.jsonl and the curve soak.svg are written")
    parser.add_argument("--fits", type=int, default=200, help="fits in all, one a round")
    parser.add_argument("--predictions", type=int, default=10_000, help="predictions in all")
    parser.add_argument("--warmup", type=int, default=35, help="rounds that do not count, for caches to fill")
    parser.add_argument("--lengths", type=int, default=LONGEST, help="different lengths of the texts")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    parser.add_argument("--seed", type=int, default=0, help="what texts are drawn from")
    parser.add_argument("--verbose", action="store_true", help="print each round")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
