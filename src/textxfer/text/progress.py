"""How far the tokenizing of a corpus has come, and how fast it goes."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator

from textxfer.display import choose_display

_SECONDS = 10.0


class Throughput:
    """Counts texts and tokens, and shows them on the standard error stream.

    Args:
        shown: Whether to show anything.
        total: Number of documents, if it is known.
    """

    def __init__(self, shown: bool, total: int | None = None) -> None:
        self._began = self._last = time.monotonic()
        self._documents = self._characters = self._tokens = 0
        self._display = choose_display(sys.stderr, _SECONDS, "tokenizing", total, 0) if shown else None

    def pieces(self, pieces: Iterable[list[str]]) -> Iterator[list[str]]:
        """Pass pieces of work on, counting their texts."""
        for piece in pieces:
            self._documents += len(piece)
            self._characters += sum(map(len, piece))
            yield piece

    def show(self) -> None:
        """Show the figures if it is time to."""
        now = time.monotonic()
        if self._display is not None and now - self._last >= self._display.seconds:
            self._last = now
            self._display.show(self._documents, f"{self._characters / 1e6 / (now - self._began):.1f} MB/s")

    def finish(self, n_tokens: int) -> None:
        """Close the display and print what was done."""
        if self._display is None:
            return
        self._display.close()
        seconds = max(time.monotonic() - self._began, 1e-9)
        print(
            f"tokenized {self._documents:,} documents, {self._characters / 1e6:,.1f} MB, {n_tokens:,} tokens in "
            f"{seconds:,.1f} s: {self._characters / 1e6 / seconds:.1f} MB/s, {n_tokens / seconds:,.0f} tokens/s",
            file=sys.stderr,
            flush=True,
        )
