"""A large corpus to a store: time and peak memory of all of it and of a quarter, and the speed of batches from it.

python -m benchmarks.corpus --data .../wikipedia-en    # about 10 minutes on 2 cores
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import memory, results

SUITE = "tokenize"
_BATCH_SIZE, _BPTT, _TOKENS = 64, 70, 20_000_000


def build(files: list[Path], folder: Path, n_workers: int) -> dict[str, Any]:
    """Build a store from text files that are streamed, and say how long it took."""
    from textxfer.text import SpacyTokenizer, TokenStore, read_text

    began = time.perf_counter()
    corpus = read_text(files, breaks="wiki")
    store = TokenStore.build(folder, corpus, SpacyTokenizer("en"), n_workers=n_workers, progress=True)
    seconds = time.perf_counter() - began
    return {"tokens": store.n_tokens, "documents": len(store), "types": store.meta["types"], "seconds": seconds}


def batches(folder: Path, rounds: int) -> list[dict[str, Any]]:
    """Time `LMBatches` alone over the store, and over a tenth of its documents."""
    import numpy as np

    from textxfer.text import LMBatches, TokenStore

    store = TokenStore.open(folder, verify=False)
    tenth = store.subset(np.arange(len(store) // 10))
    seconds: dict[str, list[float]] = {"all": [], "tenth": []}
    tokens = 0
    for number in range(rounds):
        for name, source in (("all", store), ("tenth", tenth)):
            loader = LMBatches(source, _BATCH_SIZE, _BPTT)
            loader.set_epoch(number)
            began, tokens = time.perf_counter(), 0
            for batch in loader:
                tokens += batch.n
                if tokens >= min(_TOKENS, tenth.n_tokens):
                    break
            seconds[name].append((time.perf_counter() - began) / tokens)
    rows = []
    for name, each in seconds.items():
        line = results.row(SUITE, f"lm-batches-{name}", "textxfer", each, workers=1)
        corpus = (store if name == "all" else tenth).n_tokens
        speed = {"tokens": corpus, "tokens_per_s": round(1 / sorted(each)[len(each) // 2])}
        rows.append({**line, **speed, "median_ms": None, "iqr_ms": None})
    return rows


def measure(data: Path, parts: int, n_workers: int, store: Path) -> dict[str, Any]:
    """Build a store of the first parts of the corpus in a process of its own."""
    command = ["-m", "benchmarks.corpus", "--data", str(data), "--child", str(store)]
    peak = memory.run([*command, "--parts", str(parts), "--workers", str(n_workers)])
    figures = json.loads(peak.output.splitlines()[-1])
    line = results.row(SUITE, f"wikipedia-en-{parts}-of-4", "textxfer", [figures.pop("seconds")], workers=n_workers)
    speed = round(1000 * figures["tokens"] / line["median_ms"])
    return {**line, **figures, "tokens_per_s": speed, "peak_rss_mb": round(peak.rss), "peak_pss_mb": round(peak.pss)}


def main() -> None:
    """Run the suite."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("TEXTXFER_DATA", "data")) / "wikipedia-en"
    parser.add_argument("--data", type=Path, default=default, help="folder with train-00.txt.xz to train-03.txt.xz")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--parts", type=int, default=4, help=argparse.SUPPRESS)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        files = [options.data / f"train-{part:02}.txt.xz" for part in range(options.parts)]
        print(json.dumps(build(files, options.child, options.workers)))
        return
    rows = []
    scratch = Path(tempfile.mkdtemp(prefix="bench-corpus-"))
    try:
        rows += [measure(options.data, parts, options.workers, scratch / str(parts)) for parts in (1, 4)]
        rows += batches(scratch / "4", rounds=5)
    finally:
        shutil.rmtree(scratch)
    print(results.table(rows, ["case", "workers", "tokens", "median_ms", "tokens_per_s", "peak_rss_mb", "peak_pss_mb"]))
    print(f"written to {results.write(SUITE, rows)}")


if __name__ == "__main__":
    main()
