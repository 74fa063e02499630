"""The token store on disk: a folder, format 2.

| file | contents |
| --- | --- |
| `ids.bin` | token ids of all documents, one document after the other; little-endian uint16, or uint32 if the vocabulary has more than 65,536 tokens; no header |
| `offsets.npy` | int64 (D + 1,): document i is `ids[offsets[i]:offsets[i + 1]]`, never empty, `xxbos` first |
| `rows.npy` | int64 (D,): row of each document in its source, from 1; 0 if there is none |
| `labels.npy` | int64 (D,): the class, a position in `classes`; for several classes per document their number; for numbers 0; always -1 for a document without label |
| `label_ids.npy` | only if `label_kind` is `multi`: int64, the classes of all documents one after the other |
| `values.npy` | only if `label_kind` is `number`: float64 (D,), NaN without label |
| `vocab.json` | tokens in the order of their ids, their counts, fingerprint |
| `tokenizer.json` | kind and parameters of tokenizer and rules |
| `meta.json` | see below; written last |

`meta.json` holds `format`; `documents` and `tokens`; `types`, the number of distinct tokens before the vocabulary was
cut; `label_kind` (`single`, `multi`, `number`) and `classes`; `source`, what the documents were read from, if known; `files`, bytes and CRC-32 of each other file;
`fingerprints` of vocabulary, tokenizer and, if it has some, rules; `recipe`, all that decides the contents, with the SHA-256 of the source
(texts, labels, rows); `crc32`, the CRC-32 of all that as JSON in ASCII with sorted keys. Older stores have no `crc32`, and in `files` only the
files with numbers. D stands for the number of documents.

A store is written under a temporary name and renamed when it is complete and flushed. Equal documents of one source and an
equal recipe give equal bytes, whatever the number of processes.
"""  # noqa: E501

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from textxfer.files import write_json
from textxfer.text.document import DataError, LabelKind
from textxfer.text.files import read_json, save_array
from textxfer.text.store_checks import AGAIN, ARRAYS, check_ids, check_meta, check_rules, check_shapes, check_values
from textxfer.text.tokenizer import Tokenizer
from textxfer.text.tokenizers import tokenizer_from_dict
from textxfer.text.vocab import Vocab

FORMAT = 2
META, VOCAB, TOKENIZER, IDS = "meta.json", "vocab.json", "tokenizer.json", "ids.bin"
_BLOCK = 1 << 24
_LANGUAGE = re.compile(r"[a-z][a-z0-9_-]{1,30}")
_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '<(i8|f8)', 'fortran_order': False, 'shape': \((\d{1,15}),\), \} *\n", re.DOTALL
)


@dataclass(frozen=True)
class Built:
    """Contents of a store; D documents, N tokens.

    Attributes:
        path: The folder, if any.
        ids: (N,) uint16 or uint32.
        arrays: `offsets`, `rows`, `labels` and, by kind of label, `label_ids` or `values`.
        vocab: The vocabulary.
        tokenizer: The tokenizer.
        meta: Contents of `meta.json`.
    """

    path: Path | None
    ids: np.ndarray
    arrays: dict[str, np.ndarray]
    vocab: Vocab
    tokenizer: Tokenizer
    meta: dict[str, Any]

    @property
    def classes(self) -> list[str]:
        """Class names."""
        return self.meta["classes"]

    @property
    def label_kind(self) -> LabelKind:
        """Kind of the labels."""
        return self.meta["label_kind"]

    @property
    def known_kind(self) -> LabelKind | None:
        """Kind of the labels; None if there are none to tell it."""
        return self.label_kind if self.classes or self.label_kind != "single" else None


def id_dtype(vocab: Vocab) -> np.dtype[Any]:
    """The smallest type that holds all ids of a vocabulary."""
    return np.dtype("<u2" if len(vocab) <= 1 << 16 else "<u4")


def write_ids(folder: Path, blocks: Iterable[np.ndarray]) -> None:
    """Write the ids, block by block."""
    with (folder / IDS).open("wb") as file:
        for block in blocks:
            file.write(block.tobytes())


def write_rest(folder: Path, built: Built) -> None:
    """Write everything but the ids, which are there already."""
    for name, array in built.arrays.items():
        save_array(folder / f"{name}.npy", array)
    built.vocab.save(folder / VOCAB)
    write_json(folder / TOKENIZER, built.tokenizer.to_dict())
    names = [IDS, *(f"{name}.npy" for name in built.arrays), VOCAB, TOKENIZER]
    files = {name: {"bytes": (folder / name).stat().st_size, "crc32": _checksum(folder / name)} for name in names}
    meta = {**built.meta, "files": files}
    write_json(folder / META, {**meta, "crc32": meta_checksum(meta)})


def read_meta(path: Path) -> dict[str, Any]:
    """Read and check `meta.json`."""
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no such folder; build the store with TokenStore.build")
    meta = read_json(path / META, "a token store")
    if meta.get("format") != FORMAT:
        raise DataError(f"{path}: token store of format {meta.get('format')!r}, this version reads {FORMAT}; {AGAIN}")
    return meta


def read_tokenizer(path: Path) -> Tokenizer:
    """Read a tokenizer; the values in its file are checked before they are used.

    Args:
        path: A file with what a tokenizer's `to_dict` returned.

    Returns:
        The tokenizer.

    Raises:
        FileNotFoundError: There is no such file.
        DataError: It is damaged, or of a kind that this version does not know.
        MissingPackageError: The package of subword tokenizers is not installed.
    """
    try:
        value = read_json(path, "a tokenizer")
        language = value.get("language", "en")
        if not isinstance(language, str) or not _LANGUAGE.fullmatch(language):  # it becomes the name of a module
            raise ValueError(f"{language!r} is no code of a language")
        tokenizer = tokenizer_from_dict(value)
        if (rules := getattr(tokenizer, "rules", None)) is not None:
            check_rules(rules)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        place = "" if str(path) in str(error) else f"{path}: the tokenizer is damaged: "
        raise DataError(f"{place}{error!s:.500}") from None
    return tokenizer


