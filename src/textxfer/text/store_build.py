"""Building a token store: chunks, tokens, vocabulary, ids; all under a temporary name that is renamed at the end."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from textxfer.files import FULL, new_folder
from textxfer.text.columns import Columns, as_documents
from textxfer.text.document import Corpus, DataError, Document, LabelKind
from textxfer.text.encode import pieces, split_piece
from textxfer.text.progress import Throughput
from textxfer.text.shards import Shard, ShardWriter, counts, final_ids
from textxfer.text.source import SourceHash
from textxfer.text.store_files import FORMAT, META, Built, id_dtype, read_meta, read_store, write_ids, write_rest
from textxfer.text.tokenizer import Tokenizer
from textxfer.text.vocab import Vocab
from textxfer.text.workers import workers

_SCRATCH = "scratch"


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
        kind: The kind that labels must be of, which changes nothing about the result; None: any.
    """

    tokenizer: Tokenizer
    vocab: Vocab | None
    extend: Vocab | None
    max_vocab: int
    min_count: int
    classes: tuple[str, ...]
    kind: LabelKind | None = None

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


@dataclass(frozen=True)
class Work:
    """How a store is built; changes nothing about the result.

    Args:
        n_workers: Number of processes that tokenize.
        overwrite: Whether to replace a folder that holds a different store.
        progress: Whether to show how far it has come.
    """

    n_workers: int = 1
    overwrite: bool = False
    progress: bool = False

    def __post_init__(self) -> None:
        if self.n_workers < 1:
            raise ValueError(f"n_workers={self.n_workers} must be at least 1")


def build(path: Path | None, documents: Iterable[Document | str], recipe: Recipe, work: Work) -> Built:
    """Build a store, or open the equal one that is there already; see `TokenStore.build`."""
    if path is None:
        return _build(None, documents, recipe, work)
    existing = _existing(path, work.overwrite)
    repeatable = iter(documents) is not documents
    # Hashing the documents is much faster than tokenizing them.
    if existing and repeatable and (same := _reused(path, existing, recipe.to_dict(_hash(documents)), work.overwrite)):
        return same
    with _explained(path), new_folder(path, replace=True) as folder:
        built = _build(folder, documents, recipe, work)
        write_rest(folder, built)
        # Raises if there is a different store, by now also that of another process; an equal one may be replaced.
        if not work.overwrite and (there := _existing(path, False)):
            _reused(path, there, built.meta["recipe"], False)
        del built  # closes its maps, which some systems demand before removing their files
        shutil.rmtree(folder / _SCRATCH)
    return read_store(path, verify=False)


def _build(folder: Path | None, documents: Iterable[Document | str], recipe: Recipe, work: Work) -> Built:
    """Return the contents of a store.

    Args:
        folder: Where the ids are written, and not returned; the other arrays then lie in a scratch folder of it.
            None: all is in memory.
        documents: The documents.
        recipe: What decides the contents.
        work: How it is done.
    """
    scratch = None
    if folder is not None:
        scratch = folder / _SCRATCH
        scratch.mkdir()
    columns = Columns(scratch, recipe.classes, recipe.kind)
    shown = Throughput(work.progress, len(documents) if isinstance(documents, Sized) else None)
    shards = _tokenize(documents, columns, recipe.tokenizer, work.n_workers, scratch, shown)
    vocab, n_types = _vocabulary(shards, recipe)
    ids, blocks = np.empty(0, id_dtype(vocab)), final_ids(shards, vocab, id_dtype(vocab))
    if folder is None:
        ids = np.concatenate(list(blocks))
    else:
        write_ids(folder, blocks)
    classes = columns.classes()
    arrays = {"offsets": columns.offsets.values(), "rows": columns.rows.values(), **columns.final_labels(classes)}
    shown.finish(int(arrays["offsets"][-1]))
    name = documents.name if isinstance(documents, Corpus) else None
    return Built(None, ids, arrays, vocab, recipe.tokenizer, _meta(columns, recipe, vocab, n_types, name))


def _meta(columns: Columns, recipe: Recipe, vocab: Vocab, n_types: int, source: str | None) -> dict[str, Any]:
    prints = {"vocab": vocab.fingerprint, "tokenizer": recipe.tokenizer.fingerprint}
    if (rules := getattr(recipe.tokenizer, "rules", None)) is not None:
        prints["rules"] = rules.fingerprint
    return {
        "format": FORMAT,
        "documents": columns.n_documents,
        "tokens": columns.n_tokens,
        "types": n_types,
        "label_kind": columns.kind or "single",
        "classes": columns.classes(),
        "source": source,
        "fingerprints": prints,
        "recipe": recipe.to_dict(columns.source.hexdigest()),
    }


def _tokenize(
    documents: Iterable[Document | str],
    columns: Columns,
    tokenizer: Tokenizer,
    n_workers: int,
    scratch: Path | None,
    shown: Throughput,
) -> list[Shard]:
    work = shown.pieces(pieces(columns.texts(documents)))
    head = list(islice(work, 2))
    with workers(tokenizer, n_workers if len(head) > 1 else 1) as mapper:  # a single piece is not worth a process
        writer = ShardWriter(tokenizer, mapper, scratch)
        for piece in mapper(split_piece, chain(head, work)):
            writer.add(piece)
            if writer.full:
                columns.add_lengths(writer.finish())
            shown.show()
        columns.add_lengths(writer.finish())
    if not columns.n_documents:
        raise DataError("there are no documents to build a store from")
    return writer.shards


def _vocabulary(shards: list[Shard], recipe: Recipe) -> tuple[Vocab, int]:
    """Return the vocabulary and the number of distinct tokens."""
    n_types = 0

    def counted() -> Iterator[tuple[str, int]]:
        nonlocal n_types
        for pair in counts(shards):
            n_types += 1
            yield pair

    if recipe.vocab is not None:
        deque(counted(), maxlen=0)
        return recipe.vocab, n_types
    keep = () if recipe.extend is None else recipe.extend.tokens
    vocab = Vocab.from_counts(counted(), recipe.tokenizer.specials, recipe.max_vocab, recipe.min_count, keep)
    return vocab, n_types


def _hash(documents: Iterable[Document | str]) -> str:
    source = SourceHash()
    for document in as_documents(documents):
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


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Say in words that the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise DataError(
            f"{path}: no room to write the store ({error.strerror}); nothing was left behind. Free some space, about "
            "twice the size of the texts, or choose a path on another disk"
        ) from error
