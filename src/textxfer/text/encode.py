"""From texts to chunks to tokens: the work on a corpus that goes to processes.

A chunk is what a tokenizer can look at by itself, mostly a word between spaces. A corpus has few distinct chunks for
its length, so the texts become numbers of chunks first (`split_piece`), and only the distinct chunks become tokens
(`tokenize_slice`), each once. Both are functions of their arguments alone: who computes what changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from textxfer.text.tokenizer import ChunkTokenizer, Tokenizer

PIECE_CHARACTERS = 1 << 20
"""Texts are dealt out in pieces of about this size, however many processes there are."""
SLICE_CHUNKS = 1 << 12
"""Distinct chunks are dealt out in slices of this many ..."""
SLICE_CHARACTERS = 1 << 18
"""... or of about this many characters: in scripts without spaces a chunk is a whole paragraph."""
START = "\0"
"""The chunk that begins every document; no chunk of a text is equal to it. It stands for `xxbos`."""


class Piece(NamedTuple):
    """Some documents as chunks.

    Attributes:
        chunks: The distinct chunks, in the order in which they first appear.
        numbers: Positions in `chunks`, all documents one after the other (int32).
        lengths: Number of chunks of each document, `START` included (int64).
    """

    chunks: list[str]
    numbers: np.ndarray
    lengths: np.ndarray


class Tokens(NamedTuple):
    """Some distinct chunks as tokens.

    Attributes:
        types: The distinct tokens, in the order in which they first appear.
        ids: Positions in `types`, all chunks one after the other (int32).
        lengths: Number of tokens of each chunk (int64); may be 0.
    """

    types: list[str]
    ids: np.ndarray
    lengths: np.ndarray


class Numbering(dict[str, int]):
    """Numbers for strings in the order of their first appearance, given when first asked for."""

    def __missing__(self, string: str) -> int:
        number = self[string] = len(self)
        return number

    def of(self, strings: Sequence[str]) -> np.ndarray:
        """Return the numbers (int32) of strings, those never seen included."""
        return np.fromiter(map(self.__getitem__, strings), np.int32, len(strings))


def pieces(texts: Iterable[str]) -> Iterator[list[str]]:
    """Gather texts to pieces of about `PIECE_CHARACTERS`."""
    piece: list[str] = []
    size = 0
    for text in texts:
        piece.append(text)
        size += len(text)
        if size >= PIECE_CHARACTERS:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece


def slices(chunks: Sequence[str]) -> Iterator[Sequence[str]]:
    """Cut distinct chunks into slices of `SLICE_CHUNKS`, or fewer if they are long; none is empty."""
    first = size = 0
    for i, chunk in enumerate(chunks):
        if i > first and (i - first == SLICE_CHUNKS or size + len(chunk) > SLICE_CHARACTERS):
            yield chunks[first:i]
            first, size = i, 0
        size += len(chunk)
    if first < len(chunks):
        yield chunks[first:]


def split_piece(tokenizer: Tokenizer, texts: Sequence[str]) -> Piece:
    """Cut texts into chunks; the chunks of a tokenizer that has none of its own are its tokens."""
    chunks_of = tokenizer.chunks if isinstance(tokenizer, ChunkTokenizer) else lambda text: tokenizer(text)[1:]
    numbering = Numbering()
    lengths = np.empty(len(texts), np.int64)
    numbers = []
    for i, text in enumerate(texts):
        chunks = chunks_of(text)
        lengths[i] = len(chunks) + 1
        numbers.append(np.fromiter(map(numbering.__getitem__, chain((START,), chunks)), np.int32, len(chunks) + 1))
    return Piece(list(numbering), np.concatenate(numbers), lengths)


def tokenize_slice(tokenizer: Tokenizer, chunks: Sequence[str]) -> Tokens:
    """Return the tokens of distinct chunks, `START` not among them."""
    numbering = Numbering()
    if isinstance(tokenizer, ChunkTokenizer):
        split = tokenizer.tokenize_chunks(chunks)
    else:
        split = [(chunk,) for chunk in chunks]
    lengths = np.fromiter(map(len, split), np.int64, len(split))
    ids = np.fromiter(map(numbering.__getitem__, chain.from_iterable(split)), np.int32, int(lengths.sum()))
    return Tokens(list(numbering), ids, lengths)


def expand(numbers: np.ndarray, ids: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Replace chunks by the ids of their tokens.

    Args:
        numbers: Which chunks.
        ids: Ids of the tokens of all distinct chunks, one chunk after the other.
        lengths: Number of tokens of each distinct chunk.
    """
    begin = (np.cumsum(lengths) - lengths)[numbers]
    length = lengths[numbers]
    after = np.cumsum(length)
    total = int(after[-1]) if len(after) else 0
    return ids[np.repeat(begin - (after - length), length) + np.arange(total)]
