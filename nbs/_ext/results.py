"""What was measured, as the front page shows it: from the lines in experiments/results."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from experiments import figures
from experiments.cells import RESULTS, read_lines
from experiments.summary import Row, rows_of
from nbs._ext.markdown import table

_NAMES = {"trec": "TREC-6", "ag_news": "AG News", "imdb": "IMDb"}
_BASELINES = {"tf-idf": "TF-IDF + logistic regression", "scratch": "the same classifier from scratch"}


def table_of_results() -> str:
    """Return the errors on official test sets: a row for each setting of ULMFiT, baselines of as many labels beside."""
    rows = [row for data in _data() for row in _rows(data)]
    head = ("test error, %", "ULMFiT from `en-small`", *_BASELINES.values())
    return table(head, rows, right=3)


def low_shot_picture(data: str, path: Path) -> None:
    """Draw the error by number of labels."""
    curves: defaultdict[str, dict[int, Row]] = defaultdict(dict)
    for row in _test_rows(data):
        if row.cell.labels is not None:
            curves[_BASELINES.get(row.cell.method, _name(row))][row.cell.labels] = row
    figures.save(figures.low_shot(curves, _NAMES.get(data, data)), path)


def _name(row: Row) -> str:
    """Name ULMFiT by what its language model has read."""
    cell = row.cell
    passes = f"{cell.lm_epochs} x " if cell.lm_epochs else ""
    return f"ULMFiT from {cell.model}, {passes}{cell.texts:,} texts" if cell.texts else f"ULMFiT from {cell.model}"


def _data() -> list[str]:
    """Return the data sets that have results, those named here first."""
    found = sorted(path.stem for path in RESULTS.glob("*.jsonl"))
    return [*(name for name in _NAMES if name in found), *(name for name in found if name not in _NAMES)]


def _test_rows(data: str) -> list[Row]:
    """Return the rows of the recipe as it is on the official test set."""
    lines = read_lines(data)
    return rows_of(line for line in lines if line["cell"]["split"] == "test" and line["cell"]["variant"] is None)


def _rows(data: str) -> Iterator[tuple[str, ...]]:
    rows = _test_rows(data)
    beside: dict[tuple[str, int | None], Row] = {
        (row.cell.method, row.cell.labels): row for row in rows if row.cell.method != "textxfer"
    }
    for row in sorted(_ulmfit(rows), key=lambda row: row.cell.labels or 0):
        others = [beside.get((method, row.cell.labels)) for method in _BASELINES]
        yield _described(row, data), *_errors([row, *others])


def _ulmfit(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.cell.method == "textxfer"]


def _described(row: Row, data: str) -> str:
    cell = row.cell
    labels = "all labels" if cell.labels is None else f"{cell.labels:,} labels"
    others = f", {cell.texts - cell.labels:,} texts without" if cell.texts and cell.labels else ""
    reading = "both directions" if cell.reading == "both" else cell.reading
    return f"{_NAMES.get(data, data)}, {labels}{others}, {reading}"


def _errors(rows: Sequence[Row | None]) -> Iterator[str]:
    """Write the errors of one line, the lowest in bold."""
    lowest = min(row.mean for row in rows if row is not None)
    for row in rows:
        if row is None:
            yield ""
        else:
            yield f"**{row}**" if row.mean == lowest else str(row)
