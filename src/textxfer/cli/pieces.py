"""A training in pieces: commands that each stop at a saved state after some minutes, and go on where the last one was.

For machines that are lent for a short time. The pieces together end with the weights of one unbroken command.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, final

from textxfer import distributed
from textxfer.callbacks import SaveEvery
from textxfer.cli.common import Resumable
from textxfer.cli.signals import SIGNALS, end
from textxfer.cli.states import keep_states, unfinished
from textxfer.files import write_json
from textxfer.learners import fit_stages
from textxfer.recipe import Training
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
        DataError: It is run by several processes.
    """
    if config.stop_minutes is None:
        return None
    if distributed.launched():  # torchrun would take the exit code for a failure, and start it again
        raise DataError("--stop-minutes is for one process: leave it out under torchrun")
    return monotonic() + 60 * config.stop_minutes


@final
class StopSaved(Callback):
    """End the command behind a batch or an epoch, with a saved state, when it is asked to or its time is over.

    Args:
        deadline: The moment when its time is over, on the clock of `time.monotonic`; None: never.
    """

    order = Order.SAVE
    train_only = True

    def __init__(self, deadline: float | None = None) -> None:
        self.deadline = deadline

    def before_fit(self, learn: Learner) -> None:
        """From now on signals wait for a saved state; those of torchrun, which come to all processes, do not."""
        SIGNALS.saves = not distributed.launched()

    def after_fit(self, learn: Learner) -> None:
        """From now on signals end the command at once."""
        SIGNALS.saves = False

    def after_batch(self, learn: Learner) -> None:
        """Stop if it is time."""
        self._stop(learn, f"batch {learn.progress.batch + 1:,} of {learn.progress.n_batches:,}")

    def after_epoch(self, learn: Learner) -> None:
        """Stop if it is time."""
        self._stop(learn, "at its end")

    def _stop(self, learn: Learner, place: str) -> None:
        late = self.deadline is not None and monotonic() >= self.deadline
        if SIGNALS.asked is None and not late:
            return
        learn.callback(SaveEvery).save(learn)
        if SIGNALS.asked is not None:
            end(SIGNALS.asked)
        raise Unfinished(
            f"stopped at a saved state, epoch {learn.progress.epoch + 1} of {learn.progress.n_epochs}, {place}; go on "
            "with the same command and --resume"
        )


def fit(config: Resumable, learn: Learner[Any], training: Training, deadline: float | None, *place: str) -> None:
    """Run the fits of a training that can be stopped at any moment and gone on with.

    Args:
        config: Options of the command.
        learn: The learner.
        training: The fits.
        deadline: When to stop at a saved state, see `deadline_of`.
        place: Names of the folder of the states, below that of the run.
    """
    folder = keep_states(config, learn, *place)
    learn.callbacks.append(StopSaved(deadline))
    done = learn.fits_done
    fit_stages(learn, training)
    if learn.fits_done > done and distributed.is_main():
        learn.save(folder)  # a later command does not train this model again


@contextmanager
def timed(config: Resumable, part: str, *, kept: bool = True) -> Iterator[Callable[[], float]]:
    """Measure the time of a part of the work over all commands that do it.

    Args:
        config: Options of the command.
        part: What the time is kept by, such as a direction.
        kept: Whether the command keeps states; the time is kept beside them.

    Yields:
        What returns the seconds so far, those of earlier commands included.
    """
    path = unfinished(config.out) / _CLOCK
    spent = read_json(path, "the clock of an unfinished run") if kept and path.is_file() else {}
    began, before = perf_counter(), spent.get(part, 0.0)

    def seconds() -> float:
        return before + perf_counter() - began

    try:
        yield seconds
    finally:
        if kept and distributed.is_main():
            write_json(path, spent | {part: seconds()})
