"""How progress is drawn: as a bar, as a widget of a notebook, or as lines of a log."""

from __future__ import annotations

import importlib.util
import sys
import time
from typing import Any, Protocol, TextIO, final

_FORMAT = "{desc}: {percentage:3.0f} %|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
_FORMAT_OPEN = "{desc}: {n_fmt} [{elapsed}{postfix}]"
_BAR_SECONDS = 0.25


class Display(Protocol):
    """Shows one pass over the data.

    Attributes:
        seconds: Least time between two calls of `show`.
    """

    seconds: float

    def show(self, done: int, figures: str) -> None:
        """Show that `done` batches are done, and some figures."""
        ...

    def close(self) -> None:
        """Take the bar away."""
        ...


@final
class Bar:
    """A bar of tqdm's, in a terminal or a notebook; it is gone when the pass is over."""

    seconds = _BAR_SECONDS

    def __init__(self, cls: Any, stream: TextIO, title: str, total: int | None, start: int) -> None:
        shape = _FORMAT if total is not None else _FORMAT_OPEN
        self._bar = cls(
            total=total,
            initial=start,
            desc=title,
            file=stream,
            leave=False,
            dynamic_ncols=True,
            mininterval=0,
            bar_format=shape,
        )

    def show(self, done: int, figures: str) -> None:
        """Move the bar."""
        self._bar.set_postfix_str(figures, refresh=False)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Take the bar away."""
        self._bar.close()


@final
class Lines:
    """Lines of text, for logs."""

    def __init__(self, stream: TextIO, seconds: float, title: str, total: int | None, start: int) -> None:
        self.seconds = seconds
        self._stream = stream
        self._title = title
        self._total = total
        self._start = start
        self._began = time.monotonic()

    def show(self, done: int, figures: str) -> None:
        """Write a line."""
        passed = time.monotonic() - self._began
        place, times = f"{done}", _clock(passed)
        if self._total is not None and done > self._start:
            left = passed / (done - self._start) * (self._total - done)
            place, times = f"{done}/{self._total}", f"{times}<{_clock(left)}"
        self._stream.write(f"{self._title}: {place} [{times}, {figures}]\n")
        self._stream.flush()

    def close(self) -> None:
        """Do nothing: what is written stays."""


def choose_display(stream: TextIO, seconds: float, title: str, total: int | None, start: int) -> Display:
    """Return what suits the place that is written to.

    Args:
        stream: Where to write.
        seconds: Least time between two lines, if it is to be lines.
        title: What is going on.
        total: Number of batches, if it is known.
        start: Batches that were done before.
    """
    if _in_notebook() and stream is sys.stdout and importlib.util.find_spec("ipywidgets"):
        from tqdm.notebook import tqdm as notebook_bar

        return Bar(notebook_bar, stream, title, total, start)
    if stream.isatty():
        from tqdm.std import tqdm

        return Bar(tqdm, stream, title, total, start)
    return Lines(stream, seconds, title, total, start)


def _in_notebook() -> bool:
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return type(shell).__name__ == "ZMQInteractiveShell"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"
