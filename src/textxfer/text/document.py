"""Documents, and the error that names the place in the user's data where something is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

Label: TypeAlias = str | tuple[str, ...] | float
"""A class; any number of classes, sorted and without repeats; or a number to predict."""
LabelKind = Literal["single", "multi", "number"]
"""What labels are (a class each, any number of classes, or numbers); `label_kind` tells."""
OnEmpty = Literal["error", "skip"]
Errors = Literal["strict", "replace"]
"""What to do with bytes and characters that are no text: stop, or put U+FFFD for them."""

_LISTED = 50

EMPTY = "the text is empty; fill it in, remove the row or pass on_empty='skip' to drop it"
"""What is said of a row without text."""

_LONE = re.compile("[\ud800-\udfff]")


class DataError(ValueError):
    """The user's data cannot be used as it is; the message names file, row and remedy."""


class MissingPackageError(ImportError):
    """Something needs a package that is not installed; the message says which."""


@dataclass(frozen=True, slots=True)
class Document:
    """One text to learn from or to predict for.

    Args:
        text: The text; several fields are joined by `join_fields`.
        label: A class name; a tuple of class names, sorted and without repeats, empty for none of the classes; or a
            float, a number to predict. None where there is no label.
        row: Number of the record in its source, from 1 (a header does not count); 0 if there is no source.
    """

    text: str
    label: Label | None = None
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


def label_kind(label: Label) -> LabelKind:
    """Return what kind of label it is: `single` (a class), `multi` (any number of them) or `number`.

    Args:
        label: The label of a document.

    Raises:
        TypeError: It is none of them.
    """
    if isinstance(label, str):
        return "single"
    if isinstance(label, tuple):
        return "multi"
    if isinstance(label, float):
        return "number"
    raise TypeError(f"a label is a string, a tuple of strings or a float, not {label!r} of {type(label).__name__}")


def listed(names: Sequence[Any]) -> str:
    """Return names for a message, the first ones if there are very many."""
    more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    return ", ".join(map(repr, names[:_LISTED])) + more


def checked(document: Document, where: str, on_empty: OnEmpty, errors: Errors = "strict") -> Document | None:
    """Return the document, or None if it is empty and empty ones are to be skipped.

    Args:
        document: The document as read.
        where: File and row, for the message.
        on_empty: What to do with a text that has nothing but white space.
        errors: What to do with characters that are no text: `strict` stops, `replace` puts U+FFFD for them.

    Raises:
        DataError: The text is empty and `on_empty` is `error`, or it holds NUL or half of a surrogate pair.
    """
    text = document.text
    if not text or text.isspace():
        if on_empty == "skip":
            return None
        raise DataError(f"{where}: {EMPTY}")
    if (problem := unsound(text)) is None:
        return document
    if errors == "replace":
        return replace(document, text=mended(text))
    raise DataError(f"{where}: the text {problem}")


def unsound(text: str) -> str | None:
    """Say which characters of a string are no text; None if all are."""
    if "\0" in text:
        return "holds a NUL character; the file is damaged or not text (errors='replace' puts U+FFFD for it)"
    if text.isascii():
        return None
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return (
            f"holds half of a surrogate pair, U+{ord(text[error.start]):04X}, at character {error.start + 1}; "
            f"correct it, or pass errors='replace' to put U+FFFD for it"
        )
    return None


def mended(text: str) -> str:
    """Put U+FFFD for the characters that `unsound` finds."""
    return _LONE.sub("\ufffd", text.replace("\0", "\ufffd"))


def check_on_empty(on_empty: str) -> None:
    """Refuse anything but `error` and `skip`."""
    if on_empty not in ("error", "skip"):
        raise ValueError(f"on_empty must be 'error' or 'skip', not {on_empty!r}")


def check_errors(errors: str) -> None:
    """Refuse anything but `strict` and `replace`."""
    if errors not in ("strict", "replace"):
        raise ValueError(f"errors must be 'strict' or 'replace', not {errors!r}")


def check_classes(documents: Iterable[Document]) -> list[str]:
    """Return the sorted class names after checking that a model can be trained on the labels.

    Args:
        documents: Labelled documents.

    Returns:
        The names; none if the labels are numbers.

    Raises:
        DataError: A document has no label or one of another kind than the first, or all have the same.
    """
    labels: set[Label] = set()
    kind: LabelKind | None = None
    for number, document in enumerate(documents, 1):
        place = f"row {document.row or number}"
        if document.label is None:
            raise DataError(f"{place}: no label; a classifier needs one for every document")
        kind = kind or label_kind(document.label)
        if label_kind(document.label) != kind:
            raise DataError(f"{place}: the label {document.label!r} is of another kind than those before ({kind})")
        labels.add(document.label)
    if len(labels) < 2:
        what = "the class" if kind == "single" else "the label"
        found = f"only {what} {next(iter(labels))!r}" if labels else "no documents"
        raise DataError(f"{found} in the data; a classifier needs at least two classes (is it the right label column?)")
    names = [(label,) if isinstance(label, str) else label for label in labels if isinstance(label, str | tuple)]
    return sorted({name for several in names for name in several})
