"""The first pass of building a store: documents to provisional ids, in one process or several.

Each token gets the number of its first appearance. The text is tokenized once; when all tokens are counted and the
vocabulary is chosen, the second pass only renumbers.
"""

from __future__ import annotations

import hashlib
import multiprocessing
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import chain, islice
from typing import NamedTuple

import numpy as np

from textxfer.text.document import Document
from textxfer.text.tokenizer import Tokenizer

BATCH_CHARACTERS = 1 << 20
"""Work is dealt out in pieces of about this size, however many processes there are."""


class Encoded(NamedTuple):
    """Some documents after the first pass.

    Attributes:
        types: The distinct tokens, in the order in which they first appear.
        ids: Positions in `types`, all documents one after the other (int32).
        lengths: Number of tokens of each document (int64).
    """

    types: list[str]
    ids: np.ndarray
    lengths: np.ndarray


class Numbering:
    """Numbers for tokens in the order of their first appearance, and their counts."""

    def __init__(self) -> None:
        self.number: defaultdict[str, int] = defaultdict()
        self.number.default_factory = self.number.__len__
        self._counts = np.zeros(1 << 12, np.int64)

    def take(self, encoded: Encoded) -> np.ndarray:
        """Count the tokens of some documents and return their ids in this numbering (int32)."""
        numbers = np.fromiter(map(self.number.__getitem__, encoded.types), np.int32, len(encoded.types))
        if len(self.number) > len(self._counts):
            self._counts = np.concatenate([self._counts, np.zeros(len(self.number), np.int64)])
        self._counts[numbers] += np.bincount(encoded.ids, minlength=len(numbers))
        return numbers[encoded.ids]

    def tokens(self) -> list[str]:
        """Return the tokens in the order of their numbers."""
        return list(self.number)

    def counts(self) -> dict[str, int]:
        """Return how often each token was seen."""
        return dict(zip(self.number, self._counts.tolist()))


class SourceHash:
    """SHA-256 over texts, labels and row numbers of documents in their order."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, document: Document) -> None:
        """Add a document."""
        text = document.text.encode("utf-8", "surrogatepass")
        label = b"\0" if document.label is None else document.label.encode("utf-8", "surrogatepass")
        self._hash.update(f"{len(text)},{len(label)},{document.row};".encode())
        self._hash.update(text)
        self._hash.update(label)

    def hexdigest(self) -> str:
        """Return the hash of what was added so far."""
        return self._hash.hexdigest()


def encode(texts: Iterable[str], tokenizer: Tokenizer, n_workers: int = 1) -> Iterator[Encoded]:
    """Tokenize texts piece by piece, in their order.

    Args:
        texts: The texts; consumed only a few pieces ahead.
        tokenizer: The tokenizer; it must be picklable if there are several processes.
        n_workers: Number of processes; 1 means this one. The result does not depend on it.
    """
    pieces = _pieces(texts)
    head = list(islice(pieces, 2))
    pieces = chain(head, pieces)
    if n_workers == 1 or len(head) < 2:
        yield from (_encode_piece(tokenizer, piece) for piece in pieces)
        return
    # Fresh processes, not forks: a fork of a process with threads (torch has some) can hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_workers, context, initializer=_start_worker, initargs=(tokenizer,)) as pool:
        waiting: deque[Future[Encoded]] = deque()
        for piece in pieces:
            waiting.append(pool.submit(_encode_in_worker, piece))
            if len(waiting) > 2 * n_workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _pieces(texts: Iterable[str]) -> Iterator[list[str]]:
    piece: list[str] = []
    size = 0
    for text in texts:
        piece.append(text)
        size += len(text)
        if size >= BATCH_CHARACTERS:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece


def _encode_piece(tokenizer: Tokenizer, texts: list[str]) -> Encoded:
    number: defaultdict[str, int] = defaultdict()
    number.default_factory = number.__len__
    lengths = np.empty(len(texts), np.int64)
    ids = []
    for i, text in enumerate(texts):
        tokens = tokenizer(text)
        lengths[i] = len(tokens)
        ids.append(np.fromiter(map(number.__getitem__, tokens), np.int32, len(tokens)))
    return Encoded(list(number), np.concatenate(ids), lengths)


_worker_tokenizer: Tokenizer | None = None


def _start_worker(tokenizer: Tokenizer) -> None:
    global _worker_tokenizer
    _worker_tokenizer = tokenizer


def _encode_in_worker(texts: list[str]) -> Encoded:
    assert _worker_tokenizer is not None
    return _encode_piece(_worker_tokenizer, texts)
