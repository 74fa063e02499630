"""Documents from data sets of the package `datasets`, which is not needed for it: they only have to look like one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from textxfer.text.cells import Cells, row_place
from textxfer.text.document import Corpus, DataError, Errors, OnEmpty
from textxfer.text.labels import plain
from textxfer.text.records import check_columns, record_cells, repeatable

_BATCH = 64


def from_dataset(
    dataset: Any,
    text: str | Sequence[str] = "text",
    label: str | None = None,
    *,
    split: str | None = None,
    label_separator: str | None = None,
    numeric: bool = False,
    only: tuple[str, Any] | None = None,
    errors: Errors = "strict",
    on_empty: OnEmpty = "error",
) -> Corpus:
    """Take documents from a data set of Hugging Face's `datasets`, also an iterable one.

    Args:
        dataset: A `Dataset`, an `IterableDataset` or a dictionary of them.
        text: Column of the text, or several, which become marked fields.
        label: Column of the label; None: no labels. The numbers of a `ClassLabel` become its names, its -1 is a
            missing label, and a list of classes makes a tuple.
        split: Which data set of a dictionary, such as `train`.
        label_separator: What stands between the class names of one cell, which then are a tuple; None: one class each.
        numeric: Whether the labels are numbers to predict; those of a `ClassLabel` then stay numbers.
        only: A column and a value: other rows are passed over. None: all are read.
        errors: What to do with characters that are no text: `strict` stops, `replace` puts U+FFFD for them.
        on_empty: What to do with rows whose text is empty or missing: `error`, or `skip` them.

    Returns:
        The documents; rows are read when it is iterated over, each time anew.

    Raises:
        DataError: At once for a missing split or column; while iterating for a bad row.
    """
    cells = Cells(text, label, label_separator, numeric, only, on_empty, errors)
    dataset = _split(dataset, split)
    name = "data set" if split is None else f"data set {split!r}"
    features: Mapping[str, Any] = getattr(dataset, "features", None) or {}
    if known := getattr(dataset, "column_names", None) or list(features):
        check_columns(f"the {name}", list(known), cells.columns)
        if hasattr(dataset, "select_columns"):
            dataset = dataset.select_columns(cells.columns)  # others, such as images, are not decoded
    names = {column: _names(features.get(column)) for column in cells.columns if column not in cells.texts}
    if numeric:
        names.pop(label or "", None)
    named = [(at, names[column]) for at, column in enumerate(cells.columns) if names.get(column)]
    passage = _passages(dataset, cells.columns, name)

    def rows() -> Iterator[tuple[int, Sequence[Any]]]:
        for number, row in enumerate(passage(), 1):
            yield 0, _with_names(row, named, name, number) if named else row

    return Corpus(name, lambda: cells.documents(name, rows()))


def _split(dataset: Any, split: str | None) -> Any:
    if not isinstance(dataset, Mapping):
        if split is not None:
            raise ValueError(f"split={split!r} is for a dictionary of data sets; this is a {type(dataset).__name__}")
        return dataset
    there = ", ".join(map(repr, dataset))
    if split is None:
        raise DataError(f"a dictionary of data sets; pass split=, one of {there}")
    if split not in dataset:
        raise DataError(f"no data set {split!r} in the dictionary; there are {there}")
    return dataset[split]


def _passages(dataset: Any, columns: Sequence[str], name: str) -> Callable[[], Iterator[Sequence[Any]]]:
    """Return a function that begins a passage over the cells of the rows; by batches, which is faster, if it can."""
    if hasattr(dataset, "iter"):
        return lambda: _batches(dataset.iter(batch_size=_BATCH), columns, name)
    opened = repeatable(dataset, name)
    return lambda: _records(opened(), columns, name)


def _batches(batches: Iterator[Any], columns: Sequence[str], name: str) -> Iterator[Sequence[Any]]:
    for batch in batches:
        check_columns(f"the {name}", list(batch), columns)
        yield from zip(*(batch[column] for column in columns))


def _records(records: Iterator[Any], columns: Sequence[str], name: str) -> Iterator[Sequence[Any]]:
    for number, record in enumerate(records, 1):
        yield record_cells(record, columns, row_place(name, number))


def _names(feature: Any) -> Sequence[str] | None:
    """Return the names of a `ClassLabel`, or of a list of them."""
    if isinstance(feature, list | tuple) and feature:
        feature = feature[0]
    return getattr(feature, "names", None) or getattr(getattr(feature, "feature", None), "names", None)


def _with_names(row: Sequence[Any], named: Sequence[tuple[int, Any]], name: str, number: int) -> list[Any]:
    cells = list(row)
    try:
        for at, names in named:
            cells[at] = _named(plain(cells[at]), names)
    except IndexError as error:
        raise DataError(f"{row_place(name, number)}: {error}") from None
    return cells


def _named(cell: Any, names: Sequence[str]) -> Any:
    if isinstance(cell, list | tuple):
        return [_named(one, names) for one in cell]
    if not isinstance(cell, int) or cell == -1:
        return None if cell == -1 else cell
    if not 0 <= cell < len(names):
        raise IndexError(f"class number {cell}, but the data set names {len(names)} classes; correct the row")
    return names[cell]
