"""Batches for classifiers: documents of similar length together, padded behind their end.

Shapes: T time (longest document of the batch), B batch (documents), D documents of the loader.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from textxfer.batch import Batch
from textxfer.text.document import DataError
from textxfer.text.gather import gather
from textxfer.text.store import TokenStore

Rows = TypeVar("Rows", Tensor, np.ndarray)

_JITTER = 0.05  # of a document's length: mixes batches anew and costs about half as much in padding


class ClassBatches:
    """A loader of `Batch((ids, lengths), labels, n)`.

    ids (T, B) int64 are padded with `xxpad`, lengths (B,) int64 stay on the CPU, n = B. labels are classes (B,) int64;
    if documents may have several classes, ones and zeros (B, C) float32; if they have numbers, these (B,) float32; None
    if the documents have no labels. The documents of a batch are sorted, longest first.

    With `shuffle`, documents are sorted by their length with some jitter, cut into batches, and the batches shuffled,
    all as functions of seed and epoch; the batch that needs most memory comes first. Without, they are sorted by
    length, the same each time; `order` and `unsort` lead back to the order of the documents.

    Args:
        store: The documents.
        batch_size: Number of documents B of a batch, the last one excepted; per process if there are several.
        docs: Indices of the documents to use; None: all.
        tokens_per_batch: Largest number of tokens T * B of a batch, padding included; `batch_size` then is not used.
            A longer document is a batch of its own.
        seed: Seed of the order.
        shuffle: Whether the order is new each epoch: for training.
        backward: Whether to read each document from its end; `xxbos` stays in front.
        max_tokens: Use `xxbos` and the last tokens of longer documents, so many in all; None: all tokens.
        device: Where ids and labels are put; None: CPU.
        rank: Number of this process.
        world: Number of processes. Order and batches are those of one process with `batch_size * world`; of each batch
            the processes have about as many tokens. One that is left without a document, in a last batch of fewer
            documents than processes, gets one with n = 0: it does not count.

    Raises:
        ValueError: A number is out of its range, or there are fewer documents than processes.
        DataError: Some documents have labels and others have none.
    """

    def __init__(
        self,
        store: TokenStore,
        batch_size: int = 32,
        *,
        docs: Sequence[int] | np.ndarray | None = None,
        tokens_per_batch: int | None = None,
        seed: int = 0,
        shuffle: bool = True,
        backward: bool = False,
        max_tokens: int | None = None,
        device: str | torch.device | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        for name, value in (("batch_size", batch_size), ("tokens_per_batch", tokens_per_batch), ("world", world)):
            if value is not None and value < 1:
                raise ValueError(f"{name}={value} must be at least 1")
        if max_tokens is not None and max_tokens < 2:
            raise ValueError(f"max_tokens={max_tokens} must be at least 2: xxbos and a token")
        if not 0 <= rank < world:
            raise ValueError(f"rank={rank} must be between 0 and world - 1 = {world - 1}")
        self.store = store if docs is None else store.subset(docs)
        if len(self.store) == 0:
            raise ValueError("0 documents are too few to make batches of")
        self.batch_size, self.tokens_per_batch, self.max_tokens = batch_size, tokens_per_batch, max_tokens
        self.seed, self.shuffle, self.backward = seed, shuffle, backward
        self.rank, self.world = rank, world
        self.device = torch.device("cpu" if device is None else device)
        self.lengths: np.ndarray = self.store.lengths if max_tokens is None else self.store.lengths.clip(max=max_tokens)
        self.labelled = _labelled(self.store)
        self._firsts = np.cumsum(self.store.labels) - self.store.labels  # of a document's classes, if it has several
        self._epoch = self._start = 0
        self._plan: tuple[int, list[np.ndarray]] | None = None

    def __len__(self) -> int:
        """Number of batches of the current epoch."""
        return len(self.batches_of(self._epoch))

    def __iter__(self) -> Iterator[Batch]:
        start, self._start = self._start, 0
        return map(self._batch, self.batches_of(self._epoch)[start:])

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch.

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

    @property
    def order(self) -> np.ndarray:
        """Position, among the documents of the loader, of each row that the current epoch yields, (D,) int64."""
        return np.concatenate(self.batches_of(self._epoch))

    def unsort(self, rows: Rows) -> Rows:
        """Put rows, such as predictions of one pass, into the order of the documents.

        Args:
            rows: (D, ...), in the order in which the loader yields documents.

        Returns:
            The same rows, (D, ...).

        Raises:
            ValueError: There are not D rows, or the loader does not yield all documents, as one of several processes.
        """
        order = self.order
        if not len(rows) == len(order) == len(self.store):
            raise ValueError(f"{len(rows)} rows for {len(self.store)} documents, of which {len(order)} came by here")
        place = np.argsort(order)
        if isinstance(rows, Tensor):
            return rows[torch.from_numpy(place).to(rows.device)]
        return rows[place]

    def batches_of(self, epoch: int) -> list[np.ndarray]:
        """Return the positions of the documents of each batch of an epoch.

        Args:
            epoch: Number of the epoch, from 0.
        """
        key = epoch if self.shuffle else 0
        if self._plan is None or self._plan[0] != key:
            self._plan = (key, self._cut(key))
        return self._plan[1]

    def padding_share(self) -> float:
        """Return the share of the positions in the current epoch's batches that are padding, 0 to 1."""
        lengths = [self.lengths[docs] for docs in self.batches_of(self._epoch)]
        cells = sum(int(batch.max()) * len(batch) for batch in lengths)
        return 1 - sum(int(batch.sum()) for batch in lengths) / cells

    def _cut(self, epoch: int) -> list[np.ndarray]:
        rng = np.random.default_rng((self.seed, epoch))
        key = self.lengths.astype(np.float64)
        if self.shuffle:  # the permutation decides between equal lengths, the jitter between similar ones
            key *= 1 + _JITTER * rng.random(len(key))
            mixed = rng.permutation(len(key))
            order = mixed[np.argsort(-key[mixed], kind="stable")]
        else:
            order = np.argsort(-key, kind="stable")
        batches = [batch[np.argsort(-self.lengths[batch], kind="stable")] for batch in self._pieces(order)]
        if self.shuffle:
            largest = max(range(len(batches)), key=lambda i: self.lengths[batches[i][0]] * len(batches[i]))
            batches.insert(0, batches.pop(largest))  # memory that does not suffice shows at once
            batches[1:] = [batches[1 + i] for i in rng.permutation(len(batches) - 1)]
        if self.world == 1:
            return batches
        return [_shares(batch, self.lengths, self.world, turn)[self.rank] for turn, batch in enumerate(batches)]

    def _pieces(self, order: np.ndarray) -> list[np.ndarray]:
        """Cut sorted documents into batches for all processes together."""
        return np.split(order, self._cuts_by_tokens(order) if self.tokens_per_batch else self._cuts_by_documents(order))

    def _cuts_by_documents(self, order: np.ndarray) -> list[int]:
        size = self.batch_size * self.world
        return list(range(size, len(order), size))

    def _cuts_by_tokens(self, order: np.ndarray) -> list[int]:
        cuts, first, longest, budget = [], 0, 0, self.tokens_per_batch or 0
        for i, length in enumerate(self.lengths[order].tolist()):
            longest = max(longest, length)
            most = -(-(i - first + 1) // self.world)  # documents that one process would have
            if i - first >= self.world and longest * most > budget:
                cuts.append(i)
                first, longest = i, length
        return cuts

    def _batch(self, docs: np.ndarray) -> Batch:
        n = len(docs)
        if n == 0:  # it still takes part in what all processes do: with the shortest document, which does not count
            docs = np.argmin(self.lengths, keepdims=True)
        lengths, whole, starts = self.lengths[docs], self.store.lengths[docs], self.store.starts[docs]
        step = np.arange(int(lengths.max()))[:, None]
        inside = step < lengths
        # Behind xxbos come the last tokens of the document, or all of them from the last one back.
        position = whole - step if self.backward else whole - lengths + step
        position = np.where(inside & (step > 0), position, 0)
        ids = np.where(inside, self.store.base_ids[starts + position], self.store.vocab.pad_id).astype(np.int64)
        target = torch.from_numpy(self._targets(docs)).to(self.device) if self.labelled else None
        return Batch((torch.from_numpy(ids).to(self.device), torch.from_numpy(lengths)), target, n)

    def _targets(self, docs: np.ndarray) -> np.ndarray:
        if self.store.label_kind == "number":
            return self.store.values[docs].astype(np.float32)
        labels = self.store.labels[docs]
        if self.store.label_kind == "single":
            return labels
        targets = np.zeros((len(docs), len(self.store.classes)), np.float32)
        targets[np.repeat(np.arange(len(docs)), labels), gather(self.store.label_ids, self._firsts[docs], labels)] = 1
        return targets


def _shares(docs: np.ndarray, lengths: np.ndarray, world: int, turn: int) -> list[np.ndarray]:
    """Deal the documents of a batch, longest first, to processes that then have about as many tokens each.

    A document goes to the process with the fewest tokens so far, unless that has its even share of the documents
    already, rounded up. Who comes first among equals, and has the longest document, changes from batch to batch.
    """
    most = -(-len(docs) // world)
    shares: list[list[int]] = [[] for _ in range(world)]
    tokens = [0] * world
    for doc, length in zip(docs.tolist(), lengths[docs].tolist()):
        free = (rank for rank in range(world) if len(shares[rank]) < most)
        chosen = min(free, key=lambda rank: (tokens[rank], (rank + turn) % world))
        shares[chosen].append(doc)
        tokens[chosen] += length
    return [np.asarray(share, np.int64) for share in shares]


def _labelled(store: TokenStore) -> bool:
    """Whether the documents have labels; all or none must have one."""
    missing = np.flatnonzero(store.labels < 0)
    if 0 < len(missing) < len(store):
        row = store.rows[missing[0]]
        raise DataError(f"row {row}: no label, while other documents have one; {len(missing)} are without")
    return len(missing) == 0
