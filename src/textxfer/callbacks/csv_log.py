"""A log of all epochs as a CSV file that other programs can read while training goes on."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from textxfer.files import write_text
from textxfer.training.callback import Callback, Order

if TYPE_CHECKING:
    from textxfer.training.learner import Learner


@final
class CSVLog(Callback):
    """Append one row per epoch to a CSV file, over all fits of a learner; there is one header.

    A file that is already there is continued. A column that turns up later, such as a new metric, is added to it: the
    file is written anew, as a whole, and earlier rows stay empty there. A resumed run takes out the rows of epochs
    that it does again. Evaluation and the rate finder never touch the file.

    Args:
        path: The file.
    """

    order = Order.REPORT  # before SaveEvery, whose state shall know of the row
    main_only = True

    def __init__(self, path: str | Path) -> None:
        self.path = os.fspath(path)
        self._kept: int | None = None  # of a state that was taken back: how many of the file's rows are its own

    def after_epoch(self, learn: Learner) -> None:
        """Add the row of the epoch."""
        path, row = Path(self.path), learn.history[-1]
        columns, rows, whole = _read(path)
        new = [name for name in row if name not in columns]
        if self._kept is not None or new or not whole:
            rows = rows[: self._kept]
            columns = [*columns, *new]
            write_text(path, _lines([columns, *([*old, *[""] * (len(columns) - len(old))] for old in rows)]))
        _append(path, _lines([[_text(row.get(name)) for name in columns]]))
        self._kept = None

    def state_dict(self) -> dict[str, Any]:
        """Return how many rows there are: a resumed run goes on behind them."""
        return {"n_rows": self._n_rows() if self._kept is None else self._kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned; the file is changed when the next row comes."""
        # Only if it has other rows: the rate finder puts states back, too, and what others write later is not its own.
        self._kept = None if state["n_rows"] == self._n_rows() else state["n_rows"]

    def _n_rows(self) -> int:
        return len(_read(Path(self.path))[1])


def _read(path: Path) -> tuple[list[str], list[list[str]], bool]:
    """Return header, rows, and whether the file is whole: a crash may have cut the last line off, which is left out."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    whole_lines = text[: text.rfind("\n") + 1]
    columns, *rows = list(csv.reader(io.StringIO(whole_lines))) or [[]]
    return columns, rows, whole_lines == text


def _lines(rows: Sequence[Sequence[str]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def _append(path: Path, line: str) -> None:
    with path.open("a", encoding="utf-8", newline="") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def _text(value: Any) -> str:
    return "" if value is None else str(value)
