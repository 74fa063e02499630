"""Documents, and the error that names the place in the user's data where something is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

OnEmpty = Literal["error", "skip"]


class DataError(ValueError):
    """The user's data cannot be used as it is; the message names file, row and remedy."""


@dataclass(frozen=True, slots=True)
class Document:
    """One text to learn from or to predict for.

    Args:
        text: The text; several fields are joined by `join_fields`.
        label: Class name; None where there is none.
        row: Number of the record in its source, from 1 (a header does not count); 0 if there is no source.
    """

    text: str
    label: str | None = None
    row: int = 0


@dataclass(frozen=True)
class Corpus:
    """Documents that are read anew each time they are iterated over, so that no corpus has to fit in memory.

    Args:
        name: What messages call the source.
        read: Opens the source and returns an iterator over its documents.
    """

    name: str
    read: Callable[[], Iterator[Document]] = field(repr=False)

    def __iter__(self) -> Iterator[Document]:
        empty = True
        for document in self.read():
            empty = False
            yield document
        if empty:
            raise DataError(f"{self.name}: no documents in it")


def checked(document: Document, where: str, on_empty: OnEmpty) -> Document | None:
    """Return the document, or None if it is empty and empty ones are to be skipped.

    Args:
        document: The document as read.
        where: File and row, for the message.
        on_empty: What to do with a text that has nothing but white space.

    Raises:
        DataError: The text is empty and `on_empty` is `error`, or it holds a NUL character.
    """
    if not document.text.strip():
        if on_empty == "skip":
            return None
        raise DataError(f"{where}: the text is empty; fill it in, remove the row or pass on_empty='skip' to drop it")
    if "\0" in document.text:
        raise DataError(f"{where}: the text holds a NUL character; the file is damaged or not text")
    return document


def check_on_empty(on_empty: str) -> None:
    """Refuse anything but `error` and `skip`."""
    if on_empty not in ("error", "skip"):
        raise ValueError(f"on_empty must be 'error' or 'skip', not {on_empty!r}")


def check_classes(documents: Iterable[Document]) -> list[str]:
    """Return the sorted class names after checking that a classifier can be trained on the documents.

    Args:
        documents: Labelled documents.

    Raises:
        DataError: A document has no label, or all have the same one.
    """
    classes: set[str] = set()
    for number, document in enumerate(documents, 1):
        if document.label is None:
            raise DataError(f"row {document.row or number}: no label; a classifier needs one for every document")
        classes.add(document.label)
    if len(classes) < 2:
        found = f"only the class {next(iter(classes))!r}" if classes else "no documents"
        raise DataError(f"{found} in the data; a classifier needs at least two classes (is it the right label column?)")
    return sorted(classes)
