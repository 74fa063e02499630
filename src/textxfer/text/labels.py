"""From the cell of a table to a label: a class name, several of them, or a number."""

from __future__ import annotations

import math
from numbers import Number
from typing import Any

from textxfer.text.document import Errors, Label, mended, unsound

_WHOLE = 2.0**53  # larger floats are not exact
_MOST_KNOWN = 1 << 14


class CellError(ValueError):
    """What is wrong with a cell; whoever knows the row says where."""


class LabelParser:
    """A function from the cells of a column to labels, which notices cells of different types.

    Args:
        column: Name of the column, for messages.
        separator: What stands between the class names of one cell; None: a cell is one class name, a list several.
        numeric: Whether the labels are numbers.
        errors: What to do with characters in class names that are no text.
    """

    def __init__(self, column: str, separator: str | None = None, numeric: bool = False, errors: Errors = "strict"):
        self._column, self._separator, self._numeric, self._errors = column, separator, numeric, errors
        self._kind: str | None = None
        self._known: dict[str, Label] = {}

    def __call__(self, cell: Any) -> Label:
        """Return the label of a cell.

        Raises:
            CellError: It makes none.
        """
        if type(cell) is str and (known := self._known.get(cell)) is not None:
            return known
        cell = plain(cell)
        self._check(cell)
        if self._numeric:
            return self._number(cell)
        if self._separator is not None or isinstance(cell, list | tuple):
            label = self._several(cell)
        else:
            label = self._name(cell)
        if type(cell) is str and len(self._known) < _MOST_KNOWN:
            self._known[cell] = label  # saves time, and a string for each row
        return label

    def _check(self, cell: Any) -> None:
        if is_missing(cell):
            raise self._missing()
        kind = _kind(cell)
        self._kind = self._kind or kind
        if kind != self._kind:
            raise CellError(
                f"the label {cell!r} in column {self._column!r} is a {kind}, those before it are each a {self._kind}; "
                f"make all of them one type"
            )

    def _name(self, cell: Any) -> str:
        if _kind(cell) not in ("string", "number", "bool"):
            raise CellError(f"the label in column {self._column!r} is a {_kind(cell)}, not a name or a number")
        name = written(cell).strip()
        if not name:
            raise self._missing()
        if problem := unsound(name):
            if self._errors == "strict":
                raise CellError(f"the label in column {self._column!r} {problem}")
            name = mended(name)
        return name

    def _several(self, cell: Any) -> tuple[str, ...]:
        parts = list(cell) if isinstance(cell, list | tuple) else written(cell).split(self._separator)
        if any(is_missing(part) for part in parts):
            raise CellError(f"a label in the list in column {self._column!r} is missing; take it out of the list")
        return tuple(sorted({self._name(part) for part in parts if not (isinstance(part, str) and not part.strip())}))

    def _number(self, cell: Any) -> float:
        if isinstance(cell, str) and not cell.strip():
            raise self._missing()
        # Python reads 1_000 as a number, other programs do not.
        sound = "_" not in cell if isinstance(cell, str) else _kind(cell) == "number"
        try:
            value = float(cell) if sound else math.nan
        except (TypeError, ValueError, OverflowError):
            value = math.nan
        if not math.isfinite(value):
            what = "is no finite number; correct it or remove the row"
            raise CellError(f"the label {cell!r:.80} in column {self._column!r} {what}")
        return value

    def _missing(self) -> CellError:
        none = "" if self._separator is None else " ('' for none of the classes)"
        return CellError(f"the label in column {self._column!r} is missing; fill it in{none} or remove the row")


def plain(cell: Any) -> Any:
    """Return numbers, arrays and tensors of other libraries as Python's numbers and lists."""
    return cell if type(cell) is str or not hasattr(cell, "tolist") else cell.tolist()


def is_missing(cell: Any) -> bool:
    """Whether a cell holds None, NaN, NaT or pandas' NA."""
    # NA says neither that it is equal to itself nor that it is not.
    return cell is None or (type(cell) is not str and (type(cell).__name__ == "NAType" or bool(cell != cell)))


def written(cell: Any) -> str:
    """Return a cell as text: whole numbers without a point, since pandas makes floats of a column with gaps."""
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < _WHOLE:
        return str(int(cell))
    return str(cell)


def _kind(cell: Any) -> str:
    if isinstance(cell, str):
        return "string"
    if isinstance(cell, bool):
        return "bool"
    if isinstance(cell, Number):
        return "number"
    return "list" if isinstance(cell, list | tuple) else type(cell).__name__


def check_class_names(names: object) -> None:
    """Refuse what is no list of class names, as a damaged file may have it.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(names, list) or not all(isinstance(name, str) and not unsound(name) for name in names):
        raise ValueError("classes is no list of names")
