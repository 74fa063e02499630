"""A corpus of a billion tokens in a sparse file: what a process has in memory that reads batches of it.

`python -m tests.soak.billion FOLDER` writes the store. Given again it opens the store and prints, as JSON, by how many
MiB the process has grown at most while it opened it, and while it read batches as one of 64 processes and as the only
one. What counts is the process's own memory; pages of the file that are mapped belong to the system's cache, which
takes them back when it needs room. The file says that it has 2 GB and takes next to nothing on the disk: where nothing
was written, it reads as zeros.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np

from tests.text.samples import words
from textxfer.text import LMBatches, TokenStore, from_texts
from textxfer.text.store_files import IDS, Built, id_dtype, write_rest
from textxfer.text.tokenizer import RulesTokenizer

TOKENS, PER_DOCUMENT = 10**9, 3_460  # as many to a document as Wikipedia's articles have
MARK, LANES, WORLD, BATCHES = 9, 64, 64, 600


def write_sparse(folder: Path, tokens: int = TOKENS) -> TokenStore:
    """Write a store of so many tokens without writing tokens, but for a mark at each lane of the last process.

    Returns:
        The store, opened without reading it all.
    """
    folder.mkdir()
    texts = from_texts([" ".join(words(np.random.default_rng(0), 2_000))])
    small = TokenStore.build(None, texts, RulesTokenizer(), min_count=1)
    dtype, documents = id_dtype(small.vocab), tokens // PER_DOCUMENT
    with (folder / IDS).open("wb") as file:
        os.truncate(file.fileno(), tokens * dtype.itemsize)
        for place in marks(tokens):
            file.seek(place * dtype.itemsize)
            file.write(np.array([MARK], dtype).tobytes())
    offsets = np.append(np.arange(documents, dtype=np.int64) * PER_DOCUMENT, tokens)
    arrays = {"offsets": offsets, "rows": np.arange(1, documents + 1), "labels": np.full(documents, -1)}
    meta = small.meta | {"documents": documents, "tokens": tokens}
    write_rest(folder, Built(folder, np.empty(0, dtype), arrays, small.vocab, small.tokenizer, meta))
    return TokenStore.open(folder, verify=False)


def marks(tokens: int) -> list[int]:
    """Return where the lanes of the last process begin, but for the first token of it all; what is marked there."""
    lane = -(-tokens // (LANES * WORLD))
    return [(LANES * (WORLD - 1) + each) * lane for each in range(LANES)]


class Meter:
    """The largest own memory that this process has had while it was asked for."""

    def __init__(self) -> None:
        self.start = self.most = own_memory()

    def look(self) -> None:
        """Look again."""
        self.most = max(self.most, own_memory())


def own_memory() -> float:
    """Return the memory of this process that is no part of a file, MiB."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


@contextmanager
def measured(name: str) -> Iterator[Meter]:
    """Print by how much the process has grown, and how long it took."""
    meter, began = Meter(), time.monotonic()
    yield meter
    seconds = time.monotonic() - began
    meter.look()
    print(
        json.dumps({"what": name, "mib": round(meter.most - meter.start, 1), "seconds": round(seconds, 2)}), flush=True
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the store if it is not there, else open it and read."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.billion", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the store is, or is to be written")
    parser.add_argument("--verify", action="store_true", help="read the whole file and compare its checksum")
    options = parser.parse_args(arguments)
    if not options.folder.exists():
        write_sparse(options.folder)
        return
    with measured("opening"):
        store = TokenStore.open(options.folder, verify=options.verify)
    last = LMBatches(store, LANES, rank=WORLD - 1, world=WORLD, shuffle=False)
    first = next(iter(last))
    assert (first.inputs[0][1] == MARK).all() and (first.inputs[0][2:] != MARK).all()
    for name, loader in {
        "one of 64": LMBatches(store, LANES, rank=WORLD - 1, world=WORLD),
        "alone": LMBatches(store, LANES),
        "alone, windows that vary": LMBatches(store, LANES, vary_bptt=True),
    }.items():
        with measured(name) as meter:
            for batch in islice(loader, BATCHES):
                assert batch.n <= LANES * loader.lane_length
                meter.look()


if __name__ == "__main__":
    main()
