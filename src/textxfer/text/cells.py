"""From the cells of a row to a document: what the readers of all kinds of tables have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from textxfer.text.document import (
    EMPTY,
    DataError,
    Document,
    Errors,
    OnEmpty,
    check_errors,
    check_on_empty,
    mended,
    unsound,
)
from textxfer.text.labels import CellError, LabelParser, is_missing, plain, written
from textxfer.text.specials import join_fields

Row = tuple[int, Sequence[Any]]
"""The line on which a row begins, or 0 if there are no lines; and its cells."""

_MOST_SEEN = 20


@dataclass(frozen=True)
class Cells:
    """How the cells of a row become a document.

    Args:
        text: Column of the text, or several.
        label: Column of the label; None: no labels.
        label_separator: What stands between the class names of one cell; None: a cell is one class name.
        numeric: Whether the labels are numbers.
        only: A column and the value that it must have for a row to be read; None: all rows are.
        on_empty: What to do with rows whose text is empty: `error`, or `skip` them.
        errors: What to do with characters that are no text: `strict` stops, `replace` puts U+FFFD for them.
    """

    text: str | Sequence[str]
    label: str | None = None
    label_separator: str | None = None
    numeric: bool = False
    only: tuple[str, Any] | None = None
    on_empty: OnEmpty = "error"
    errors: Errors = "strict"

    def __post_init__(self) -> None:
        check_on_empty(self.on_empty)
        check_errors(self.errors)
        if not self.texts:
            raise ValueError("text= must name at least one column")
        if self.label_separator is not None and self.numeric:
            raise ValueError("label_separator= is for several classes and numeric= for numbers; pass one of them")
        if self.label_separator == "":
            raise ValueError("label_separator= must not be empty")
        if self.only is not None and (isinstance(self.only, str) or len(self.only) != 2):
            raise ValueError(f"only= must be a column and a value, such as ('split', 'train'), not {self.only!r}")

    @property
    def texts(self) -> tuple[str, ...]:
        """The columns of the text."""
        return (self.text,) if isinstance(self.text, str) else tuple(self.text)

    @property
    def columns(self) -> list[str]:
        """All columns that are needed, each once."""
        label = [] if self.label is None else [self.label]
        return list(dict.fromkeys([*self.texts, *label, *(self.only or ())[:1]]))

    def documents(
        self,
        name: str,
        rows: Iterable[Row],
        header: Sequence[str] | None = None,
        where: Callable[[int, int], str] | None = None,
    ) -> Iterator[Document]:
        """Yield the documents of a table.

        Args:
            name: What messages call the table.
            rows: The rows.
            header: Columns of their cells; None: those of `columns`.
            where: What messages call a row, given its number and line.

        Raises:
            DataError: A row makes no document, or none has the value that `only` asks for.
        """
        header = self.columns if header is None else header
        take = _Taker(self, name, header)
        for number, (line, cells) in enumerate(rows, 1):
            try:
                document = take(cells, number)
            except CellError as error:
                place = where(number, line) if where else row_place(name, number, line)
                raise DataError(f"{place}: {error}") from None
            if document is not None:
                yield document
        take.finish()


def row_place(name: str, number: int, line: int = 0) -> str:
    """Return what messages call a row."""
    return f"{name}, row {number} (line {line})" if line else f"{name}, row {number}"


class _Taker:
    """Takes the documents of one passage over the rows."""

    def __init__(self, cells: Cells, name: str, header: Sequence[str]) -> None:
        self._name, self._cells = name, cells
        self._text_at = [header.index(column) for column in cells.texts]
        self._label_at = -1 if cells.label is None else header.index(cells.label)
        self._only_at = -1 if cells.only is None else header.index(cells.only[0])
        self._value = "" if cells.only is None else written(cells.only[1]).strip()
        self._parse = LabelParser(cells.label or "", cells.label_separator, cells.numeric, cells.errors)
        self._skip, self._strict = cells.on_empty == "skip", cells.errors == "strict"
        self._found, self._seen = False, dict[str, None]()

    def __call__(self, cells: Sequence[Any], number: int) -> Document | None:
        if self._only_at >= 0 and not self._is_wanted(cells[self._only_at]):
            return None
        text = self._text(cells)
        if not text or text.isspace():
            if self._skip:
                return None
            raise CellError(EMPTY)
        if problem := unsound(text):
            if self._strict:
                raise CellError(f"the text {problem}")
            text = mended(text)
        return Document(text, None if self._label_at < 0 else self._parse(cells[self._label_at]), number)

    def finish(self) -> None:
        """Complain if there were rows and none was wanted."""
        if self._seen and not self._found and self._cells.only is not None:
            values = ", ".join(map(repr, self._seen)) + (", ..." if len(self._seen) == _MOST_SEEN else "")
            column, value = self._cells.only
            raise DataError(f"{self._name}: no row has {value!r} in column {column!r}; the values there are {values}")

    def _is_wanted(self, cell: Any) -> bool:
        cell = plain(cell)
        value = "" if is_missing(cell) else written(cell).strip()
        if value == self._value:
            self._found = True
            return True
        if value.casefold() == self._value.casefold():  # one of two spellings would be left out without a word
            column = self._cells.only[0] if self._cells.only else ""
            raise CellError(f"column {column!r} has {value!r}, and {self._value!r} is asked for: spell both alike")
        if not self._found and len(self._seen) < _MOST_SEEN:
            self._seen[value] = None
        return False

    def _text(self, cells: Sequence[Any]) -> str:
        if len(self._text_at) == 1:
            text = cells[self._text_at[0]]
            return text if type(text) is str else _text_of(text, self._cells.texts[0])
        fields = [_text_of(cells[at], column) for at, column in zip(self._text_at, self._cells.texts)]
        return join_fields(fields) if any(field.strip() for field in fields) else ""


def _text_of(cell: Any, column: str) -> str:
    if type(cell) is str:
        return cell
    cell = plain(cell)
    if isinstance(cell, list | tuple | set | dict | bytes):
        raise CellError(f"{column!r} holds a {type(cell).__name__}, not a text")
    return "" if is_missing(cell) else str(cell)
