"""What loaders yield and the loop eats.

A loader is any sized iterable of `Batch`. Two optional methods make it repeatable and resumable:
`set_epoch(epoch)` chooses the order of the epoch, `seek(batch)` makes the next iteration start at that batch
without producing the ones before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import Tensor


class Batch(NamedTuple):
    """One batch: what goes into the model, what should come out, and how much of it counts.

    Args:
        inputs: Positional arguments of the model's `forward`.
        target: What the prediction is compared with: ids of words, (T, B), or classes, (B,); None when there is
            nothing to compare (prediction only).
        n: Number of targets that count: tokens for a language model, documents for a classifier. Every mean over
            batches is weighted by it.
    """

    inputs: tuple[Any, ...]
    target: Tensor | None
    n: int


class Loader(Protocol):
    """A sized iterable of batches."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Batch]: ...


@runtime_checkable
class SeekableLoader(Protocol):
    """A loader whose order depends on the epoch alone and that can start anywhere in it."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Batch]: ...

    def set_epoch(self, epoch: int) -> None:
        """Choose the order, and hence the length, of an epoch.

        Args:
            epoch: Number of the epoch since the learner was made, from 0.
        """
        ...

    def seek(self, batch: int) -> None:
        """Make the next iteration, and only that one, start at a later batch.

        Args:
            batch: The first batch to produce, from 0.
        """
        ...


@dataclass(frozen=True)
class Loaders:
    """The training loader and, if there is one, the validation loader.

    Args:
        train: The batches to train on.
        valid: Held-out batches; None for fits without validation.
    """

    train: Loader
    valid: Loader | None = None


def epoch_length(loader: Loader, epoch: int) -> int:
    """Return the number of batches of an epoch; it may differ between epochs (variable BPTT).

    Args:
        loader: The loader; one that has `set_epoch` is put to this epoch.
        epoch: Number of the epoch, from 0.
    """
    if isinstance(loader, SeekableLoader):
        loader.set_epoch(epoch)
    return len(loader)


def batches_from(loader: Iterable[Any], start: int = 0) -> Iterator[Batch]:
    """Iterate over a loader from batch `start` on.

    A loader that cannot seek is run through up to there. Plain `(input, target)` pairs, as torch's `DataLoader`
    yields them, are taken as batches that count one per row.

    Args:
        loader: A loader, or any iterable of batches or pairs.
        start: The first batch to produce, from 0.

    Yields:
        The batches from there on.
    """
    if start and isinstance(loader, SeekableLoader):
        loader.seek(start)
        start = 0
    for item in islice(loader, start, None):
        yield item if isinstance(item, Batch) else _from_pair(item)


def _from_pair(item: Any) -> Batch:
    if not (isinstance(item, tuple | list) and len(item) == 2 and isinstance(item[1], Tensor)):
        raise TypeError(
            f"a loader must yield textxfer.Batch or a pair (input, target tensor), not {type(item).__name__}"
        )
    inputs, target = item
    return Batch(inputs if isinstance(inputs, tuple) else (inputs,), target, len(target))
