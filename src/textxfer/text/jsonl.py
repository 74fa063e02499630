"""Documents from files with one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from textxfer.text.cells import Cells, row_place
from textxfer.text.document import Corpus, DataError, Errors, OnEmpty
from textxfer.text.lines import check_encoding, existing_file, read_lines


def read_jsonl(
    path: str | Path,
    text: str | Sequence[str] = "text",
    label: str | None = None,
    *,
    label_separator: str | None = None,
    numeric: bool = False,
    only: tuple[str, Any] | None = None,
    encoding: str = "utf-8",
    errors: Errors = "strict",
    on_empty: OnEmpty = "error",
) -> Corpus:
    """Read documents from a file with one JSON object a line, also packed as `.gz`, `.xz` or `.zst`.

    Args:
        path: The file.
        text: Key of the text, or several, which become marked fields.
        label: Key of the label; None: no labels. A list of class names makes a tuple.
        label_separator: What stands between the class names of one string; None: a string is one class.
        numeric: Whether the labels are numbers to predict.
        only: A key and a value, such as `("split", "train")`: other rows are passed over. None: all are read.
        encoding: The file's encoding.
        errors: What to do with bytes and characters that are no text: `strict` stops, `replace` puts U+FFFD for them.
        on_empty: What to do with empty texts: `error`, or `skip` them.

    Returns:
        The documents; lines are read when it is iterated over, each time anew.

    Raises:
        FileNotFoundError: No such file.
        DataError: At once for an empty file; while iterating for a bad row.
    """
    cells = Cells(text, label, label_separator, numeric, only, on_empty, errors)
    check_encoding(encoding)
    path = existing_file(path)
    return Corpus(str(path), lambda: cells.documents(str(path), _rows(path, encoding, errors, cells.columns)))


def _rows(path: Path, encoding: str, errors: Errors, keys: Sequence[str]) -> Iterator[tuple[int, list[Any]]]:
    number = 1

    def place(line: int) -> str:
        return row_place(str(path), number, line)

    for line, written in enumerate(read_lines(path, encoding, place, errors=errors), 1):
        if written.isspace():
            continue
        try:
            record = json.loads(written)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{place(line)}: not JSON ({error}); the file needs one complete object a line") from None
        if not isinstance(record, dict):
            raise DataError(f"{place(line)}: a JSON {type(record).__name__} where an object is needed")
        try:
            cells = [record[key] for key in keys]
        except KeyError as error:
            known = ", ".join(map(repr, record)) or "none"
            raise DataError(f"{place(line)}: no key {error.args[0]!r}; there are {known}") from None
        yield line, cells
        number += 1
