"""Documents from Parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from itertools import repeat
from pathlib import Path
from typing import Any

from textxfer.text.cells import Cells, row_place
from textxfer.text.document import Corpus, DataError, Errors, MissingPackageError, OnEmpty
from textxfer.text.packed import existing_file
from textxfer.text.records import check_columns

_BATCH = 1 << 8
_BUFFER = 1 << 20


def read_parquet(
    path: str | Path,
    text: str | Sequence[str] = "text",
    label: str | None = None,
    *,
    label_separator: str | None = None,
    numeric: bool = False,
    only: tuple[str, Any] | None = None,
    errors: Errors = "strict",
    on_empty: OnEmpty = "error",
) -> Corpus:
    """Read documents from a Parquet file, a few hundred rows at a time. This needs the package `pyarrow`.

    Args:
        path: The file.
        text: Column of the text, or several, which become marked fields.
        label: Column of the label; None: no labels. A list of class names makes a tuple.
        label_separator: What stands between the class names of one string; None: a string is one class.
        numeric: Whether the labels are numbers to predict.
        only: A column and a value, such as `("split", "train")`: other rows are passed over. None: all are read.
        errors: What to do with characters that are no text: `strict` stops, `replace` puts U+FFFD for them.
        on_empty: What to do with rows whose text is empty or missing: `error`, or `skip` them.

    Returns:
        The documents; rows are read when it is iterated over, each time anew.

    Raises:
        FileNotFoundError: No such file.
        DataError: At once if it is no Parquet file or a column is missing; while iterating for a bad row.
        MissingPackageError: `pyarrow` is not installed.
    """
    cells = Cells(text, label, label_separator, numeric, only, on_empty, errors)
    path = existing_file(path)
    arrow = _arrow()
    with _opened(path, arrow) as file:
        check_columns(str(path), file.schema_arrow.names, cells.columns)
    return Corpus(str(path), lambda: cells.documents(str(path), _rows(path, cells.columns, errors, arrow)))


def _rows(path: Path, columns: Sequence[str], errors: Errors, arrow: Any) -> Iterator[tuple[int, Sequence[Any]]]:
    number = 1
    with _opened(path, arrow) as file:
        try:
            for batch in file.iter_batches(batch_size=_BATCH, columns=columns):
                lists = [_values(batch.column(column), errors, str(path), number) for column in columns]
                yield from zip(repeat(0), zip(*lists))
                number += batch.num_rows
        except DataError:
            raise
        except (
            arrow.ArrowException,
            OSError,
            ValueError,
            OverflowError,
            LookupError,
        ) as error:  # dates beyond Python's
            raise DataError(f"{row_place(str(path), number)} or soon after: {error}; write or copy it again") from None


def _values(column: Any, errors: Errors, name: str, first: int) -> list[Any]:
    try:
        return column.to_pylist()
    except UnicodeDecodeError:  # once more, cell by cell
        values = []
        for number, cell in enumerate(column.cast("binary").to_pylist(), first):
            try:
                values.append(cell if cell is None else cell.decode("utf-8", errors))
            except UnicodeDecodeError as error:
                byte = f"byte 0x{error.object[error.start]:02x} at offset {error.start}"
                raise DataError(
                    f"{row_place(name, number)}: {byte} of the cell is not utf-8; "
                    f"write the file again, or pass errors='replace' to put U+FFFD for such bytes"
                ) from None
        return values


def _opened(path: Path, arrow: Any) -> Any:
    try:
        file = import_module("pyarrow.parquet").ParquetFile(path, buffer_size=_BUFFER)
        _ = file.schema_arrow.names  # their encoding is looked at now
        return file
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path}: is no Parquet file, or damaged ({error})") from None


def _arrow() -> Any:
    try:
        return import_module("pyarrow")
    except ImportError as error:
        raise MissingPackageError("reading Parquet needs the package pyarrow (pip install pyarrow)") from error
