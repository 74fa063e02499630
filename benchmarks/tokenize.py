"""Text to ids: textxfer, fastai, spaCy and Hugging Face `tokenizers` on IMDb's training set, side by side.

    python -m benchmarks.tokenize                  # five interleaved rounds, about 15 minutes on 2 cores
    python -m benchmarks.tokenize --quick          # 1,000 reviews, one round

Each implementation goes from texts in memory to an array of ids; textxfer also reads the labels, writes the store to
disk and hashes what it read. Its ids are compared with those of its plain reference pass before anything is timed
(`benchmarks.fastai_tokens` compares the tokens of preset `fastai` with fastai's own).
"""

from __future__ import annotations

import argparse
import csv
import gzip
import os
import random
import shutil
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks import memory, results

SUITE = "tokenize"
Run = Callable[[], int]


def fastai(texts: list[str], n_workers: int) -> Run:
    """fastai 2.8: `tokenize_df`, `make_vocab`, `Numericalize`."""
    import pandas as pd

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from fastai.text.core import tokenize_df
        from fastai.text.data import Numericalize, make_vocab

    def run() -> int:
        processes = n_workers if n_workers > 1 else 0  # 0: this process, which is faster than a single other one
        frame, count = tokenize_df(pd.DataFrame({"text": texts}), "text", n_workers=processes)
        numericalize = Numericalize(make_vocab(count))
        return sum(len(numericalize(tokens)) for tokens in frame["text"])

    return run


def spacy_plain(texts: list[str], _: int) -> Run:
    """spaCy's tokenizer without rules, then a vocabulary and ids by dictionary."""
    import spacy

    def run() -> int:
        tokenizer: Any = spacy.blank("en").tokenizer  # its type has no `pipe`
        pipe = tokenizer.pipe(texts)
        documents = [[token.text for token in document] for document in pipe]
        count = Counter(token for document in documents for token in document)
        number = {token: i for i, (token, _) in enumerate(count.most_common(60_000), 1)}
        return sum(len(np.fromiter((number.get(t, 0) for t in d), np.int32, len(d))) for d in documents)

    return run


def huggingface(texts: list[str], _: int) -> Run:
    """Hugging Face `tokenizers`, word level: trained and applied; no rules, words and punctuation by white space."""
    import tokenizers

    def run() -> int:
        tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(unk_token="xxunk"))
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
        trainer = tokenizers.trainers.WordLevelTrainer(vocab_size=60_000, special_tokens=["xxunk"], show_progress=False)
        tokenizer.train_from_iterator(texts, trainer)
        return sum(len(np.array(encoding.ids, np.int32)) for encoding in tokenizer.encode_batch(texts))

    return run


def textxfer(texts: list[str], n_workers: int) -> Run:
    """textxfer, cold: nothing remembered; documents to a store on disk."""
    from textxfer.text import SpacyTokenizer, TokenStore

    def run() -> int:
        folder = tempfile.mkdtemp(prefix="bench-tokenize-")
        try:
            return TokenStore.build(folder, texts, SpacyTokenizer("en"), n_workers=n_workers).n_tokens
        finally:
            shutil.rmtree(folder)

    return run


def textxfer_warm(texts: list[str], _: int) -> Run:
    """textxfer, text by text with a tokenizer that has seen all words and a vocabulary that is there."""
    from textxfer.text import SpacyTokenizer, TokenStore

    tokenizer = SpacyTokenizer("en")
    vocab = TokenStore.build(None, texts, tokenizer).vocab
    for text in texts:
        tokenizer(text)

    def run() -> int:
        return sum(len(vocab.ids(tokenizer(text))) for text in texts)

    return run


CASES: list[tuple[str, Callable[[list[str], int], Run], int]] = [
    ("fastai", fastai, 1),
    ("fastai", fastai, 2),
    ("spacy", spacy_plain, 1),
    ("tokenizers", huggingface, 1),
    ("textxfer", textxfer, 1),
    ("textxfer", textxfer, 2),
    ("textxfer-warm", textxfer_warm, 1),
]


