"""From the options of a command to documents."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from textxfer.cli.config import Reading
from textxfer.text import DataError, Document, read_csv, read_folder, read_jsonl, read_text
from textxfer.text.document import Corpus

_PACKED = {".gz", ".xz"}


def open_corpus(path: Path, options: Reading, label: str | None = None) -> Corpus:
    """Return a reader for a file or folder, by the ending of its name.

    Args:
        path: The file or folder.
        options: Columns, encoding and so on.
        label: Column of the class names; None reads no labels.

    Raises:
        DataError: If labels are asked of running text, or the file cannot be read.
    """
    on_empty = "skip" if options.skip_empty else "error"
    encoding, text = options.encoding, list(options.text)
    kind = next((suffix for suffix in reversed(path.suffixes) if suffix not in _PACKED), "")
    if path.is_dir():
        return read_folder(path, encoding=encoding, on_empty=on_empty)
    if kind in (".csv", ".tsv"):
        return read_csv(path, text, label, delimiter=options.delimiter, encoding=encoding, on_empty=on_empty)
    if kind in (".jsonl", ".ndjson"):
        return read_jsonl(path, text, label, encoding=encoding, on_empty=on_empty)
    if label is not None:
        raise DataError(
            f"{path}: running text has no labels; use .csv, .tsv, .jsonl or a folder with a sub-folder per class"
        )
    return read_text(path, options.breaks, encoding=encoding)


def read_documents(path: Path, options: Reading, label: str | None = None, limit: int | None = None) -> list[Document]:
    """Read the first `limit` documents, or all."""
    return list(islice(open_corpus(path, options, label), limit))


def read_words(path: Path, options: Reading, max_words: int | None) -> list[Document]:
    """Read whole documents until there are `max_words` words (white space between them), or all."""
    documents, words = [], 0
    for document in open_corpus(path, options):
        documents.append(document)
        words += len(document.text.split())
        if max_words is not None and words >= max_words:
            break
    return documents
