"""Documents from what is in memory or comes from other libraries: records, data frames, Hugging Face data sets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any

from textxfer.text.cells import Cells, row_place
from textxfer.text.document import Corpus, DataError, Errors, OnEmpty, listed

if TYPE_CHECKING:
    import pandas as pd

_FRAME_ROWS = 1 << 12


def from_records(
    records: Iterable[Any] | Callable[[], Iterable[Any]],
    text: str | Sequence[str] = "text",
    label: str | None = None,
    *,
    name: str = "records",
    label_separator: str | None = None,
    numeric: bool = False,
    only: tuple[str, Any] | None = None,
    errors: Errors = "strict",
    on_empty: OnEmpty = "error",
) -> Corpus:
    """Take documents from records: mappings, or objects with attributes.

    Args:
        records: The records, or a function that returns them anew each time. An iterator can be read once only: a
            second passage is an error.
        text: Key or attribute of the text, or several, which become marked fields.
        label: Key or attribute of the label; None: no labels. A list of class names makes a tuple.
        name: What messages call the source.
        label_separator: What stands between the class names of one string; None: a string is one class.
        numeric: Whether the labels are numbers to predict.
        only: A key and a value, such as `("split", "train")`: other records are passed over. None: all are read.
        errors: What to do with characters that are no text: `strict` stops, `replace` puts U+FFFD for them.
        on_empty: What to do with empty texts: `error`, or `skip` them.

    Returns:
        The documents; records are read when it is iterated over.

    Raises:
        TypeError: The records are a string or a mapping.
        DataError: While iterating, for a bad record.
    """
    cells = Cells(text, label, label_separator, numeric, only, on_empty, errors)
    if isinstance(records, str | bytes | Mapping):
        raise TypeError(f"records must be an iterable of records, not a {type(records).__name__}")
    opened = repeatable(records, name)

    def rows() -> Iterator[tuple[int, list[Any]]]:
        columns = cells.columns
        for number, record in enumerate(opened(), 1):
            yield 0, record_cells(record, columns, row_place(name, number))

    return Corpus(name, lambda: cells.documents(name, rows()))


def from_frame(
    frame: pd.DataFrame,
    text: str | Sequence[str],
    label: str | None = None,
    *,
    label_separator: str | None = None,
    numeric: bool = False,
    only: tuple[str, Any] | None = None,
    errors: Errors = "strict",
    on_empty: OnEmpty = "error",
) -> Corpus:
    """Take documents from a pandas data frame.

    Args:
        frame: One row per document.
        text: Column of the text, or several, which become marked fields.
        label: Column of the label; None: no labels. Whole numbers are written without a point.
        label_separator: What stands between the class names of one cell, which then are a tuple; None: one class each.
        numeric: Whether the labels are numbers to predict.
        only: A column and a value, such as `("split", "train")`: other rows are passed over. None: all are read.
        errors: What to do with characters that are no text: `strict` stops, `replace` puts U+FFFD for them.
        on_empty: What to do with rows whose text is empty or missing: `error`, or `skip` them.

    Returns:
        The documents; rows are read when it is iterated over, each time anew.

    Raises:
        DataError: At once if a column is missing; while iterating for a bad row.
    """
    cells = Cells(text, label, label_separator, numeric, only, on_empty, errors)
    check_columns("the frame", frame.columns.tolist(), cells.columns)

    def rows() -> Iterator[tuple[int, Sequence[Any]]]:
        columns = [frame[column] for column in cells.columns]
        for first in range(0, len(frame), _FRAME_ROWS):
            lists = (column.iloc[first : first + _FRAME_ROWS].tolist() for column in columns)
            yield from zip(repeat(0), zip(*lists))

    return Corpus("data frame", lambda: cells.documents("data frame", rows()))


def check_columns(name: str, there: Sequence[Any], wanted: Iterable[str]) -> None:
    """Refuse columns that a table does not have, or has several times.

    Raises:
        DataError: There is one.
    """
    for column in wanted:
        if column not in there:
            raise DataError(f"{name} has no column {column!r}; it has {listed(there)}")
        if there.count(column) > 1:
            raise DataError(f"{name} has {there.count(column)} columns called {column!r}; rename them")


def repeatable(source: Iterable[Any] | Callable[[], Iterable[Any]], name: str) -> Callable[[], Iterator[Any]]:
    """Return a function that begins a passage over the source, and does not silently begin a second over an iterator.

    Args:
        source: An iterable, or a function that returns one.
        name: What messages call it.
    """
    if not isinstance(source, Iterable):
        return lambda: iter(source())
    if not isinstance(source, Iterator):
        return lambda: iter(source)
    used = False

    def once() -> Iterator[Any]:
        nonlocal used
        if used:
            raise DataError(
                f"{name}: the iterator was read before and cannot be read again; "
                f"pass a list, or a function that returns a new iterator"
            )
        used = True
        return source

    return once


def record_cells(record: Any, columns: Sequence[str], place: str) -> list[Any]:
    """Return the cells of a mapping or an object.

    Args:
        record: The record.
        columns: Keys or attributes.
        place: What messages call the record.

    Raises:
        DataError: It does not have one of them.
    """
    by_key = isinstance(record, Mapping) or hasattr(record, "keys")
    try:
        return [record[column] for column in columns] if by_key else [getattr(record, column) for column in columns]
    except (KeyError, IndexError, AttributeError):
        there = [str(key) for key in (record.keys() if by_key else getattr(record, "__dict__", ()))]
        lacking = next(column for column in columns if column not in there) if by_key or there else columns[0]
        known = f"; there are {', '.join(map(repr, there))}" if there else ""
        what = f"no key {lacking!r}" if by_key else f"a {type(record).__name__} without attribute {lacking!r}"
        raise DataError(f"{place}: {what}{known}") from None