def read_texts(path: Path, n: int | None, column: str = "text") -> list[str]:
    """Read the first `n` texts of a column of a gzip'd CSV."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return [row[column] for row in islice(csv.DictReader(file), n)]


def check(texts: list[str]) -> dict[str, int]:
    """Compare ids with the plain reference pass; return the number of documents compared and of those that differ."""
    from textxfer.text import SpacyTokenizer, TokenStore

    store = TokenStore.build(None, texts, SpacyTokenizer("en"), n_workers=2)
    plain = SpacyTokenizer("en")
    wrong = sum(
        not np.array_equal(store[i], store.vocab.ids(plain.reference(text)).astype(store.ids.dtype))
        for i, text in enumerate(texts)
    )
    return {"documents": len(texts), "documents_that_differ": wrong}


def measure(texts: list[str], rounds: int) -> list[dict[str, Any]]:
    """Time all implementations in turn, round after round."""
    runs = [(impl, n_workers, factory(texts, n_workers)) for impl, factory, n_workers in CASES]
    seconds: dict[tuple[str, int], list[float]] = {(impl, n_workers): [] for impl, n_workers, _ in runs}
    tokens: dict[tuple[str, int], int] = {}
    for number in range(rounds):
        for impl, n_workers, run in random.Random(number).sample(runs, len(runs)):
            began = time.perf_counter()
            tokens[impl, n_workers] = run()
            seconds[impl, n_workers].append(time.perf_counter() - began)
            print(f"round {number}, {impl}, {n_workers} worker(s): {seconds[impl, n_workers][-1]:.2f} s", flush=True)
    rows = []
    for (impl, n_workers), times in seconds.items():
        figures: dict[str, Any] = {"workers": n_workers, "tokens": tokens[impl, n_workers]}
        figures["tokens_per_s"] = round(tokens[impl, n_workers] / median(times))
        ratios = [a / b for a, b in zip(seconds["fastai", n_workers], times)]
        figures["ratio_to_fastai"] = round(median(ratios), 2)
        if (impl, 1) in seconds and n_workers > 1:
            figures["ratio_to_one_worker"] = round(median(a / b for a, b in zip(seconds[impl, 1], times)), 2)
        rows.append(results.row(SUITE, f"imdb-train-{len(texts)}", impl, times, **figures))
    return rows


def add_memory(rows: list[dict[str, Any]], path: Path, n: int | None) -> None:
    """Run each implementation once more in a process of its own, and note its peak memory."""
    for line in rows:
        limit = [] if n is None else ["--max-rows", str(n)]
        which = ["--child", line["impl"], str(line["workers"])]
        peak = memory.run(["-m", "benchmarks.tokenize", "--data", str(path), *limit, *which])
        line["peak_rss_mb"], line["peak_pss_mb"] = round(peak.rss), round(peak.pss)
        print(f"{line['impl']}, {line['workers']} worker(s): peak {peak.rss:.0f} MB", flush=True)


def main() -> None:
    """Run the suite."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("TEXTXFER_DATA", "data")) / "imdb" / "train.csv.gz"
    parser.add_argument("--data", type=Path, default=default, help="gzip'd CSV with a column text")
    parser.add_argument("--max-rows", type=int, help="only the first texts")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="1,000 texts, one round, results printed only")
    parser.add_argument("--child", nargs=2, metavar=("IMPL", "WORKERS"), help="one run, for its memory")
    options = parser.parse_args()
    n = 1000 if options.quick else options.max_rows
    texts = read_texts(options.data, n)
    if options.child:
        impl, n_workers = options.child[0], int(options.child[1])
        factory = next(factory for name, factory, _ in CASES if name == impl)
        print(factory(texts, n_workers)())
        return
    checked = check(texts)
    print(f"ids against the plain reference pass: {checked}", flush=True)
    if checked["documents_that_differ"]:
        raise SystemExit("the fast path does not give the ids of the reference")
    rows = measure(texts, 1 if options.quick else options.rounds)
    add_memory(rows, options.data, n)
    for line in rows:
        if line["impl"].startswith("textxfer"):
            line |= checked
    shown = ["impl", "workers", "median_ms", "tokens_per_s", "ratio_to_fastai", "ratio_to_one_worker", "peak_rss_mb"]
    print(results.table(rows, shown))
    if not options.quick:
        print(f"written to {results.write(SUITE, rows)}")


if __name__ == "__main__":
    os.environ.setdefault("RAYON_NUM_THREADS", "1")  # one core for `tokenizers`, as for the others
    main()
