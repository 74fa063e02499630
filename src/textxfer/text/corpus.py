"""Readers: from files, data frames and lists to documents.

Each returns a `Corpus`, which reads its source anew every time it is iterated over.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Literal

from textxfer.text.cells import Cells
from textxfer.text.document import (
    Corpus,
    DataError,
    Document,
    Errors,
    Label,
    LabelKind,
    OnEmpty,
    check_classes,
    check_errors,
    check_on_empty,
    checked,
    label_kind,
)
from textxfer.text.hub import from_dataset
from textxfer.text.jsonl import read_jsonl
from textxfer.text.lines import check_encoding, existing_file, longest_passage, read_lines
from textxfer.text.parquet import read_parquet
from textxfer.text.records import from_frame, from_records
from textxfer.text.tables import read_csv

__all__ = [
    "Corpus",
    "DataError",
    "Document",
    "Label",
    "LabelKind",
    "check_classes",
    "from_dataset",
    "from_frame",
    "from_records",
    "from_texts",
    "label_kind",
    "read_csv",
    "read_folder",
    "read_jsonl",
    "read_parquet",
    "read_text",
]

Breaks = Literal["wiki", "blank", "line"]
_JOINED = 1 << 12  # lines that are joined: short ones take far more memory than their characters
_TITLE = re.compile(r" ?= (?!=).{1,1000} =\s*$")


def from_texts(
    texts: Iterable[str],
    labels: Sequence[Any] | None = None,
    *,
    label_separator: str | None = None,
    numeric: bool = False,
    errors: Errors = "strict",
    on_empty: OnEmpty = "error",
) -> list[Document]:
    """Make documents of texts.

    Args:
        texts: The texts.
        labels: Their labels, one each: class names, whole numbers, or lists of class names; None: no labels.
        label_separator: What stands between the class names of one string; None: a string is one class.
        numeric: Whether the labels are numbers to predict.
        errors: What to do with characters that are no text: `strict` stops, `replace` puts U+FFFD for them.
        on_empty: What to do with empty texts: `error`, or `skip` them.

    Returns:
        The documents, in the order of the texts.

    Raises:
        DataError: A text is empty or a label is missing.
        TypeError: A text is no string.
        ValueError: There is not one label per text.
    """
    cells = Cells("text", None if labels is None else "label", label_separator, numeric, None, on_empty, errors)
    texts = list(texts)
    if labels is not None and len(labels) != len(texts):
        raise ValueError(f"{len(labels)} labels for {len(texts)} texts")
    for number, text in enumerate(texts, 1):
        if not isinstance(text, str):
            raise TypeError(f"text {number} is of type {type(text).__name__}, and should be a string")
    rows = ((0, (text,)) for text in texts) if labels is None else ((0, pair) for pair in zip(texts, labels))
    return list(cells.documents("texts", rows, where=lambda number, _: f"text {number}"))


def read_folder(
    path: str | Path,
    pattern: str = "*.txt",
    *,
    encoding: str = "utf-8",
    errors: Errors = "strict",
    on_empty: OnEmpty = "error",
) -> Corpus:
    """Read one document per file.

    If the folder has sub-folders with matching files, these are the classes and files beside them do not count;
    otherwise its files are documents without labels. Files are read in the order of their names. What begins with a
    dot is left out, such as `.ipynb_checkpoints`.

    Args:
        path: The folder.
        pattern: Which files to read.
        encoding: The files' encoding.
        errors: What to do with bytes and characters that are no text: `strict` stops, `replace` puts U+FFFD for them.
        on_empty: What to do with empty files: `error`, or `skip` them.

    Returns:
        The documents; files are read when it is iterated over, each time anew.

    Raises:
        FileNotFoundError: No such folder.
        DataError: No file matches, or one is a link that leads nowhere; while iterating for a bad file.
    """
    check_on_empty(on_empty)
    check_errors(errors)
    check_encoding(encoding)
    root = Path(path)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder")
    named = files_in(root, pattern)
    if not named:
        raise DataError(f"{root}: neither the folder nor its sub-folders hold a file {pattern}; pass pattern=")

    def documents() -> Iterator[Document]:
        for number, (file, name) in enumerate(named, 1):
            content = _whole(file, read_lines(file, encoding, errors=errors))
            document = checked(Document(content, name, number), str(file), on_empty, errors)
            if document is not None:
                yield document

    return Corpus(str(root), documents)


def read_text(
    path: str | Path | Sequence[str | Path],
    breaks: Breaks = "blank",
    *,
    encoding: str = "utf-8",
    errors: Errors = "strict",
) -> Corpus:
    """Read unlabelled documents from running text, for language models; also packed as `.gz`, `.xz` or `.zst`.

    Args:
        path: The file, or several, read one after the other.
        breaks: Where a document begins: `wiki`, at a line `= Title =` with spaces around it (WikiText); `blank`,
            after a blank line; `line`, at each line.
        encoding: The files' encoding.
        errors: What to do with bytes and characters that are no text: `strict` stops, `replace` puts U+FFFD for them.

    Returns:
        The documents; files are read when it is iterated over, each time anew.

    Raises:
        FileNotFoundError: No such file.
        DataError: At once for an empty file; while iterating for bytes that are not text.
        ValueError: There is no such `breaks` or `errors`, or no such encoding.
    """
    check_errors(errors)
    if breaks not in ("wiki", "blank", "line"):
        raise ValueError(f"breaks must be 'wiki', 'blank' or 'line', not {breaks!r}")
    check_encoding(encoding)
    files = [existing_file(p) for p in ([path] if isinstance(path, str | Path) else path)]

    def documents() -> Iterator[Document]:
        numbers = count(1)
        for file in files:
            for content in _passages(file, read_lines(file, encoding, errors=errors), breaks):
                number = next(numbers)
                place = f"{file}, document {number}"
                document = checked(Document(content, None, number), place, "error", errors)
                if document is not None:
                    yield document

    return Corpus(", ".join(map(str, files)), documents)


def _passages(file: Path, lines: Iterable[str], breaks: Breaks) -> Iterator[str]:
    passage: list[str] = []
    begun: list[str] = []
    after_blank = True
    for line in lines:
        blank = not line.strip()
        starts = breaks == "line" or (after_blank if breaks == "blank" else after_blank and _TITLE.match(line))
        if starts and not blank and passage:
            yield "".join([*begun, *passage])
            begun, passage = [], []
        if not blank or (breaks == "wiki" and passage):
            if len(passage) > _JOINED:
                passage = _join(file, begun, passage)
            passage.append(line)
        after_blank = blank
    if passage:
        yield "".join([*begun, *passage])


def files_in(folder: Path, pattern: str = "*.txt") -> list[tuple[Path, str | None]]:
    """Return the files that `read_folder` reads, each with its class.

    Args:
        folder: The folder.
        pattern: Which files.

    Raises:
        DataError: A file is a link that leads nowhere.
    """
    files = [(file, file.parent.name) for file in _matching(folder, f"*/{pattern}")]
    return [*files] or [(file, None) for file in _matching(folder, pattern)]


def _matching(root: Path, pattern: str) -> list[Path]:
    """Return the files below a folder that match, in the order of their names."""
    found = []
    for path in sorted(root.glob(pattern)):
        if any(part[0] == "." and part != ".." for part in path.relative_to(root).parts):
            continue
        if path.is_symlink() and not path.exists():
            raise DataError(f"{path}: the link leads to {path.readlink()}, which is not there; mend or remove it")
        if path.is_file():
            found.append(path)
    return found


def _whole(file: Path, lines: Iterable[str]) -> str:
    begun: list[str] = []
    passage: list[str] = []
    for line in lines:
        passage.append(line)
        if len(passage) > _JOINED:
            passage = _join(file, begun, passage)
    return "".join([*begun, *passage])


def _join(file: Path, begun: list[str], passage: list[str]) -> list[str]:
    """Put the lines of a long passage with those before as one string; of a packed file it may not go on forever."""
    begun.append("".join(passage))
    longest = longest_passage(file)
    if longest is not None and sum(map(len, begun)) > longest:
        raise DataError(
            f"{file}: a document is longer than {longest:,} characters; does it end where breaks= says? "
            "If it shall be read as it is, unpack the file"
        )
    return []
