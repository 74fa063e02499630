"""A corpus in shards: its chunks are numbered and counted, and become token ids when the vocabulary is known.

Memory holds one shard: its distinct chunks and the numbers of its chunks. Finished shards go to files, and the counts
of their tokens are merged from there token by token, so the vocabulary is exact and memory bounded whatever the size of
the corpus. Where a shard ends depends on the texts alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import chain, groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from textxfer.text.encode import START, Numbering, Piece, Tokens, expand, slices, tokenize_slice
from textxfer.text.files import save_array
from textxfer.text.specials import BOS
from textxfer.text.tokenizer import Tokenizer
from textxfer.text.vocab import Vocab
from textxfer.text.workers import Mapper

DISTINCT_CHUNKS = 1 << 19
"""A shard ends with the piece in which it comes to this many distinct chunks ..."""
DISTINCT_CHARACTERS = 1 << 24
"""... or to this many characters in them: in scripts without spaces a chunk is a whole paragraph ..."""
ALL_CHUNKS = 1 << 24
"""... or to this many chunks."""
_BLOCK = 1 << 20
_TYPES, _LINE = "types.jsonl", 1024


class Shard(Protocol):
    """A finished shard."""

    def counts(self) -> Iterator[tuple[str, int]]:
        """Yield its distinct tokens in their order, and how often each occurs."""
        ...

    def load(self) -> ShardInMemory:
        """Return its contents."""
        ...


@dataclass(frozen=True, eq=False)
class ShardInMemory:
    """Contents of a shard.

    Attributes:
        types: The distinct tokens, sorted.
        occurrences: How often each occurs (int64).
        tokens: Ids, positions in `types`, of the tokens of its distinct chunks (int32).
        lengths: Number of tokens of each distinct chunk (int64).
        numbers: Which chunks its texts consist of (int32).
    """

    types: Sequence[str]
    occurrences: np.ndarray
    tokens: np.ndarray
    lengths: np.ndarray
    numbers: np.ndarray

    def counts(self) -> Iterator[tuple[str, int]]:
        """Yield the distinct tokens in their order, and how often each occurs."""
        return zip(self.types, self.occurrences.tolist())

    def load(self) -> ShardInMemory:
        """Return this."""
        return self

    def save(self, folder: Path) -> ShardOnDisk:
        """Write the contents to files in a new folder."""
        folder.mkdir()
        with (folder / _TYPES).open("w", encoding="ascii") as file:
            # Many to a line: a call of the decoder costs more than a token.
            starts = range(0, len(self.types), _LINE)
            file.writelines(json.dumps(self.types[start : start + _LINE]) + "\n" for start in starts)
        for name in ("occurrences", "tokens", "lengths", "numbers"):
            save_array(folder / f"{name}.npy", getattr(self, name))
        return ShardOnDisk(folder)


@dataclass(frozen=True)
class ShardOnDisk:
    """A shard in files.

    Args:
        folder: Where they lie.
    """

    folder: Path

    def counts(self) -> Iterator[tuple[str, int]]:
        """Yield the distinct tokens in their order, and how often each occurs."""
        return zip(self._types(), self._array("occurrences").tolist())

    def load(self) -> ShardInMemory:
        """Return the contents; the numbers of the chunks stay on disk."""
        rest = (self._array(name) for name in ("occurrences", "tokens", "lengths", "numbers"))
        return ShardInMemory(list(self._types()), *rest)

    def _types(self) -> Iterator[str]:
        with (self.folder / _TYPES).open(encoding="ascii") as file:
            yield from chain.from_iterable(map(json.loads, file))

    def _array(self, name: str) -> np.ndarray:
        return np.load(self.folder / f"{name}.npy", mmap_mode="r" if name == "numbers" else None, allow_pickle=False)


class ShardWriter:
    """Takes pieces in their order and makes shards of them.

    Args:
        tokenizer: The tokenizer.
        mapper: Where chunks are tokenized.
        folder: An existing folder for the files; None keeps the shards in memory.

    Attributes:
        shards: What is finished.
    """

    def __init__(self, tokenizer: Tokenizer, mapper: Mapper[Tokenizer], folder: Path | None) -> None:
        self.shards: list[Shard] = []
        self._tokenizer, self._map, self._folder = tokenizer, mapper, folder
        self._begin()

    @property
    def full(self) -> bool:
        """Whether the shard has to be finished."""
        return (
            len(self._numbering) >= DISTINCT_CHUNKS
            or self._n_characters >= DISTINCT_CHARACTERS
            or self._n_chunks >= ALL_CHUNKS
        )

    def add(self, piece: Piece) -> None:
        """Take the documents of a piece."""
        known = len(self._numbering)
        numbers = self._numbering.of(piece.chunks)[piece.numbers]
        self._n_characters += sum(map(len, islice(reversed(self._numbering), len(self._numbering) - known)))
        self._numbers.append(numbers)
        self._lengths.append(piece.lengths)
        self._n_chunks += len(numbers)

    def finish(self) -> np.ndarray:
        """End the shard: tokenize its distinct chunks, count the tokens, begin the next one.

        Returns:
            The number of tokens of each document of the shard (int64).
        """
        if not self._lengths:
            return np.empty(0, np.int64)
        numbers, documents, chunks = np.concatenate(self._numbers), np.concatenate(self._lengths), self._tokens()
        occurrences = np.bincount(chunks.ids, np.repeat(np.bincount(numbers), chunks.lengths), len(chunks.types))
        order = sorted(range(len(chunks.types)), key=chunks.types.__getitem__)
        place = np.empty(len(order), np.int32)
        place[order] = np.arange(len(order))
        types = [chunks.types[i] for i in order]
        shard = ShardInMemory(types, occurrences[order].astype(np.int64), place[chunks.ids], chunks.lengths, numbers)
        self.shards.append(shard if self._folder is None else shard.save(self._folder / f"{len(self.shards):05}"))
        self._begin()
        return np.add.reduceat(chunks.lengths[numbers], np.cumsum(documents) - documents)

    def _begin(self) -> None:
        self._numbering = Numbering({START: 0})
        self._numbers: list[np.ndarray] = []
        self._lengths: list[np.ndarray] = []
        self._n_chunks = self._n_characters = 0

    def _tokens(self) -> Tokens:
        """Return the tokens of all distinct chunks of the shard."""
        chunks = list(self._numbering)[1:]
        types = Numbering({BOS: 0})
        ids, lengths = [np.zeros(1, np.int32)], [np.ones(1, np.int64)]
        for tokens in self._map(tokenize_slice, slices(chunks)):
            ids.append(types.of(tokens.types)[tokens.ids])
            lengths.append(tokens.lengths)
        return Tokens(list(types), np.concatenate(ids), np.concatenate(lengths))


def counts(shards: Iterable[Shard]) -> Iterator[tuple[str, int]]:
    """Yield each distinct token of all shards and how often it occurs, in the order of the tokens."""
    streams = [shard.counts() for shard in shards]
    if len(streams) == 1:
        yield from streams[0]
        return
    for token, same in groupby(merge(*streams), itemgetter(0)):
        yield token, sum(n for _, n in same)


def final_ids(shards: Iterable[Shard], vocab: Vocab, dtype: np.dtype[Any]) -> Iterator[np.ndarray]:
    """Yield the ids of all documents, one after the other, in blocks.

    Args:
        shards: The shards in their order.
        vocab: What ids stand for.
        dtype: Type of the ids.
    """
    for shard in shards:
        contents = shard.load()
        ids = vocab.ids(contents.types).astype(dtype)[contents.tokens]
        for first in range(0, len(contents.numbers), _BLOCK):
            yield expand(contents.numbers[first : first + _BLOCK], ids, contents.lengths)
