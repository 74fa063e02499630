"""Where processes that train together wait for one another, and how only one of them writes.

Before each batch they tell each other what they are about to do. So a process that stops, saves or comes to its end
takes the others along, and one that has gone astray is an error on all of them instead of a wait without end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING

from textxfer.batch import Batch, Loader, SeekableLoader, batches_from
from textxfer.callbacks._peers import PeerError, Peers
from textxfer.training.callback import Callback
from textxfer.training.dispatch import Dispatcher, Event, Table

if TYPE_CHECKING:
    from textxfer.training.learner import Learner

Meet = Callable[[Batch | None], bool]
"""Told the next batch, or None behind the last one; returns whether to go on with it."""


class Point(IntEnum):
    """What a process is about to do."""

    BATCH = 0
    PASS_END = 1
    SAVE = 2
    EPOCH = 3
    FIT_END = 4


_WORDS = {
    Point.BATCH: "begins a batch",
    Point.PASS_END: "has no more batches",
    Point.SAVE: "saves a state",
    Point.EPOCH: "begins an epoch",
    Point.FIT_END: "ends the fit",
}


class Quiet(Dispatcher):
    """The callbacks of a process that does not write: those that report or save are there, and hear of nothing.

    Args:
        callbacks: All callbacks.
    """

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        super().__init__(callbacks)
        self._train = Table([callback for callback in self.callbacks if not callback.main_only])
        self._valid = Table([each for each in self.callbacks if not (each.main_only or each.train_only)])

    def call(self, callback: Callback, event: Event, learn: Learner) -> None:
        """Call one callback's handler of an event, unless it reports or saves."""
        if not callback.main_only:
            super().call(callback, event, learn)


class MetLoader:
    """A loader whose batches wait for the other processes.

    Args:
        loader: The loader.
        meet: Called before each batch and behind the last one.
    """

    def __init__(self, loader: Loader, meet: Meet) -> None:
        self._loader, self._meet = loader, meet

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Batch]:
        batches = batches_from(self._loader)
        while True:
            batch = next(batches, None)
            if not self._meet(batch) or batch is None:
                return
            yield batch


class MetSeekable(MetLoader):
    """The same for a loader that can seek."""

    def __init__(self, loader: SeekableLoader, meet: Meet) -> None:
        super().__init__(loader, meet)
        self._seekable = loader

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch."""
        self._seekable.set_epoch(epoch)

    def seek(self, batch: int) -> None:
        """Make the next iteration start at a later batch."""
        self._seekable.seek(batch)


def met(loader: Loader, meet: Meet) -> Loader:
    """Return a loader like the given one whose batches wait for the other processes."""
    return MetSeekable(loader, meet) if isinstance(loader, SeekableLoader) else MetLoader(loader, meet)


def exchange(learn: Learner, peers: Peers, point: Point, n: int, join_in: Callable[[], None]) -> int:
    """Tell the others what comes next and hear it from them; a stop of one is a stop of all.

    Args:
        learn: The learner.
        peers: The processes.
        point: What this process is about to do.
        n: Targets that count in its next batch.
        join_in: What to do when process 0 saves in the middle of a pass.

    Returns:
        The sum of `n` over all processes.

    Raises:
        PeerError: They are about to do different things.
    """
    while True:
        told = peers.gather_ints(point, n, int(learn.stopping))
        points = [Point(each[0]) for each in told]
        if points[0] is Point.SAVE and set(points[1:]) <= {Point.BATCH, Point.PASS_END}:
            join_in()
            if point is Point.SAVE:
                return n
            continue
        other = next((rank for rank, each in enumerate(points) if each is not points[0]), None)
        if other is not None:
            raise PeerError(
                f"process {other} {_WORDS[points[other]]} while process 0 {_WORDS[points[0]]}: the batches, the epochs "
                "or what stops a fit differ between the processes"
            )
        if any(each[2] for each in told):
            learn.stop()
        return sum(each[1] for each in told)


def description(learn: Learner) -> str:
    """Describe what must be the same on all processes, a thing a line.

    Args:
        learn: The learner, at the beginning of a fit.
    """
    at = learn.progress
    lines = [
        f"fit {at.fit} of {at.n_epochs} epochs and {at.n_steps} updates, {learn.epochs_done} epochs done",
        _beginning(learn),
        f"validation: {learn.loaders.valid is not None}",
        f"optimizer {type(learn.optimizer).__name__}",
        *(f"callback {type(callback).__name__}" for callback in learn.active_callbacks),
        *(f"metric {metric.name}" for metric in learn.metrics),
    ]
    params = learn.model.named_parameters()
    return "\n".join([*lines, *(f"{name} {tuple(param.shape)} {param.dtype}" for name, param in params)])


def _beginning(learn: Learner) -> str:
    """Describe where the fit will begin: a process may have found another state to go on from."""
    if learn.resumed is None:
        return "a fit from its beginning"
    fit = learn.resumed.values["fit"]
    return f"a fit from epoch {fit['next_epoch']}, batch {fit['next_batch']} on"


def check_same(peers: Peers, text: str, what: str) -> None:
    """Compare a description over all processes, line by line.

    Raises:
        PeerError: They differ; the message has the first lines that do.
    """
    texts = peers.gather_texts(text)
    for rank, other in enumerate(texts):
        if other != texts[0]:
            lines = zip(texts[0].splitlines(), other.splitlines())
            differ = next(((one, two) for one, two in lines if one != two), (texts[0], other))
            raise PeerError(f"{what}: process 0 has {differ[0]!r}, process {rank} has {differ[1]!r}")
