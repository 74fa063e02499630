"""From the options of a command to documents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from textxfer.cli.common import Reading
from textxfer.text import DataError, Document, read_csv, read_folder, read_jsonl, read_parquet, read_text
from textxfer.text.document import Corpus, OnEmpty
from textxfer.text.packed import PACKINGS

_TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")


def open_corpus(
    path: Path,
    options: Reading,
    label: str | None = None,
    *,
    only: tuple[str, str] | None = None,
    label_separator: str | None = None,
    numeric: bool = False,
) -> Corpus:
    """Return a reader for a file or folder, by the ending of its name.

    Args:
        path: The file or folder.
        options: Columns, encoding and so on.
        label: Column of the label; None reads no labels.
        only: A column and the value that rows must have there to be read; None reads all.
        label_separator: What stands between the class names of one cell; None: a cell is one class.
        numeric: Whether the labels are numbers to predict.

    Raises:
        DataError: If columns are asked of running text or of a folder, or the file cannot be read.
    """
    kind, text = "" if path.is_dir() else _kind(path), list(options.text)
    if kind not in _TABLES:
        if only is not None or label_separator is not None or numeric:
            raise DataError(f"{path}: has no columns; several classes, numbers and splits need {', '.join(_TABLES)}")
        return _without_columns(path, options, label)
    shared: dict[str, Any] = {"label_separator": label_separator, "numeric": numeric, "only": only}
    shared |= {"errors": options.errors, "on_empty": _on_empty(options)}
    if kind == ".parquet":
        return read_parquet(path, text, label, **shared)
    shared["encoding"] = options.encoding
    if kind in (".jsonl", ".ndjson"):
        return read_jsonl(path, text, label, **shared)
    return read_csv(path, text, label, delimiter=_delimiter(options), **shared)


def read_documents(
    path: Path,
    options: Reading,
    label: str | None = None,
    limit: int | None = None,
    *,
    only: tuple[str, str] | None = None,
    label_separator: str | None = None,
    numeric: bool = False,
) -> list[Document]:
    """Read the first `limit` documents, or all; the other arguments are those of `open_corpus`."""
    corpus = open_corpus(path, options, label, only=only, label_separator=label_separator, numeric=numeric)
    return list(islice(corpus, limit))


class Words:
    """Documents of several files, one file after the other; each iteration reads them anew.

    Args:
        paths: The files and folders.
        options: Columns, encoding and so on.
        max_words: End with the document in which there are so many words (white space between them); None reads all.
    """

    def __init__(self, paths: Sequence[Path], options: Reading, max_words: int | None) -> None:
        self.corpora = [open_corpus(path, options) for path in paths]
        self.max_words = max_words

    def __iter__(self) -> Iterator[Document]:
        words = 0
        for document in chain.from_iterable(self.corpora):
            yield document
            if self.max_words is not None:
                words += len(document.text.split())
                if words >= self.max_words:
                    return


def _without_columns(path: Path, options: Reading, label: str | None) -> Corpus:
    if path.is_dir():
        return read_folder(path, encoding=options.encoding, errors=options.errors, on_empty=_on_empty(options))
    if label is not None:
        tables = ", ".join(_TABLES)
        raise DataError(f"{path}: running text has no labels; use {tables} or a folder with a sub-folder per class")
    return read_text(path, options.breaks, encoding=options.encoding, errors=options.errors)


def _delimiter(options: Reading) -> str | None:
    r"""A tab may be written as `\t`, as messages have it: shells make it hard to type one."""
    delimiter = "\t" if options.delimiter == r"\t" else options.delimiter
    if delimiter is not None and len(delimiter) != 1:
        raise DataError(f"--delimiter must be one character, or \\t for a tab, not {delimiter!r}")
    return delimiter


def _on_empty(options: Reading) -> OnEmpty:
    return "skip" if options.skip_empty else "error"


def _kind(path: Path) -> str:
    """Return the ending that says what a file holds."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    kind = next((suffix for suffix in reversed(suffixes) if suffix not in PACKINGS), "")
    if kind == ".parquet" and suffixes[-1] != kind:
        raise DataError(f"{path}: unpack it first; packed Parquet files cannot be read")
    return kind
