"""A training in pieces: commands that each stop at a saved state after some minutes, and go on where the last one was.

For machines that are lent for a short time. The pieces together end with the weights of one unbroken command.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, final

from textxfer.callbacks import SaveEvery
from textxfer.cli.config import Resumable
from textxfer.cli.states import unfinished
from textxfer.directions import Direction
from textxfer.files import write_json
from textxfer.text import DataError
from textxfer.text.files import read_json
from textxfer.training import Callback, Order

if TYPE_CHECKING:
    from textxfer.training import Learner

_CLOCK = "clock.json"


class Unfinished(Exception):
    """The time that a command was given is over and a state is saved; the message says how to go on."""


def deadline_of(config: Resumable) -> float | None:
    """Return the moment at which the command has to stop, counted from now; None if it may run to its end.

    Raises:
        DataError: It is given no time.
    """
    if config.stop_minutes is None:
        return None
    if not config.stop_minutes > 0:
        raise DataError(f"--stop-minutes must be more than 0, not {config.stop_minutes:g}")
    return monotonic() + 60 * config.stop_minutes


@final
class StopAfter(Callback):
    """Let the learner's `SaveEvery` save, and end the command, after the first batch that ends behind a deadline.

    Args:
        deadline: The moment, on the clock of `time.monotonic`.
    """

    order = Order.SAVE
    train_only = True

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline

    def after_batch(self, learn: Learner) -> None:
        """Stop if it is time."""
        if monotonic() < self.deadline:
            return
        learn.callback(SaveEvery).save(learn)
        raise Unfinished(
            f"stopped at a saved state, epoch {learn.progress.epoch + 1} of {learn.progress.n_epochs}, batch "
            f"{learn.progress.batch + 1:,} of {learn.progress.n_batches:,}; go on with the same command and --resume"
        )


@contextmanager
def timed(config: Resumable, direction: Direction) -> Iterator[Callable[[], float]]:
    """Measure the time of a direction over all commands that train it.

    Yields:
        What returns the seconds so far, those of earlier commands included.
    """
    path = unfinished(config.out) / _CLOCK
    spent = read_json(path, "the clock of an unfinished run") if path.is_file() else {}
    began, before = perf_counter(), spent.get(direction, 0.0)

    def seconds() -> float:
        return before + perf_counter() - began

    try:
        yield seconds
    finally:
        write_json(path, spent | {direction: seconds()})
