"""Documents that occur more than once, within a store or in two of them: word for word, or nearly so.

Exact duplicates have the same ids behind `xxbos`. What the rules and the vocabulary make equal is equal here: texts
that differ in their spaces, or in a rare word that became `xxunk`. Near duplicates share most pairs of neighbouring
tokens, see `textxfer.text.minhash`; each pair found is verified. They are looked for among the distinct documents, one
of each content, that have at least `MIN_TOKENS` tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from textxfer.text.document import DataError
from textxfer.text.minhash import band_keys, candidates, jaccard, shingle_set
from textxfer.text.store_files import differing_vocabs

if TYPE_CHECKING:
    from textxfer.text.store import TokenStore

MIN_TOKENS = 5
"""Documents with fewer tokens behind `xxbos` are compared word for word only."""


@dataclass(frozen=True, eq=False)
class Links:
    """Pairs of documents that are alike: as few as hold each group of such documents together.

    Attributes:
        pairs: Positions of the documents (int64, (P, 2)), in ascending order. Within a store the first is the smaller;
            between stores the first column is of the first store.
        similarity: Jaccard similarity of each pair (float64, (P,)), in (0, 1].
    """

    pairs: np.ndarray
    similarity: np.ndarray

    def groups(self, *, between: bool) -> list[tuple[list[int], list[int]]]:
        """Return the groups: positions in the first store, and in the second one if the pairs are between two."""
        shift = int(self.pairs.max(initial=-1)) + 1 if between else 0
        forest = _Forest()
        for a, b in self.pairs.tolist():
            forest.join(a, b + shift)
        groups: dict[int, tuple[list[int], list[int]]] = {}
        for node in sorted(forest.parent):
            second = between and node >= shift
            groups.setdefault(forest.root(node), ([], []))[second].append(node - shift * second)
        return list(groups.values())


@dataclass(frozen=True, eq=False)
class Duplicates:
    """What was found within a store, or between two.

    Attributes:
        exact: Exact duplicates.
        near: Near duplicates among distinct documents; between stores, only of documents that have no exact one.
        threshold: Least Jaccard similarity of near ones.
        eligible: Number of distinct documents that are long enough for near ones, in each store.
        compared: How many of those were looked at, in each store.
    """

    exact: Links
    near: Links
    threshold: float
    eligible: tuple[int, ...]
    compared: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Sketch:
    """What is remembered of a store in order to compare it; D documents, of which S are compared for near duplicates.

    Attributes:
        store: The store.
        contents: Hash of the ids of each document (uint64, (D,)).
        docs: Positions of the S documents (int64, (S,)).
        keys: Their keys in each band (uint64, (bands, S)).
        eligible: How many could have been compared.
        threshold: Least similarity that the bands are made for.
        seed: Seed of the hashes.
    """

    store: TokenStore
    contents: np.ndarray
    docs: np.ndarray
    keys: np.ndarray
    eligible: int
    threshold: float
    seed: int


def find_duplicates(
    store: TokenStore,
    other: TokenStore | None = None,
    *,
    threshold: float = 0.75,
    max_documents: int = 100_000,
    seed: int = 0,
) -> Duplicates:
    """Find the documents that a store holds more than once, or that two stores share.

    Args:
        store: The store.
        other: Another store with the same vocabulary and tokenizer, such as the test part; None looks within `store`.
        threshold: Least Jaccard similarity of near duplicates, in [0.5, 1]. A pair that just has it is found with a
            probability of 99 %, more similar ones are hardly ever missed. 0.75 is reached by documents of which one
            word in thirteen was replaced.
        max_documents: Number of documents per store that are looked at for near duplicates, at least 1; which ones
            depends on their contents only. Exact duplicates are looked for among all.
        seed: Seed of the hashes; the result depends on it and on the documents, not on their order.

    Raises:
        DataError: The stores have different vocabularies or tokenizers.
        ValueError: An argument is out of range.
    """
    if other is not None:
        check_comparable(store, other, "the second store")
    first = sketch(store, threshold=threshold, max_documents=max_documents, seed=seed)
    if other is None:
        return duplicates_within(first)
    return duplicates_between(first, sketch(other, threshold=threshold, max_documents=max_documents, seed=seed))


def check_comparable(store: TokenStore, other: TokenStore, name: str) -> None:
    """Refuse a store whose ids mean something else.

    Raises:
        DataError: The vocabularies or the tokenizers differ.
    """
    again = "build it with like= of the first store to compare the two"
    if store.vocab != other.vocab:
        raise DataError(f"{name}: {differing_vocabs(other.vocab, store.vocab)}; {again}")
    if store.tokenizer.fingerprint != other.tokenizer.fingerprint:
        raise DataError(f"{name}: its tokenizer {other.tokenizer} is not that of the first store; {again}")


def sketch(store: TokenStore, *, threshold: float = 0.75, max_documents: int = 100_000, seed: int = 0) -> Sketch:
    """Read a store once and keep what is needed to compare it; arguments as for `find_duplicates`."""
    if not 0.5 <= threshold <= 1:
        raise ValueError(f"threshold={threshold} must lie between 0.5 and 1")
    if max_documents < 1:
        raise ValueError(f"max_documents={max_documents} must be at least 1")
    contents = _contents(store)
    distinct = np.unique(contents, return_index=True)[1]  # in the order of the hashes, so a part of it is a sample
    eligible = distinct[store.lengths[distinct] > MIN_TOKENS]
    docs = eligible[:max_documents]
    keys = band_keys(store, docs, threshold, seed)
    return Sketch(store, contents, docs, keys, len(eligible), threshold, seed)


def duplicates_within(one: Sketch) -> Duplicates:
    """Find the documents that a store holds more than once."""
    _, firsts, kind = np.unique(one.contents, return_index=True, return_inverse=True)
    first = firsts[kind]
    copies = np.flatnonzero(first != np.arange(len(first)))
    exact = _links(_equal(one, one, np.stack([first[copies], copies], axis=1)))
    return Duplicates(exact, _near([one]), one.threshold, (one.eligible,), (len(one.docs),))


def duplicates_between(one: Sketch, two: Sketch) -> Duplicates:
    """Find the documents that two stores share; their sketches must have the same threshold and seed.

    Raises:
        ValueError: They have not.
    """
    if (one.threshold, one.seed) != (two.threshold, two.seed):
        raise ValueError("sketches of different thresholds or seeds cannot be compared")
    common, at_one, at_two = np.intersect1d(one.contents, two.contents, return_indices=True)
    in_two = np.flatnonzero(np.isin(two.contents, common))
    in_one = np.flatnonzero(np.isin(one.contents, common))
    in_one = in_one[at_one[np.searchsorted(common, one.contents[in_one])] != in_one]
    pairs = [
        np.stack([at_one[np.searchsorted(common, two.contents[in_two])], in_two], axis=1),
        np.stack([in_one, at_two[np.searchsorted(common, one.contents[in_one])]], axis=1),
    ]
    exact = _links(_equal(one, two, np.concatenate(pairs)))
    new = ~np.isin(two.contents[two.docs], common)
    rest = Sketch(two.store, two.contents, two.docs[new], two.keys[:, new], two.eligible, two.threshold, two.seed)
    compared = (len(one.docs), len(two.docs))
    return Duplicates(exact, _near([one, rest]), one.threshold, (one.eligible, two.eligible), compared)


class _Forest:
    """Groups of numbers that grow together (union-find)."""

    def __init__(self) -> None:
        self.parent: dict[int, int] = {}

    def root(self, node: int) -> int:
        parent = self.parent
        while (above := parent.setdefault(node, node)) != node:
            parent[node] = parent[above]  # shortens the way for the next time
            node = above
        return node

    def join(self, a: int, b: int) -> None:
        self.parent[self.root(b)] = self.root(a)


def _contents(store: TokenStore) -> np.ndarray:
    ids = store.base_ids
    spans = zip((store.starts + 1).tolist(), (store.starts + store.lengths).tolist())
    digests = b"".join(blake2b(ids[a:b].tobytes(), digest_size=8).digest() for a, b in spans)
    return np.frombuffer(digests, np.uint64)


def _equal(one: Sketch, two: Sketch, pairs: np.ndarray) -> np.ndarray:
    """Keep the pairs that are the same word for word, whatever their hashes say."""
    same = [np.array_equal(one.store[a][1:], two.store[b][1:]) for a, b in pairs.tolist()]
    return pairs[np.asarray(same, bool)]


def _near(sides: list[Sketch]) -> Links:
    """Verify the candidates; two documents that are in one group already need no look."""
    places = [(side, int(doc)) for side, one in enumerate(sides) for doc in one.docs]
    shingles = lru_cache(4096)(lambda node: shingle_set(sides[places[node][0]].store, places[node][1]))
    forest, found, similarity = _Forest(), [], []
    for i, j in _candidates(sides):
        if forest.root(i) != forest.root(j) and (alike := jaccard(shingles(i), shingles(j))) >= sides[0].threshold:
            forest.join(i, j)
            found.append([doc for _, doc in sorted((places[i], places[j]))])
            similarity.append(alike)
    return _links(np.asarray(found, np.int64).reshape(-1, 2), np.asarray(similarity))


def _candidates(sides: list[Sketch]) -> Iterator[tuple[int, int]]:
    """Yield the pairs that share a band, of all documents counted on; with two sides, of one document from each."""
    contents = np.concatenate([one.contents[one.docs] for one in sides])
    second = np.arange(len(contents)) >= len(sides[0].docs)
    for band, keys in enumerate(np.concatenate([one.keys for one in sides], axis=1)):
        # Another order in each band: documents of a large group have other neighbours each time.
        for a, b in candidates(keys, contents * np.uint64(2 * band + 1)):
            wanted = second[a] != second[b] if len(sides) > 1 else slice(None)
            yield from zip(a[wanted].tolist(), b[wanted].tolist())


def _links(pairs: np.ndarray, similarity: np.ndarray | None = None) -> Links:
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    return Links(pairs[order], np.ones(len(pairs)) if similarity is None else similarity[order])
