"""Readers for data sets in the form in which their authors published them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

from textxfer.text.corpus import read_folder, read_text
from textxfer.text.document import Corpus, DataError, Document, checked
from textxfer.text.fields import LongFields
from textxfer.text.lines import existing_file, read_lines
from textxfer.text.specials import join_fields

TREC_CLASSES = ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")


def read_imdb(path: Path) -> Corpus:
    """Read reviews, one a file: first those in `neg`, then those in `pos`; the folder `unsup` has no labels.

    Args:
        path: The folder `train`, `test` or `train/unsup` of the release.
    """
    if path.name == "unsup":
        return read_folder(path)
    parts = {label: read_folder(path / label) for label in ("neg", "pos")}

    def documents() -> Iterator[Document]:
        numbers = count(1)
        for label, part in parts.items():
            for document in part:
                yield replace(document, label=label, row=next(numbers))

    return Corpus(str(path), documents)


def read_trec(path: Path) -> Corpus:
    """Read questions, one a line after `COARSE:fine`; the coarse class is the label.

    Args:
        path: The file `train_5500.label` or `TREC_10.label`, in Latin-1.
    """
    path = existing_file(path)

    def documents() -> Iterator[Document]:
        for number, line in enumerate(read_lines(path, "latin-1"), 1):
            name, _, question = line.strip().partition(" ")
            coarse, colon, _ = name.partition(":")
            if not colon or coarse not in TREC_CLASSES:
                raise DataError(f"{path}, line {number}: begins with {name!r}, not with a class such as 'DESC:manner'")
            # The one byte of the release beyond ASCII stands for a space ("sister city").
            document = Document(question.replace("\xf0", " "), coarse, number)
            yield from _usable(document, f"{path}, line {number}")

    return Corpus(str(path), documents)


def numbered_csv(classes: Sequence[str], *, escapes: bool = False) -> Callable[[Path], Corpus]:
    r"""Return a reader for the tables of Zhang et al. (2015): no header, the class's number first, then the texts.

    Args:
        classes: Names of the classes 1, 2, ...
        escapes: Whether `\n` is written for a line break and `\"` for a quotation mark, as in the Yelp sets.
    """

    def read(path: Path) -> Corpus:
        path = existing_file(path)
        return Corpus(str(path), lambda: _numbered_rows(path, classes, escapes))

    return read


def read_wikitext(path: Path) -> Corpus:
    """Read the articles of a WikiText file; each begins at a line ` = Title = `.

    Args:
        path: The file, such as `wiki.train.tokens`.
    """
    return read_text(path, breaks="wiki")


def _numbered_rows(path: Path, classes: Sequence[str], escapes: bool) -> Iterator[Document]:
    lines = LongFields(read_lines(path, "utf-8"))
    reader = csv.reader(lines, strict=True)
    width = None
    number = 0
    try:
        for cells in filter(None, reader):
            lines.end_row()
            number += 1
            where = f"{path}, row {number} (line {reader.line_num})"
            width = width or len(cells)
            if len(cells) != width or width < 2:
                raise DataError(f"{where}: {len(cells)} fields, {max(width, 2)} are needed; unpack the archive again")
            fields = [_unescaped(cell) for cell in cells[1:]] if escapes else cells[1:]
            text = join_fields(fields) if any(field.strip() for field in fields) else ""
            yield from _usable(Document(text, _class_name(cells[0], classes, where), number), where)
    except csv.Error as error:
        raise DataError(f"{path}, row {number + 1}: {error}; the file is damaged: unpack the archive again") from None
    finally:
        lines.end_row()


def _class_name(cell: str, classes: Sequence[str], where: str) -> str:
    if not (cell.isascii() and cell.isdigit() and 1 <= int(cell) <= len(classes)):
        raise DataError(f"{where}: the class is {cell!r}, not a number from 1 to {len(classes)}; is it the right file?")
    return classes[int(cell) - 1]


def _unescaped(cell: str) -> str:
    return cell.replace("\\n", "\n").replace('\\"', '"')


def _usable(document: Document, where: str) -> Iterator[Document]:
    """Yield the document unless it is empty: a published data set is not the user's to repair."""
    if (usable := checked(document, where, "skip")) is not None:
        yield usable
