"""Building a token store: count, choose the vocabulary, write the ids, rename."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from textxfer.text.document import DataError, Document
from textxfer.text.encode import Numbering, SourceHash, encode
from textxfer.text.store_files import FORMAT, IDS, Built, checksum, id_dtype, read_meta, read_store, write_rest
from textxfer.text.tokenizer import Tokenizer
from textxfer.text.vocab import Vocab

__all__ = ["Built", "build"]


def build(
    path: Path | None,
    documents: Iterable[Document | str],
    tokenizer: Tokenizer,
    *,
    vocab: Vocab | None,
    max_vocab: int,
    min_count: int,
    classes: list[str],
    n_workers: int,
    overwrite: bool,
) -> Built:
    """Build a store or open the equal one that is there already, see `TokenStore.build`."""
    if n_workers < 1:
        raise ValueError(f"n_workers={n_workers} must be at least 1")
    recipe = _recipe(tokenizer, vocab, max_vocab, min_count, classes)
    if path is None:
        return _build(None, None, documents, tokenizer, vocab, recipe, n_workers)
    existing = _existing(path) if path.exists() else None
    if existing is not None and iter(documents) is not documents:
        # Hashing is some hundred times faster than tokenizing.
        differences = _differences(existing, {**recipe, "source": _hash(documents)})
        if not differences:
            return read_store(path)
        _refuse_unless(overwrite, path, differences)
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    try:
        built = _build(folder, path, documents, tokenizer, vocab, recipe, n_workers)
        if existing is not None:
            differences = _differences(existing, built.meta["recipe"])
            if not differences:
                return read_store(path)
            _refuse_unless(overwrite, path, differences)
        _move(folder, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return read_store(path, verify=False)


@dataclass
class _Rows:
    """What is noted of each document while its text is tokenized."""

    labels: list[str | None] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    source: SourceHash = field(default_factory=SourceHash)

    def texts(self, documents: Iterable[Document | str]) -> Iterator[str]:
        for document in _as_documents(documents):
            self.labels.append(document.label)
            self.rows.append(document.row)
            self.source.add(document)
            yield document.text


def _build(
    folder: Path | None,
    path: Path | None,
    documents: Iterable[Document | str],
    tokenizer: Tokenizer,
    vocab: Vocab | None,
    recipe: dict[str, Any],
    n_workers: int,
) -> Built:
    noted, numbering, lengths = _Rows(), Numbering(), []
    # The first pass: ids in order of appearance go to a spool file, or stay in memory.
    with tempfile.TemporaryFile(dir=folder) if folder is not None else _Memory() as spool:
        for encoded in encode(noted.texts(documents), tokenizer, n_workers):
            spool.write(numbering.take(encoded).tobytes())
            lengths.append(encoded.lengths)
        if not lengths:
            raise DataError("no documents to build a store from")
        counts = numbering.counts()
        if vocab is None:
            vocab = Vocab.from_counts(counts, tokenizer.specials, recipe["max_vocab"], recipe["min_count"])
        offsets = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
        # The second pass only renumbers.
        final = vocab.ids(list(counts)).astype(id_dtype(vocab))
        spool.seek(0)
        ids = _renumber(spool, final, int(offsets[-1]), folder)
    classes, labels = _classes(noted, recipe["classes"])
    rows = np.asarray(noted.rows, np.int64)
    recipe = {**recipe, "source": noted.source.hexdigest()}
    meta = {
        "format": FORMAT,
        "documents": len(labels),
        "tokens": len(ids),
        "classes": classes,
        "crc32": checksum(ids),
        "fingerprints": {"vocab": vocab.fingerprint, "tokenizer": tokenizer.fingerprint},
        "recipe": recipe,
    }
    built = Built(path, ids, offsets, labels, rows, classes, vocab, tokenizer, meta)
    if folder is not None:
        write_rest(folder, built)
    return built
