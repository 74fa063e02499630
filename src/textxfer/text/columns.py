"""What is known of each document besides its text, written as the documents pass by."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import isfinite
from pathlib import Path

import numpy as np

from textxfer.text.document import DataError, Document, Label, LabelKind, label_kind, unsound
from textxfer.text.encode import Numbering
from textxfer.text.source import SourceHash

_FLUSH = 1 << 16
_BLOCK = 1 << 20


class Column:
    """A column of numbers that only grows.

    Args:
        kind: `q` for int64, `d` for float64.
        path: A file for the numbers; None keeps them in memory.
    """

    def __init__(self, kind: str, path: Path | None) -> None:
        self._dtype = np.dtype(np.int64 if kind == "q" else np.float64)
        self._recent = array(kind)
        self._path = path
        self._earlier: list[np.ndarray] = []
        if path is not None:
            path.touch()

    def append(self, value: float) -> None:
        """Add a number."""
        self._recent.append(value)  # type: ignore[arg-type]
        if len(self._recent) >= _FLUSH:
            self.flush()

    def extend(self, values: np.ndarray) -> None:
        """Add numbers."""
        self.flush()
        self._put(np.asarray(values, self._dtype))

    def flush(self) -> None:
        """Write what was added."""
        if self._recent:
            self._put(np.array(self._recent, self._dtype))
            del self._recent[:]

    def values(self) -> np.ndarray:
        """Return all numbers; a map of the file if there is one."""
        self.flush()
        if self._path is None:
            return np.concatenate([np.empty(0, self._dtype), *self._earlier])
        size = self._path.stat().st_size // self._dtype.itemsize
        return np.memmap(self._path, self._dtype, "r", shape=(size,)) if size else np.empty(0, self._dtype)

    def _put(self, values: np.ndarray) -> None:
        if self._path is None:
            self._earlier.append(values)
        else:
            with self._path.open("ab") as file:
                file.write(values.tobytes())


class Columns:
    """Rows, labels and lengths of documents.

    Args:
        folder: A folder for files; None keeps all in memory.
        classes: The classes that labels must belong to; empty: any.
        wanted: The kind that labels must be of, that of the store they are to be like; None: any.
    """

    def __init__(self, folder: Path | None, classes: Iterable[str] = (), wanted: LabelKind | None = None) -> None:
        self._folder = folder
        self.source = SourceHash()
        self.n_documents = 0
        self.kind: LabelKind | None = None
        self.names = Numbering()
        self.rows, self.offsets = self._column("q", "rows"), self._column("q", "offsets")
        self.labels, self.label_ids, self.numbers = (
            self._column(kind, name) for kind, name in (("q", "labels"), ("q", "label_ids"), ("d", "numbers"))
        )
        self._allowed, self._wanted = frozenset(classes), wanted
        for name in self._allowed:
            _check_name(name, f"the class {name!r}")
        self.n_tokens = 0
        self.offsets.append(0)

    def texts(self, documents: Iterable[Document | str]) -> Iterator[str]:
        """Take note of each document and pass its text on.

        Raises:
            DataError: A label that is not among the classes, holds NUL or is no finite number, or labels of different
                kinds.
        """
        for document in as_documents(documents):
            self.n_documents += 1
            self.rows.append(document.row)
            self.source.add(document)
            self._add_label(document)
            yield document.text

    def add_lengths(self, lengths: np.ndarray) -> None:
        """Take note of the numbers of tokens of further documents."""
        self.offsets.extend(self.n_tokens + np.cumsum(lengths))
        self.n_tokens += int(lengths.sum())

    def classes(self) -> list[str]:
        """Return the class names, sorted: those allowed, or those that occur."""
        return sorted(self._allowed or self.names)

    def final_labels(self, classes: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the arrays that hold the labels, by name.

        `labels` (D,): the class of each document, the number of its classes, or 0 for a number to predict; -1 without
        label. `label_ids`: the classes of all documents one after the other. `values` (D,): the numbers.
        """
        place = {name: i for i, name in enumerate(classes)}
        final = np.fromiter((place[name] for name in self.names), np.int64, len(self.names))
        if self.kind == "multi":
            ids = self._mapped(self.label_ids, lambda block: final[block])
            return {"labels": self.labels.values(), "label_ids": ids}
        if self.kind == "number":
            return {"labels": self.labels.values(), "values": self.numbers.values()}
        final = np.append(final, -1)  # what -1 points to
        return {"labels": self._mapped(self.labels, lambda block: final[block])}

    def _add_label(self, document: Document) -> None:
        label = document.label
        if label is None:
            self.labels.append(-1)
            self.numbers.append(np.nan)
            return
        self._check_kind(document.row, label)
        if not isinstance(label, str | tuple):
            if not isfinite(label):
                raise DataError(
                    f"row {document.row}: the label {label!r} is no finite number; correct it or remove the row"
                )
            self.numbers.append(label)
            self.labels.append(0)
            return
        names = (label,) if isinstance(label, str) else label
        if self._allowed and (unknown := [name for name in names if name not in self._allowed]):
            known = ", ".join(map(repr, sorted(self._allowed)))
            raise DataError(f"row {document.row}: unknown label {unknown[0]!r}; the classes are {known}")
        for name in names:
            if name not in self.names:
                _check_name(name, f"row {document.row}: the label {name!r}")
        numbers = [self.names[name] for name in names]
        self.labels.append(numbers[0] if isinstance(label, str) else len(numbers))
        if not isinstance(label, str):
            for number in numbers:
                self.label_ids.append(number)

    def _check_kind(self, row: int, label: Label) -> None:
        """Refuse a label of another kind than the others."""
        kind = label_kind(label)
        if self._wanted not in (None, kind):
            raise DataError(
                f"row {row}: the label {label!r} is of kind {kind!r}, those of the store given as like= are of kind "
                f"{self._wanted!r}; read both in the same way (numeric=, label_separator=)"
            )
        if self.kind not in (None, kind):
            raise DataError(
                f"row {row}: the label {label!r} is of kind {kind!r}, those before are of kind {self.kind!r}; "
                "all labels must be class names, tuples of class names, or numbers"
            )
        self.kind = kind

    def _mapped(self, column: Column, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        values, mapped = column.values(), self._column("q", "mapped")
        for first in range(0, len(values), _BLOCK):
            mapped.extend(function(values[first : first + _BLOCK]))
        return mapped.values()

    def _column(self, kind: str, name: str) -> Column:
        return Column(kind, None if self._folder is None else self._folder / f"{name}.raw")


def _check_name(name: str, what: str) -> None:
    """Refuse the name of a class that no file of text could hold; readers have done so with those in their files."""
    if problem := unsound(name):
        raise DataError(f"{what} {problem}")


def as_documents(documents: Iterable[Document | str]) -> Iterator[Document]:
    """Yield documents, plain texts as documents whose row is their number."""
    if isinstance(documents, str):
        raise TypeError("documents must be several texts or Documents, not one string")
    for number, document in enumerate(documents, 1):
        if isinstance(document, str):
            yield Document(document, None, number)
        elif isinstance(document, Document):
            yield document
        else:
            raise TypeError(f"document {number} is a {type(document).__name__}; a Document or a string is needed")
