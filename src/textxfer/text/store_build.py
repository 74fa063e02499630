"""Building a token store: tokenize and count, choose the vocabulary, write the ids, rename."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from textxfer.text.document import DataError, Document
from textxfer.text.encode import Numbering, SourceHash, encode
from textxfer.text.store_files import FORMAT, IDS, META, Built, checksum, id_dtype, read_meta, read_store, write_rest
from textxfer.text.tokenizer import Tokenizer
from textxfer.text.vocab import Vocab

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Recipe:
    """All that decides the contents of a store, apart from the documents.

    Args:
        tokenizer: The tokenizer.
        vocab: The vocabulary to use; None: one is counted.
        extend: Tokens that a counted vocabulary has in any case; None: no more than the documents'.
        max_vocab: Largest size of a counted vocabulary.
        min_count: Smallest count of its tokens.
        classes: The classes that labels must belong to; empty: those of the documents.
    """

    tokenizer: Tokenizer
    vocab: Vocab | None
    extend: Vocab | None
    max_vocab: int
    min_count: int
    classes: tuple[str, ...]

    def to_dict(self, source: str) -> dict[str, Any]:
        """Return what identifies the result, given the hash of the documents."""
        counted = self.vocab is None
        return {
            "source": source,
            "tokenizer": self.tokenizer.fingerprint,
            "vocab": None if self.vocab is None else self.vocab.fingerprint,
            "extend": None if self.extend is None else self.extend.fingerprint,
            "max_vocab": self.max_vocab if counted else None,
            "min_count": self.min_count if counted else None,
            "classes": list(self.classes),
        }


def build(
    path: Path | None, documents: Iterable[Document | str], recipe: Recipe, *, n_workers: int, overwrite: bool
) -> Built:
    """Build a store, or open the equal one that is there already; see `TokenStore.build`."""
    if n_workers < 1:
        raise ValueError(f"n_workers={n_workers} must be at least 1")
    if path is None:
        return _build(None, documents, recipe, n_workers)
    existing = _existing(path, overwrite)
    repeatable = iter(documents) is not documents
    # Hashing the documents is a hundred times faster than tokenizing them.
    if existing and repeatable and (same := _reused(path, existing, recipe.to_dict(_hash(documents)), overwrite)):
        return same
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    try:
        built = _build(folder, documents, recipe, n_workers)
        if existing and not repeatable and (same := _reused(path, existing, built.meta["recipe"], overwrite)):
            return same
        del built  # closes the memory map, which some systems demand before renaming
        _move(folder, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return read_store(path, verify=False)


class _Notes:
    """What is noted of each document while its text goes to the tokenizer."""

    def __init__(self, classes: Iterable[str]) -> None:
        self.allowed = frozenset(classes)
        self.names: list[str | None] = []
        self.rows: list[int] = []
        self.source = SourceHash()

    def texts(self, documents: Iterable[Document | str]) -> Iterator[str]:
        for document in _as_documents(documents):
            if self.allowed and document.label is not None and document.label not in self.allowed:
                known = ", ".join(map(repr, sorted(self.allowed)))
                raise DataError(f"row {document.row}: unknown label {document.label!r}; the classes are {known}")
            self.names.append(document.label)
            self.rows.append(document.row)
            self.source.add(document)
            yield document.text

    def labels(self, classes: list[str]) -> np.ndarray:
        number = {name: i for i, name in enumerate(classes)}
        return np.fromiter((-1 if name is None else number[name] for name in self.names), np.int64, len(self.names))


def _build(folder: Path | None, documents: Iterable[Document | str], recipe: Recipe, n_workers: int) -> Built:
    notes, numbering, lengths = _Notes(recipe.classes), Numbering(), []
    with io.BytesIO() if folder is None else tempfile.TemporaryFile(dir=folder) as spool:
        for encoded in encode(notes.texts(documents), recipe.tokenizer, n_workers):
            spool.write(numbering.take(encoded).tobytes())
            lengths.append(encoded.lengths)
        if not lengths:
            raise DataError("there are no documents to build a store from")
        vocab = recipe.vocab
        if vocab is None:
            specials = recipe.tokenizer.specials
            keep = () if recipe.extend is None else recipe.extend.tokens
            vocab = Vocab.from_counts(numbering.counts(), specials, recipe.max_vocab, recipe.min_count, keep)
        ids = _renumber(spool, vocab.ids(numbering.tokens()), id_dtype(vocab), folder)
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
    classes = sorted(recipe.classes or {name for name in notes.names if name is not None})
    meta = {
        "format": FORMAT,
        "documents": len(notes.rows),
        "tokens": len(ids),
        "classes": classes,
        "crc32": checksum(ids),
        "fingerprints": {"vocab": vocab.fingerprint, "tokenizer": recipe.tokenizer.fingerprint},
        "recipe": recipe.to_dict(notes.source.hexdigest()),
    }
    rows = np.asarray(notes.rows, np.int64)
    built = Built(None, ids, offsets, notes.labels(classes), rows, classes, vocab, recipe.tokenizer, meta)
    if folder is not None:
        write_rest(folder, built)
    return built


def _renumber(spool: IO[bytes], final: np.ndarray, dtype: np.dtype[Any], folder: Path | None) -> np.ndarray:
    """Replace provisional ids by those of the vocabulary."""
    final = final.astype(dtype)
    spool.seek(0)
    blocks = iter(lambda: spool.read(4 * _BLOCK), b"")
    renumbered = (final[np.frombuffer(block, np.int32)] for block in blocks)
    if folder is None:
        return np.concatenate(list(renumbered))
    with (folder / IDS).open("wb") as file:
        for block in renumbered:
            file.write(block.tobytes())
        file.flush()
        os.fsync(file.fileno())
    return np.memmap(folder / IDS, dtype, "r")


def _as_documents(documents: Iterable[Document | str]) -> Iterator[Document]:
    if isinstance(documents, str):
        raise TypeError("documents must be several texts or Documents, not one string")
    for number, document in enumerate(documents, 1):
        if isinstance(document, str):
            yield Document(document, None, number)
        elif isinstance(document, Document):
            yield document
        else:
            raise TypeError(f"document {number} is a {type(document).__name__}; a Document or a string is needed")


def _hash(documents: Iterable[Document | str]) -> str:
    source = SourceHash()
    for document in _as_documents(documents):
        source.add(document)
    return source.hexdigest()


def _existing(path: Path, overwrite: bool) -> dict[str, Any] | None:
    """Return the meta data of the store in a folder, None if there is nothing to spare."""
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return None
    if not (path / META).exists():
        raise DataError(f"{path}: exists and is no token store; choose another path or remove it")
    try:
        return read_meta(path)
    except DataError:
        if overwrite:
            return None
        raise


def _reused(path: Path, existing: dict[str, Any], wanted: dict[str, Any], overwrite: bool) -> Built | None:
    """Open the store that is there if it is the one wanted; None if it is to be replaced."""
    found = existing.get("recipe", {})
    different = [_NAMES[key] for key in wanted if found.get(key) != wanted[key]]
    if different and not overwrite:
        raise DataError(
            f"{path}: holds a store with other {' and '.join(different)}; "
            "pass overwrite=True to replace it, or choose another path"
        )
    if different:
        return None
    try:
        return read_store(path)
    except DataError:
        if overwrite:
            return None
        raise


_NAMES = {
    "source": "documents",
    "tokenizer": "tokenizer or rules",
    "vocab": "vocabulary",
    "extend": "vocabulary to extend by",
    "max_vocab": "max_vocab",
    "min_count": "min_count",
    "classes": "classes",
}


def _move(folder: Path, path: Path) -> None:
    """Put a finished folder in its place; what was there is moved aside first and then removed."""
    if path.exists():
        aside = folder.with_suffix(".old")
        path.rename(aside)
        folder.rename(path)
        shutil.rmtree(aside)
    else:
        folder.rename(path)
