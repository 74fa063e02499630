"""Training some steps at a time, so that whole training runs can take turns.

On a CPU a round is an epoch of so many batches: what a fit does at its begin and end is nothing beside a step. On a GPU
it is not, and a fit may begin with recording a CUDA graph; there each fit runs in a thread of its own that is held
before a batch. (Not on a CPU: OpenMP's threads stop waiting actively when several threads of a program use them.)
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.driver import Work
from textxfer.batch import Batch, Loader, Loaders
from textxfer.training import Learner

LR = 1e-3
EPOCHS = 1000
"""More epochs than any run has: such a fit ends when it is told to."""


class Closed(Exception):
    """The end of a fit that has been held."""


class Gate:
    """Holds a fit before a batch until it may go on.

    Args:
        fit: Trains until `wait()` raises `Closed`; it calls `wait()` before each batch.
    """

    def __init__(self, fit: Callable[[Gate], None]) -> None:
        self._go, self._held = threading.Semaphore(0), threading.Semaphore(0)
        self._left, self._closing = 0, False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(fit,), daemon=True)
        self._thread.start()
        self._arrived()

    def steps(self, n: int) -> None:
        """Let the fit do `n` batches and come back when it asks for the next one."""
        self._left = n
        self._go.release()
        self._arrived()

    def wait(self) -> None:
        """Hold the fit, which calls this, unless there are batches left that it may do."""
        if self._left == 0:
            self._held.release()
            self._go.acquire()
            if self._closing:
                raise Closed
        self._left -= 1

    def close(self) -> None:
        """End the fit."""
        self._closing = True
        self._go.release()
        self._thread.join()

    def _arrived(self) -> None:
        self._held.acquire()
        if self._error is not None:
            raise self._error

    def _run(self, fit: Callable[[Gate], None]) -> None:
        try:
            fit(self)
        except Closed:
            return
        except BaseException as error:
            self._error = error
        self._held.release()


class GatedLoader:
    """A loader that stops at a gate before each batch."""

    def __init__(self, loader: Loader, gate: Gate) -> None:
        self._loader, self._gate = loader, gate

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._loader:
            self._gate.wait()
            yield batch


def trained(learn: Learner[Any], steps: int, device: str) -> Work:
    """Return rounds of `steps` batches of a learner; on a CPU its loader must have just so many."""
    if device == "cpu":
        return Work(lambda: learn.fit(1, LR))

    def fit(gate: Gate) -> None:
        learn.loaders = Loaders(GatedLoader(learn.loaders.train, gate))
        learn.fit(EPOCHS, LR)

    gate = Gate(fit)
    return Work(lambda: gate.steps(steps), gate.close)
