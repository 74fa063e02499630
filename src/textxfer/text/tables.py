"""Documents from CSV and TSV files, row by row and suspicious of each."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textxfer.text.cells import Cells, Row, row_place
from textxfer.text.document import Corpus, DataError, Document, Errors, OnEmpty, listed
from textxfer.text.fields import MAX_FIELD, LongFields
from textxfer.text.lines import check_encoding, existing_file, read_lines

_COMPARED = 1000  # columns that a misspelt name is compared with

__all__ = ["MAX_FIELD", "read_csv"]


def read_csv(
    path: str | Path,
    text: str | Sequence[str],
    label: str | None = None,
    *,
    label_separator: str | None = None,
    numeric: bool = False,
    only: tuple[str, Any] | None = None,
    delimiter: str | None = None,
    quotes: bool = True,
    encoding: str = "utf-8",
    errors: Errors = "strict",
    on_empty: OnEmpty = "error",
) -> Corpus:
    """Read documents from a table with a header line: `.csv` or `.tsv`, also packed as `.gz`, `.xz` or `.zst`.

    The header is read at once, the rows each time the result is iterated over.

    Args:
        path: The file.
        text: Column of the text, or several, which become fields marked `xxfld 1`, `xxfld 2`, ...
        label: Column of the class names, which are stripped of white space. None: no labels.
        label_separator: What stands between the class names of one cell, which then are a tuple; None: one class each.
        numeric: Whether the labels are numbers.
        only: A column and a value, such as `("split", "train")`: other rows are passed over. None: all are read.
        delimiter: What separates columns; None: a tab in `.tsv` files, a comma in others.
        quotes: Whether a field may be put in quotation marks; False takes them as part of the text.
        encoding: The file's encoding.
        errors: What to do with bytes and characters that are no text: `strict` stops, `replace` puts U+FFFD for them.
        on_empty: What to do with rows whose text is empty: `error`, or `skip` them.

    Returns:
        The documents; rows are read when it is iterated over, each time anew.

    Raises:
        FileNotFoundError: No such file.
        DataError: At once for an empty file or a missing column; while iterating for a bad row.
    """
    cells = Cells(text, label, label_separator, numeric, only, on_empty, errors)
    check_encoding(encoding)
    path = existing_file(path)
    if delimiter is None:
        delimiter = "\t" if ".tsv" in [suffix.lower() for suffix in path.suffixes] else ","
    table = _Table(path, cells, delimiter, quotes, encoding)
    table.check_header()
    return Corpus(str(path), table.documents)


@dataclass(frozen=True)
class _Table:
    path: Path
    cells: Cells
    delimiter: str
    quotes: bool
    encoding: str

    def check_header(self) -> None:
        with closing(self._rows()) as rows:
            header = next(rows, None)
            if header is None:
                raise DataError(f"{self.path}: the file is empty")
            self._check_columns(header[1])

    def documents(self) -> Iterator[Document]:
        rows = self._rows()
        _, header = next(rows)
        self._check_columns(header)
        yield from self.cells.documents(str(self.path), self._whole(rows, len(header)), header)

    def _whole(self, rows: Iterable[Row], width: int) -> Iterator[Row]:
        for number, row in enumerate(rows, 1):
            if len(row[1]) != width:
                raise DataError(
                    f"{row_place(str(self.path), number, row[0])}: {len(row[1])} fields where the header has {width}; "
                    f"a {self.delimiter!r} or a quote inside a text must be quoted"
                )
            yield row

    def _rows(self) -> Generator[tuple[int, list[str]], None, None]:
        """Yield the line on which each row begins and its cells, the header first; blank lines are passed over."""
        number, begins = 0, 1

        def where(line: int) -> str:
            return row_place(str(self.path), number, line) if number else f"{self.path}, header (line {line})"

        errors = self.cells.errors
        fields = LongFields(read_lines(self.path, self.encoding, where, errors=errors, longest=4 * MAX_FIELD))
        quoting = csv.QUOTE_MINIMAL if self.quotes else csv.QUOTE_NONE
        reader = csv.reader(fields, delimiter=self.delimiter, quoting=quoting, strict=True)
        try:
            for cells in reader:
                fields.end_row()
                if cells:
                    yield begins, cells
                    number += 1
                begins = reader.line_num + 1
        except csv.Error as error:
            raise DataError(self._bad_row(where(begins), error)) from None
        finally:
            fields.end_row()

    def _bad_row(self, place: str, error: csv.Error) -> str:
        message = f"{place}: {error}; is a quote left open (quotes=False takes quotes as they are), "
        if "field limit" in str(error):
            return f"{message}or is a text longer than {MAX_FIELD:,} characters (put it into a file of JSON lines)?"
        return f"{message}or is {self.delimiter!r} the wrong delimiter?"

    def _check_columns(self, header: list[str]) -> None:
        if any("\0" in column for column in header):
            raise DataError(f"{self.path}, header: a column name holds a NUL character; pass encoding='utf-16'?")
        for column in self.cells.columns:
            if column not in header:
                raise DataError(self._no_column(column, header))
            if header.count(column) > 1:
                raise DataError(f"{self.path}: there are {header.count(column)} columns called {column!r}")

    def _no_column(self, column: str, header: list[str]) -> str:
        message = f"{self.path}: no column {column!r}; there are {listed(header)}"
        other = [d for d in (",", ";", "\t", "|") if d != self.delimiter and d in header[0]]
        if len(header) == 1 and other:
            return f"{message}; the columns may be separated by {other[0]!r}: pass delimiter={other[0]!r}"
        if near := difflib.get_close_matches(column, header[:_COMPARED], n=1, cutoff=0.6):
            return f"{message}; did you mean {near[0]!r}?"
        for argument, columns in (("text", self.cells.texts), ("label", (self.cells.label,))):
            if column in columns:
                return f"{message}; pass {argument}= with the name of the right one"
        return message