def read_store(path: Path, vocab: Vocab | None = None, *, verify: bool = True) -> Built:
    """Open a store, see `TokenStore.open`."""
    meta = read_meta(path)
    try:
        check_meta(meta)
        stored, tokenizer = Vocab.load(path / VOCAB), read_tokenizer(path / TOKENIZER)
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{error}; {AGAIN}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path / META}: the store is damaged ({error}); {AGAIN}") from None
    _check_vocab(path, meta["fingerprints"], stored, tokenizer, vocab)
    files, names = meta["files"], ["offsets", "rows", "labels", *ARRAYS[meta["label_kind"]]]
    noted = [name for name in (VOCAB, TOKENIZER) if name in files]
    for name in (IDS, *(f"{name}.npy" for name in names), *noted):
        _check_file(path / name, files.get(name), verify)
    ids = _map_ids(path / IDS, id_dtype(stored), meta["tokens"])
    if verify:
        check_ids(path / IDS, ids, len(stored))
    arrays = {name: _read_array(path / f"{name}.npy") for name in names}
    check_shapes(path, arrays, meta["documents"])
    check_values(path, arrays, meta["tokens"], len(meta["classes"]))
    if verify and meta.get("crc32") not in (None, meta_checksum(meta)):
        raise DataError(f"{path / META}: the checksum does not match, the file is damaged; {AGAIN}")
    return Built(path, ids, arrays, stored, tokenizer, meta)


def _check_vocab(path: Path, prints: dict[str, Any], stored: Vocab, tokenizer: Tokenizer, wanted: Vocab | None) -> None:
    """Refuse vocabulary and tokenizer that are not those the store was made with, or not the vocabulary asked for."""
    _check_print(path, "vocabulary", prints.get("vocab"), stored.fingerprint)
    _check_print(path, "tokenizer", prints.get("tokenizer"), tokenizer.fingerprint)
    if missing := [token for token in tokenizer.specials if token not in stored]:
        raise DataError(f"{path / VOCAB}: lacks special tokens of the tokenizer: {', '.join(missing)}; {AGAIN}")
    if wanted is not None and wanted != stored:
        raise DataError(f"{path}: {differing_vocabs(stored, wanted)}; build it again with vocab= or like=")


def differing_vocabs(stored: Vocab, wanted: Vocab) -> str:
    """Say how two vocabularies differ."""
    if len(stored) != len(wanted):
        return f"the store's vocabulary has {len(stored)} tokens, the one asked for {len(wanted)}"
    i = next(i for i, (a, b) in enumerate(zip(stored.tokens, wanted.tokens)) if a != b)
    return (
        f"the store's vocabulary and the one asked for differ: id {i} is {stored.tokens[i]!r} and {wanted.tokens[i]!r}"
    )


def meta_checksum(meta: dict[str, Any]) -> int | None:
    """Return the CRC-32 of the contents of `meta.json`, its own left out; None if they are nested too deep for one."""
    try:
        text = json.dumps({key: value for key, value in meta.items() if key != "crc32"}, sort_keys=True)
    except RecursionError:
        return None
    return zlib.crc32(text.encode("ascii"))


def _checksum(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            value = zlib.crc32(block, value)
    return value


def _check_print(path: Path, what: str, recorded: Any, found: str) -> None:
    if recorded != found:
        raise DataError(f"{path}: the {what} is not the one the store was built with; {AGAIN}")


def _check_file(path: Path, noted: Any, verify: bool) -> None:
    if not isinstance(noted, dict):
        raise DataError(f"{path.parent / META}: says nothing of {path.name}; {AGAIN}")
    if not path.is_file():
        raise DataError(f"{path}: missing; {AGAIN}")
    if path.stat().st_size != noted.get("bytes"):
        raise DataError(f"{path}: {path.stat().st_size} bytes, expected {noted.get('bytes')}; {AGAIN}")
    if verify and _checksum(path) != noted.get("crc32"):
        raise DataError(f"{path}: the checksum does not match, the file is damaged; {AGAIN}")


def _map_ids(path: Path, dtype: np.dtype[Any], n_tokens: int) -> np.ndarray:
    if path.stat().st_size != n_tokens * dtype.itemsize:
        raise DataError(f"{path}: {path.stat().st_size} bytes for {n_tokens} tokens of {dtype}; {AGAIN}")
    # A plain array over the map: slices of a memmap object are several times slower to make.
    return np.memmap(path, dtype, "r", shape=(n_tokens,)).view(np.ndarray)


def _read_array(path: Path) -> np.ndarray:
    """Map an array as `save_array` writes it; numpy's own reader would evaluate the header as Python."""
    with path.open("rb") as file:
        start = file.read(256)
    found = _HEADER.match(start)
    size = path.stat().st_size
    if not found or found.end() != 10 + int.from_bytes(start[8:10], "little"):
        raise DataError(f"{path}: not readable (no array of whole numbers or fractions); {AGAIN}")
    count, dtype = int(found[2]), np.dtype(f"<{found[1].decode()}")
    if found.end() + count * dtype.itemsize != size:
        raise DataError(f"{path}: not readable ({size:,} bytes for {count:,} numbers); {AGAIN}")
    return np.memmap(path, dtype, "r", offset=found.end(), shape=(count,)).view(np.ndarray)
