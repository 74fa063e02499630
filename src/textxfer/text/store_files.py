"""The files of a token store: what they are, and how they are checked when it is opened."""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from textxfer.files import write_json
from textxfer.text.document import DataError
from textxfer.text.files import read_json
from textxfer.text.tokenizer import Tokenizer, tokenizer_from_dict
from textxfer.text.vocab import Vocab

FORMAT = 1
META, VOCAB, TOKENIZER = "meta.json", "vocab.json", "tokenizer.json"
IDS, OFFSETS, LABELS, ROWS = "ids.bin", "offsets.npy", "labels.npy", "rows.npy"
AGAIN = "build the store again (TokenStore.build with overwrite=True)"


@dataclass(frozen=True)
class Built:
    """Contents of a store; D documents, N tokens.

    Attributes:
        path: The folder, if any.
        ids: (N,) uint16 or uint32.
        offsets: (D + 1,) int64.
        labels: (D,) int64.
        rows: (D,) int64.
        classes: Class names.
        vocab: The vocabulary.
        tokenizer: The tokenizer.
        meta: Contents of `meta.json`.
    """

    path: Path | None
    ids: np.ndarray
    offsets: np.ndarray
    labels: np.ndarray
    rows: np.ndarray
    classes: list[str]
    vocab: Vocab
    tokenizer: Tokenizer
    meta: dict[str, Any]


def id_dtype(vocab: Vocab) -> np.dtype[Any]:
    """The smallest type that holds all ids of a vocabulary."""
    return np.dtype(np.uint16 if len(vocab) <= 1 << 16 else np.uint32)


def checksum(ids: np.ndarray) -> int:
    """CRC-32 of the bytes of ids, read piece by piece."""
    value = 0
    for first in range(0, len(ids), 1 << 22):
        value = zlib.crc32(ids[first : first + (1 << 22)].tobytes(), value)
    return value


def write_rest(folder: Path, built: Built) -> None:
    """Write everything but the ids, which are there already, and sync the folder."""
    for name, array in ((OFFSETS, built.offsets), (LABELS, built.labels), (ROWS, built.rows)):
        with (folder / name).open("wb") as file:
            np.save(file, array, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
    built.vocab.save(folder / VOCAB)
    write_json(folder / TOKENIZER, built.tokenizer.to_dict())
    write_json(folder / META, built.meta)


def read_meta(path: Path) -> dict[str, Any]:
    """Read and check `meta.json`."""
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no such folder; build the store with TokenStore.build")
    meta = read_json(path / META, "a token store")
    if meta.get("format") != FORMAT:
        raise DataError(f"{path}: token store of format {meta.get('format')!r}, this version reads {FORMAT}; {AGAIN}")
    return meta


def read_store(path: Path, vocab: Vocab | None = None, *, verify: bool = True) -> Built:
    """Open a store, see `TokenStore.open`."""
    meta = read_meta(path)
    try:
        stored = Vocab.load(path / VOCAB)
        tokenizer = tokenizer_from_dict(read_json(path / TOKENIZER, "a tokenizer"))
        n_documents, n_tokens = int(meta["documents"]), int(meta["tokens"])
        classes, prints = list(meta["classes"]), dict(meta["fingerprints"])
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{error}; {AGAIN}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: the store is damaged ({error}); {AGAIN}") from None
    _check_print(path, "vocabulary", prints.get("vocab"), stored.fingerprint)
    _check_print(path, "tokenizer", prints.get("tokenizer"), tokenizer.fingerprint)
    if vocab is not None and vocab != stored:
        raise DataError(f"{path}: {differing_vocabs(stored, vocab)}; build it again with vocab= or like=")
    ids = _read_ids(path / IDS, stored, n_tokens)
    if verify and checksum(ids) != meta.get("crc32"):
        raise DataError(f"{path / IDS}: the checksum does not match, the file is damaged; {AGAIN}")
    offsets = _read_array(path / OFFSETS, n_documents + 1)
    if offsets[0] != 0 or offsets[-1] != n_tokens or (np.diff(offsets) < 1).any():
        raise DataError(f"{path / OFFSETS}: the offsets do not fit the ids; {AGAIN}")
    labels, rows = _read_array(path / LABELS, n_documents), _read_array(path / ROWS, n_documents)
    if labels.min() < -1 or labels.max() >= len(classes):
        raise DataError(f"{path / LABELS}: a label without a class; {AGAIN}")
    return Built(path, ids, offsets, labels, rows, classes, stored, tokenizer, meta)


def differing_vocabs(stored: Vocab, wanted: Vocab) -> str:
    """Say how two vocabularies differ."""
    if len(stored) != len(wanted):
        return f"the store's vocabulary has {len(stored)} tokens, the one asked for {len(wanted)}"
    i = next(i for i, (a, b) in enumerate(zip(stored.tokens, wanted.tokens)) if a != b)
    return (
        f"the store's vocabulary and the one asked for differ: id {i} is {stored.tokens[i]!r} and {wanted.tokens[i]!r}"
    )


def _check_print(path: Path, what: str, recorded: Any, found: str) -> None:
    if recorded != found:
        raise DataError(f"{path}: the {what} is not the one the store was built with; {AGAIN}")


def _read_ids(path: Path, vocab: Vocab, n_tokens: int) -> np.ndarray:
    dtype = id_dtype(vocab)
    if not path.is_file():
        raise DataError(f"{path}: missing; {AGAIN}")
    if path.stat().st_size != n_tokens * dtype.itemsize:
        raise DataError(f"{path}: {path.stat().st_size} bytes, expected {n_tokens * dtype.itemsize}; {AGAIN}")
    # A plain array over the map: slices of a memmap object are several times slower to make.
    return np.memmap(path, dtype, "r", shape=(n_tokens,)).view(np.ndarray)


def _read_array(path: Path, length: int) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{path}: missing; {AGAIN}") from None
    except (ValueError, EOFError, OSError) as error:
        raise DataError(f"{path}: not readable ({error}); {AGAIN}") from None
    if array.dtype != np.int64 or array.shape != (length,):
        raise DataError(f"{path}: {array.dtype} {array.shape}, expected int64 ({length},); {AGAIN}")
    return array
