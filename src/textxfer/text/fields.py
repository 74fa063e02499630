"""Long fields for the module `csv`, whose limit is one for the whole process."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from threading import Lock

MAX_FIELD = 1 << 25
"""Longest field that is read, in characters; more means a quote that never closes."""

_USUAL = 1 << 17  # csv's own limit


class LongFields:
    """Lines for `csv.reader`, during whose longest rows fields may have up to `MAX_FIELD` characters.

    The reader looks the limit up as it goes. So it is raised when a row turns out to be longer than the usual limit,
    and lowered when the row is complete: nothing is changed while the reader's user has control.

    Args:
        lines: The lines.
    """

    _lock = Lock()
    _n_raised = 0
    _before = _USUAL

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self._limit = min(_USUAL, csv.field_size_limit())
        self._n = 0
        self._raised = False

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self._n += len(line)
            if self._n > self._limit and not self._raised:
                self._raise()
            yield line

    def end_row(self) -> None:
        """Take note that a row is complete, or will never be."""
        self._n = 0
        if self._raised:
            self._lower()

    def _raise(self) -> None:
        with LongFields._lock:
            if LongFields._n_raised == 0:
                LongFields._before = csv.field_size_limit(max(csv.field_size_limit(), MAX_FIELD))
            LongFields._n_raised += 1
            self._raised = True

    def _lower(self) -> None:
        with LongFields._lock:
            LongFields._n_raised -= 1
            self._raised = False
            if LongFields._n_raised == 0:
                csv.field_size_limit(LongFields._before)
