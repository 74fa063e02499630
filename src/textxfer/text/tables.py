"""Documents from CSV and TSV files, row by row and suspicious of each."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from textxfer.text.document import Corpus, DataError, Document, OnEmpty, check_on_empty, checked
from textxfer.text.lines import check_encoding, existing_file, read_lines
from textxfer.text.rules import join_fields

MAX_FIELD = 1 << 24
"""Longest field that is read, in characters; more means a quote that never closes."""


def read_csv(
    path: str | Path,
    text: str | Sequence[str],
    label: str | None = None,
    *,
    delimiter: str | None = None,
    quotes: bool = True,
    encoding: str = "utf-8",
    on_empty: OnEmpty = "error",
) -> Corpus:
    """Read documents from a table with a header line: `.csv` or `.tsv`, also packed as `.gz` or `.xz`.

    The header is read at once, the rows each time the result is iterated over.

    Args:
        path: The file.
        text: Column of the text, or several, which become fields marked `xxfld 1`, `xxfld 2`, ...
        label: Column of the class names, which are stripped of white space. None: no labels.
        delimiter: What separates columns; None: a tab in `.tsv` files, a comma in others.
        quotes: Whether a field may be put in quotation marks; False takes them as part of the text.
        encoding: The file's encoding.
        on_empty: What to do with rows whose text is empty: `error`, or `skip` them.

    Raises:
        FileNotFoundError: No such file.
        DataError: At once for an empty file or a missing column; while iterating for a bad row.
    """
    check_on_empty(on_empty)
    check_encoding(encoding)
    path = existing_file(path)
    columns = (text,) if isinstance(text, str) else tuple(text)
    if not columns:
        raise ValueError("text= must name at least one column")
    if delimiter is None:
        delimiter = "\t" if ".tsv" in path.suffixes else ","
    table = _Table(path, columns, label, delimiter, quotes, encoding, on_empty)
    table.check_header()
    return Corpus(str(path), table.documents)


@dataclass(frozen=True)
class _Table:
    path: Path
    columns: tuple[str, ...]
    label: str | None
    delimiter: str
    quotes: bool
    encoding: str
    on_empty: OnEmpty

    def check_header(self) -> None:
        with closing(self._rows()) as rows:
            header = next(rows, None)
            if header is None:
                raise DataError(f"{self.path}: the file is empty")
            self._positions(header[1])

    def documents(self) -> Iterator[Document]:
        rows = self._rows()
        header = next(rows)[1]
        positions = self._positions(header)
        label_at = None if self.label is None else header.index(self.label)
        for number, (line, cells) in enumerate(rows, 1):
            where = f"{self.path}, row {number} (line {line})"
            if len(cells) != len(header):
                raise DataError(
                    f"{where}: {len(cells)} fields where the header has {len(header)}; "
                    f"a {self.delimiter!r} or a quote inside a text must be quoted"
                )
            fields = [cells[i] for i in positions]
            name = None if label_at is None else self._class_name(cells[label_at], where)
            empty = not any(field.strip() for field in fields)
            document = checked(Document("" if empty else join_fields(fields), name, number), where, self.on_empty)
            if document is not None:
                yield document

    def _class_name(self, cell: str, where: str) -> str:
        if not cell.strip():
            raise DataError(f"{where}: the label in column {self.label!r} is missing; fill it in or remove the row")
        return cell.strip()

    def _rows(self) -> Generator[tuple[int, list[str]], None, None]:
        """Yield the line on which each row ends and its cells, the header first; blank lines are passed over."""
        csv.field_size_limit(max(csv.field_size_limit(), MAX_FIELD))
        number = 0

        def where(line: int) -> str:
            return f"{self.path}, {f'row {number}' if number else 'header'} (line {line})"

        lines = read_lines(self.path, self.encoding, where)
        quoting = csv.QUOTE_MINIMAL if self.quotes else csv.QUOTE_NONE
        reader = csv.reader(lines, delimiter=self.delimiter, quoting=quoting, strict=True)
        try:
            for cells in filter(None, reader):
                yield reader.line_num, cells
                number += 1
        except csv.Error as error:
            raise DataError(
                f"{where(reader.line_num)}: {error}; is a quote left open (quotes=False takes quotes as they are), "
                f"or is {self.delimiter!r} the wrong delimiter?"
            ) from None

    def _positions(self, header: list[str]) -> list[int]:
        wanted = [*self.columns, *([] if self.label is None else [self.label])]
        for column in wanted:
            if column not in header:
                raise DataError(self._no_column(column, header))
            if header.count(column) > 1:
                raise DataError(f"{self.path}: there are {header.count(column)} columns called {column!r}")
        return [header.index(column) for column in self.columns]

    def _no_column(self, column: str, header: list[str]) -> str:
        near = difflib.get_close_matches(column, header, n=1, cutoff=0.5)
        message = f"{self.path}: no column {column!r}; there are {', '.join(map(repr, header))}"
        if near:
            message += f"; did you mean {near[0]!r}?"
        other = [d for d in (",", ";", "\t", "|") if d != self.delimiter and d in header[0]]
        if len(header) == 1 and other:
            message += f"; the columns may be separated by {other[0]!r}: pass delimiter={other[0]!r}"
        return message
