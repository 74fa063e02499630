"""MinHash: which documents share most of their neighbouring tokens, without comparing each with each.

A document is the set of its shingles, the pairs of neighbouring tokens behind `xxbos`. The least value of a random hash
over two sets is equal with the probability of their Jaccard similarity (Broder 1997). Bands of several such values are
looked up like keys: alike documents share a band almost surely, others almost never (Leskovec, Rajaraman & Ullman,
Mining of Massive Datasets, section 3.4). Time is linear in the tokens, memory in the documents.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from textxfer.text.gather import gather

if TYPE_CHECKING:
    from textxfer.text.store import TokenStore

HASHES = 128
"""Number of random hashes; they are dealt out to the bands."""
RECALL = 0.99
"""Least probability to find a pair whose similarity is just the threshold."""
WINDOW = 32
"""With how many others, to either side, a document is compared that shares a band with very many."""
_BLOCK = 1 << 18  # tokens per step: its arrays stay in the cache


def bands_for(threshold: float) -> tuple[int, int]:
    """Return how many bands there are and how many values each has: as many as `RECALL` allows.

    Args:
        threshold: The least similarity to find, in (0, 1].
    """
    rows = max(n for n in range(1, 11) if n == 1 or 1 - (1 - threshold**n) ** (HASHES // n) >= RECALL)
    return HASHES // rows, rows


def band_keys(store: TokenStore, docs: np.ndarray, threshold: float, seed: int) -> np.ndarray:
    """Return a key for each band and document; equal keys make two documents candidates.

    Args:
        store: The store.
        docs: Positions of documents with at least two tokens behind `xxbos` (int64, (S,)).
        threshold: The least similarity to find, in (0, 1].
        seed: Seed of the hashes; keys of different seeds cannot be compared.

    Returns:
        Keys (uint64, (bands, S)).
    """
    bands, rows = bands_for(threshold)
    rng = np.random.default_rng(seed)
    factors = rng.integers(0, 1 << 32, (bands, rows), np.uint32) | np.uint32(1)
    shifts = rng.integers(0, 1 << 32, (bands, rows), np.uint32)
    keys = np.empty((bands, len(docs)), np.uint64)
    for block in _blocks(store.lengths[docs]):
        shingles, firsts = _shingles(store, docs[block])
        values = _mixed(shingles)
        for band in range(bands):
            key = np.zeros(len(firsts), np.uint64)
            for factor, shift in zip(factors[band], shifts[band]):
                key ^= np.minimum.reduceat(values * factor + shift, firsts)
                key *= np.uint64(0x100000001B3)
            keys[band, block] = key
    return keys


def candidates(keys: np.ndarray, ranks: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield pairs of documents with the same key of a band, piece by piece, each pair once.

    Of more than `WINDOW` documents with one key, each is paired with its neighbours only.

    Args:
        keys: Keys of one band (uint64, (S,)).
        ranks: What puts documents with the same key in order (uint64, (S,)); made of their contents, so that the order
            of the documents does not matter.
    """
    order = np.lexsort((ranks, keys))
    ordered = keys[order]
    for lag in range(1, WINDOW + 1):
        at = np.flatnonzero(ordered[lag:] == ordered[:-lag])
        if not at.size:
            return
        yield order[at], order[at + lag]


def shingle_set(store: TokenStore, doc: int) -> np.ndarray:
    """Return the distinct shingles of a document, ascending (uint64)."""
    return np.unique(_joined(store[doc][1:]))


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    """Return the share of elements of either set that both have; the sets are ascending and not both empty."""
    if min(len(a), len(b)) == 0:
        return 0.0
    common = int(np.count_nonzero(b[np.searchsorted(b[:-1], a)] == a))
    return common / (len(a) + len(b) - common)


def _joined(ids: np.ndarray) -> np.ndarray:
    """Write each pair of neighbours as one number: no two pairs have the same."""
    wide = ids.astype(np.uint64)
    return (wide[:-1] << np.uint64(32)) | wide[1:]


def _shingles(store: TokenStore, docs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the shingles of documents, one document after the other, and where each begins."""
    lengths = store.lengths[docs] - 1
    pairs = _joined(gather(store.base_ids, store.starts[docs] + 1, lengths))
    ends = np.cumsum(lengths)
    within = np.ones(len(pairs), bool)
    within[ends[:-1] - 1] = False  # the pairs of a document's last token and the next one's first
    return pairs[within], ends - lengths - np.arange(len(docs))


def _mixed(shingles: np.ndarray) -> np.ndarray:
    """Spread shingles over 32 bits (the finalizer of SplitMix64)."""
    x = shingles.copy()
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x ^= x >> np.uint64(shift)
        x *= np.uint64(factor)
    return (x >> np.uint64(32)).astype(np.uint32)


def _blocks(lengths: np.ndarray) -> Iterator[slice]:
    """Yield stretches of documents with about `_BLOCK` tokens."""
    cuts = np.flatnonzero(np.diff(np.cumsum(lengths) // _BLOCK)) + 1
    bounds = [0, *cuts.tolist(), len(lengths)]
    yield from (slice(a, b) for a, b in pairwise(bounds) if b > a)
