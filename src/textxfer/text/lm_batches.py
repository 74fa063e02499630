"""Batches for language models: parallel lanes through the whole text, cut into windows.

All documents follow one another in one stream of N tokens. It is dealt out to B lanes of L = ceil(N / B) tokens; batch
after batch a window of T tokens moves down all lanes, so a recurrent state can be carried from batch to batch. Each
token is a target exactly once per epoch, the first one (predicted from `xxpad`) and the last included, so the
perplexity over an epoch does not depend on B and T.

The lanes are read in blocks of some hundred windows, so memory and the cost of a batch do not depend on the length of
the text, which may lie in files.

Shapes: T time (window), B batch (lanes), L lane length, N tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from textxfer.batch import Batch
from textxfer.text.gather import gather
from textxfer.text.store import TokenStore
from textxfer.upload import upload

IGNORE = -100
"""Target that does not count, as in torch's cross-entropy."""
PAD_ID = 1
"""Id of `xxpad` in every vocabulary made by this package; used where only ids are given."""
_BLOCK = 1 << 20  # tokens that are read at once
_SPREAD, _SHORTEST, _SHORT_SHARE = 5.0, 5, 0.05


class LMBatches:
    """A loader of `Batch((ids,), target, n)`: ids and target (T, B) int64, n the number of targets that count.

    Order and windows are functions of seed and epoch alone; `seek` starts anywhere without reading what lies before.

    Args:
        source: A store; or plain ids, which are one document.
        batch_size: Number of lanes B; per process if there are several.
        bptt: Length T of a window.
        seed: Seed of the order of documents and of the windows.
        shuffle: Whether the documents come in a new order each epoch.
        vary_bptt: Whether windows vary in length (Merity et al. 2018, section 5: mean `bptt`, halved in 5 % of the
            cases, standard deviation 5, at least 5), so that the cuts fall elsewhere each epoch.
        backward: Whether to read each document from its end; `xxbos` stays in front.
        docs: Indices of the documents to use; None: all.
        device: Where batches are; a block of them is copied there at once. None: CPU.
        rank: Number of this process.
        world: Number of processes; each gets `batch_size` of the `batch_size * world` lanes, and reads no others.
            Order and windows are those of one process with all lanes.

    Raises:
        ValueError: A size is below 1, there are no tokens, or too few for so many processes.
    """

    def __init__(
        self,
        source: TokenStore | Sequence[int] | np.ndarray,
        batch_size: int,
        bptt: int = 70,
        *,
        seed: int = 0,
        shuffle: bool = True,
        vary_bptt: bool = False,
        backward: bool = False,
        docs: Sequence[int] | np.ndarray | None = None,
        device: str | torch.device | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        for name, value in (("batch_size", batch_size), ("bptt", bptt), ("world", world)):
            if value < 1:
                raise ValueError(f"{name}={value} must be at least 1")
        if not 0 <= rank < world:
            raise ValueError(f"rank={rank} must be between 0 and world - 1 = {world - 1}")
        self.batch_size, self.bptt, self.seed = batch_size, bptt, seed
        self.shuffle, self.vary_bptt, self.backward = shuffle, vary_bptt, backward
        self.device = torch.device("cpu" if device is None else device)
        self.rank, self.world = rank, world
        self._ids, self._pad, self._starts, self._lengths = _documents(source, docs)
        self.n_tokens = int(self._lengths.sum())
        if self.n_tokens == 0:
            raise ValueError("there are no tokens to make batches of")
        self.lane_length = -(-self.n_tokens // (batch_size * world))
        # The same for all processes, so that none waits for one that has refused: the last one must have some text.
        if world > 1 and self.n_tokens <= (world - 1) * batch_size * self.lane_length:
            raise ValueError(f"{self.n_tokens} tokens are too few for {world} processes with {batch_size} lanes each")
        self._epoch = self._start = 0

    def __len__(self) -> int:
        """Number of batches of the current epoch."""
        return len(self.windows_of(self._epoch))

    def __iter__(self) -> Iterator[Batch]:
        start, self._start = self._start, 0
        return self._batches(self._epoch, start)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of documents and the windows of an epoch.

        Args:
            epoch: Number of the epoch, from 0.
        """
        self._epoch = epoch

    def seek(self, batch: int) -> None:
        """Make the next iteration, and only that one, start at a later batch.

        Args:
            batch: The first batch to produce, from 0.

        Raises:
            ValueError: It is negative.
        """
        if batch < 0:
            raise ValueError(f"batch={batch} must not be negative")
        self._start = batch

    def windows_of(self, epoch: int) -> np.ndarray:
        """Return the first and one past the last position of each window in the lanes, (batches, 2) int64.

        Args:
            epoch: Number of the epoch, from 0.
        """
        length = self.lane_length
        if self.vary_bptt:
            ends = np.cumsum(self._drawn_windows(epoch))
            ends = np.append(ends[ends < length], length)
        else:
            ends = np.append(np.arange(self.bptt, length, self.bptt), length)
        return np.stack([np.append(0, ends[:-1]), ends], axis=1)

    def _batches(self, epoch: int, start: int) -> Iterator[Batch]:
        stream = self._stream(epoch)
        real = self._targets_per_lane()
        for windows in _blocks(self.windows_of(epoch)[start:], max(_BLOCK // self.batch_size, 1)):
            origin = windows[0][0]
            lanes = self._lanes(stream, origin, windows[-1][1])
            for first, stop in windows:
                # Copies: who changes the input in place must not change targets, his own or the next batch's.
                ids = lanes[first - origin : stop - origin].clone()
                target = lanes[first + 1 - origin : stop + 1 - origin].clone()
                n = target.numel()
                if stop > real[-1]:  # positions behind the end of the text
                    n = int(np.clip(real - first, 0, stop - first).sum())
                    ids.masked_fill_(ids == IGNORE, self._pad)
                yield Batch((ids,), target, n)

    def _stream(self, epoch: int) -> _Stream:
        starts, lengths = self._starts, self._lengths
        if self.shuffle:
            order = np.random.default_rng((self.seed, epoch)).permutation(len(starts))
            starts, lengths = starts[order], lengths[order]
        return _Stream(self._ids, starts, lengths, self.backward)

    def _lanes(self, stream: _Stream, first: int, stop: int) -> Tensor:
        """Return rows `first` to `stop` (included) of the lanes: row t is the input at t and the target at t - 1."""
        lanes = np.full((self.batch_size, stop - first + 1), IGNORE, np.int64)
        # Position 0 of the whole text is the padding that the first token is predicted from.
        begin = (self.rank * self.batch_size + np.arange(self.batch_size)) * self.lane_length + first - 1
        end = np.minimum(begin + lanes.shape[1], self.n_tokens)
        column = np.arange(lanes.shape[1])
        inside = (column >= -begin[:, None]) & (column < (end - begin)[:, None])
        lanes[inside] = stream.read(begin.clip(min=0), end)
        if begin[0] < 0:
            lanes[0, 0] = self._pad
        return upload(torch.from_numpy(np.ascontiguousarray(lanes.T)), self.device)

    def _targets_per_lane(self) -> np.ndarray:
        """Number of targets of each lane of this process that count, (B,)."""
        lanes = np.arange(self.rank * self.batch_size, (self.rank + 1) * self.batch_size)
        return np.clip(self.n_tokens - lanes * self.lane_length, 0, self.lane_length)

    def _drawn_windows(self, epoch: int) -> np.ndarray:
        shortest = min(_SHORTEST, self.bptt)
        rng = np.random.default_rng((self.seed, epoch, 1))
        n = self.lane_length // shortest + 1
        mean = np.where(rng.random(n) < _SHORT_SHARE, self.bptt / 2, self.bptt)
        return np.clip(rng.normal(mean, _SPREAD).astype(np.int64), shortest, self.bptt + int(5 * _SPREAD))


class _Stream:
    """Documents one after the other, to be read from anywhere."""

    def __init__(self, ids: np.ndarray, starts: np.ndarray, lengths: np.ndarray, backward: bool) -> None:
        self._ids, self._starts, self._lengths, self._backward = ids, starts, lengths, backward
        self._ends = np.cumsum(lengths)

    def read(self, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Return the ids from each `begin` to its `end` (not included), one stretch after the other."""
        begin, end = begin[begin < end], end[begin < end]
        first, last = np.searchsorted(self._ends, begin, "right"), np.searchsorted(self._ends, end, "left")
        n = last - first + 1  # documents that each stretch has a part in
        after = np.cumsum(n)
        docs = np.arange(int(n.sum())) + np.repeat(first - (after - n), n)
        starts, lengths, ends = self._starts[docs], self._lengths[docs], self._ends[docs]
        skip = np.maximum(np.repeat(begin, n) - (ends - lengths), 0)
        take = np.minimum(np.repeat(end, n) - (ends - lengths), lengths) - skip
        return gather(self._ids, starts, lengths, skip=skip, take=take, backward=self._backward)


def _blocks(windows: np.ndarray, rows: int) -> Iterator[list[list[int]]]:
    """Gather windows to blocks of about `rows` rows."""
    block: list[list[int]] = []
    for window in windows.tolist():
        if block and window[1] - block[0][0] > rows:
            yield block
            block = []
        block.append(window)
    if block:
        yield block


def _documents(
    source: TokenStore | Sequence[int] | np.ndarray, docs: Sequence[int] | np.ndarray | None
) -> tuple[np.ndarray, int, np.ndarray, np.ndarray]:
    """Return ids, id of padding, starts and lengths of the documents to use."""
    if isinstance(source, TokenStore):
        view = source if docs is None else source.subset(docs)
        return view.base_ids, source.vocab.pad_id, view.starts, view.lengths
    if docs is not None:
        raise ValueError("docs= needs a store; plain ids are one document")
    ids = np.asarray(source)
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
        raise TypeError(f"ids must be whole numbers in one row, not {ids.dtype} of shape {ids.shape}")
    return ids, PAD_ID, np.zeros(1, np.int64), np.asarray([len(ids)])
