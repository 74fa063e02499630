"""Readers: from files, data frames and lists to documents.

Each returns a `Corpus`, which reads its source anew every time it is iterated over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from textxfer.text.document import Corpus, DataError, Document, OnEmpty, check_classes, check_on_empty, checked
from textxfer.text.lines import check_encoding, existing_file, read_lines
from textxfer.text.rules import join_fields
from textxfer.text.tables import read_csv

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Corpus",
    "DataError",
    "Document",
    "check_classes",
    "from_frame",
    "from_texts",
    "read_csv",
    "read_folder",
    "read_jsonl",
    "read_text",
]

Breaks = Literal["wiki", "blank", "line"]
_TITLE = re.compile(r" ?= (?!=).{1,1000} =\s*$")


def from_texts(
    texts: Iterable[str], labels: Sequence[str] | None = None, *, on_empty: OnEmpty = "error"
) -> list[Document]:
    """Make documents of texts.

    Args:
        texts: The texts.
        labels: Their class names, one each; None: no labels.
        on_empty: What to do with empty texts: `error`, or `skip` them.
    """
    check_on_empty(on_empty)
    texts = list(texts)
    if labels is not None and len(labels) != len(texts):
        raise ValueError(f"{len(labels)} labels for {len(texts)} texts")
    documents = []
    for number, text in enumerate(texts, 1):
        if not isinstance(text, str):
            raise TypeError(f"text {number} is a {type(text).__name__}, not a string")
        label = None if labels is None else str(labels[number - 1]).strip()
        document = checked(Document(text, label, number), f"text {number}", on_empty)
        documents += [] if document is None else [document]
    return documents


def from_frame(
    frame: pd.DataFrame, text: str | Sequence[str], label: str | None = None, *, on_empty: OnEmpty = "error"
) -> Corpus:
    """Take documents from a pandas data frame.

    Args:
        frame: One row per document.
        text: Column of the text, or several, which become marked fields.
        label: Column of the class names; None: no labels.
        on_empty: What to do with rows whose text is empty or missing: `error`, or `skip` them.
    """
    check_on_empty(on_empty)
    columns = [text] if isinstance(text, str) else list(text)
    for column in [*columns, *([] if label is None else [label])]:
        if column not in frame.columns:
            raise DataError(f"the frame has no column {column!r}; it has {', '.join(map(repr, frame.columns))}")

    def documents() -> Iterator[Document]:
        fields = zip(*(frame[column].tolist() for column in columns))
        labels = [None] * len(frame) if label is None else frame[label].tolist()
        for number, (cells, name) in enumerate(zip(fields, labels), 1):
            where = f"data frame, row {number}"
            texts = ["" if _is_missing(cell) else str(cell) for cell in cells]
            if label is not None and (_is_missing(name) or not str(name).strip()):
                raise DataError(f"{where}: the label in column {label!r} is missing; fill it in or drop the row")
            content = join_fields(texts) if any(t.strip() for t in texts) else ""
            document = checked(Document(content, None if label is None else str(name).strip(), number), where, on_empty)
            if document is not None:
                yield document

    return Corpus("data frame", documents)


def read_jsonl(
    path: str | Path,
    text: str | Sequence[str] = "text",
    label: str | None = None,
    *,
    encoding: str = "utf-8",
    on_empty: OnEmpty = "error",
) -> Corpus:
    """Read documents from a file with one JSON object a line, also packed as `.gz` or `.xz`.

    Args:
        path: The file.
        text: Key of the text, or several, which become marked fields.
        label: Key of the class names; None: no labels.
        encoding: The file's encoding.
        on_empty: What to do with empty texts: `error`, or `skip` them.

    Raises:
        FileNotFoundError: No such file.
        DataError: At once for an empty file; while iterating for a bad line.
    """
    check_on_empty(on_empty)
    check_encoding(encoding)
    path = existing_file(path)
    keys = (text,) if isinstance(text, str) else tuple(text)

    def documents() -> Iterator[Document]:
        for number, line in enumerate(read_lines(path, encoding), 1):
            where = f"{path}, line {number}"
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except ValueError as error:
                raise DataError(f"{where}: not JSON ({error}); the file needs one complete object a line") from None
            fields = [_string(record, key, where) for key in keys]
            name = None if label is None else _string(record, label, where).strip()
            if name == "":
                raise DataError(f"{where}: the label {label!r} is missing; fill it in or remove the line")
            content = join_fields(fields) if any(field.strip() for field in fields) else ""
            document = checked(Document(content, name, number), where, on_empty)
            if document is not None:
                yield document

    return Corpus(str(path), documents)


def read_folder(
    path: str | Path, pattern: str = "*.txt", *, encoding: str = "utf-8", on_empty: OnEmpty = "error"
) -> Corpus:
    """Read one document per file.

    If the folder has sub-folders with matching files, these are the classes and files beside them do not count;
    otherwise its files are documents without labels. Files are read in the order of their names.

    Args:
        path: The folder.
        pattern: Which files to read.
        encoding: The files' encoding.
        on_empty: What to do with empty files: `error`, or `skip` them.

    Raises:
        FileNotFoundError: No such folder.
        DataError: No file matches; while iterating for a bad file.
    """
    check_on_empty(on_empty)
    check_encoding(encoding)
    root = Path(path)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder")
    files = [(file, file.parent.name) for file in sorted(root.glob(f"*/{pattern}")) if file.is_file()]
    named = files or [(file, None) for file in sorted(root.glob(pattern)) if file.is_file()]
    if not named:
        raise DataError(f"{root}: neither the folder nor its sub-folders hold a file {pattern}; pass pattern=")

    def documents() -> Iterator[Document]:
        for number, (file, name) in enumerate(named, 1):
            content = "".join(read_lines(file, encoding))
            document = checked(Document(content, name, number), str(file), on_empty)
            if document is not None:
                yield document

    return Corpus(str(root), documents)


def read_text(path: str | Path | Sequence[str | Path], breaks: Breaks = "blank", *, encoding: str = "utf-8") -> Corpus:
    """Read unlabelled documents from running text, for language models; also packed as `.gz` or `.xz`.

    Args:
        path: The file, or several, read one after the other.
        breaks: Where a document begins: `wiki`, at a line ` = Title = ` (WikiText); `blank`, after a blank line;
            `line`, at each line.
        encoding: The files' encoding.

    Raises:
        FileNotFoundError: No such file.
        DataError: At once for an empty file; while iterating for bytes that are not text.
    """
    if breaks not in ("wiki", "blank", "line"):
        raise ValueError(f"breaks must be 'wiki', 'blank' or 'line', not {breaks!r}")
    check_encoding(encoding)
    files = [existing_file(p) for p in ([path] if isinstance(path, str | Path) else path)]

    def documents() -> Iterator[Document]:
        numbers = count(1)
        for file in files:
            for content in _passages(read_lines(file, encoding), breaks):
                number = next(numbers)
                document = checked(Document(content, None, number), f"{file}, document {number}", "error")
                if document is not None:
                    yield document

    return Corpus(", ".join(map(str, files)), documents)


def _passages(lines: Iterable[str], breaks: Breaks) -> Iterator[str]:
    passage: list[str] = []
    after_blank = True
    for line in lines:
        blank = not line.strip()
        starts = breaks == "line" or (after_blank if breaks == "blank" else after_blank and _TITLE.match(line))
        if starts and not blank and passage:
            yield "".join(passage)
            passage = []
        if not blank or (breaks == "wiki" and passage):
            passage.append(line)
        after_blank = blank
    if passage:
        yield "".join(passage)


def _is_missing(cell: Any) -> bool:
    return cell is None or cell != cell  # NaN, NaT


def _string(record: Any, key: str, where: str) -> str:
    if not isinstance(record, dict):
        raise DataError(f"{where}: a JSON {type(record).__name__} where an object is needed")
    if key not in record:
        raise DataError(f"{where}: no key {key!r}; there are {', '.join(map(repr, record))}")
    value = record[key]
    if value is None:
        return ""
    if isinstance(value, dict | list):
        raise DataError(f"{where}: {key!r} is a JSON {type(value).__name__}, not a text")
    return str(value)
