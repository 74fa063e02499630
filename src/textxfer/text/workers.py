"""Work on a corpus piece by piece, in this process or in several, with results in the order of the pieces."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from textxfer.text.document import DataError

Item = TypeVar("Item")
Result = TypeVar("Result")
Shared = TypeVar("Shared")
Shared_co = TypeVar("Shared_co", covariant=True)


class Mapper(Protocol[Shared_co]):
    """`map` over pieces of work; the function gets the shared object and a piece."""

    def __call__(self, function: Callable[[Shared_co, Item], Result], items: Iterable[Item], /) -> Iterator[Result]:
        """Yield the results in the order of the items, which are consumed only a few ahead."""
        ...


@contextmanager
def workers(shared: Shared, n_workers: int) -> Iterator[Mapper[Shared]]:
    """Give a `map` that works in `n_workers` processes; 1 means this one.

    Args:
        shared: What every piece of work needs; it must be picklable if there are several processes.
        n_workers: Number of processes.

    Raises:
        DataError: A process died.
    """
    if n_workers == 1:
        yield lambda function, items: (function(shared, item) for item in items)
        return
    with ProcessPoolExecutor(n_workers, _context(), initializer=_start, initargs=(shared,)) as pool:

        def ordered(function: Callable[[Any, Any], Any], items: Iterable[Any]) -> Iterator[Any]:
            waiting: deque[Future[Any]] = deque()
            for item in items:
                waiting.append(pool.submit(_work, function, item))
                if len(waiting) > 2 * n_workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

        try:
            yield ordered
        except BrokenProcessPool:
            pool.shutdown(wait=False, cancel_futures=True)
            raise DataError(
                "a process that tokenizes died: out of memory, or killed; or the program is a script that starts its "
                "work outside of `if __name__ == '__main__':`, which each new process would run again. "
                "n_workers=1 does without processes"
            ) from None


def _context() -> Any:
    """Return the way to start processes.

    A fork of this process, which has threads (torch's, for one), could hang. A server process forks in its stead:
    it is started once per program and loads what the workers need before it forks them.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["textxfer.text.preload"])
    return context


_shared: Any = None


def _start(shared: Any) -> None:
    global _shared
    _shared = shared
    end_with_parent()


def end_with_parent() -> None:
    """Let this process end when the one that it works for is gone: killed, it could not say so."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(function: Callable[[Any, Any], Any], item: Any) -> Any:
    return function(_shared, item)
