"""Damaged files from a few bytes, the same ones each time: what Hypothesis and atheris draw are programs for it.

The first byte chooses a file of the sample, the second what to do: other content, edits at some places, or edits of
its JSON values, which also the header of a safetensors file has. What a stranger would put right, such as checksums,
is put right afterwards.
"""

from __future__ import annotations

import copy
import hashlib
import json
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from textxfer.text.files import fingerprint
from textxfer.text.store_files import meta_checksum
from textxfer.text.tokenizers import tokenizer_from_dict

Files = dict[str, bytes]

_DEEP, _LONG = "a very deep place", "a very long number"
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 7, 0.5, -0.0, 1e308, float("nan"), float("inf"), 1 << 31, 10**12, 1 << 63),
    *((1 << 64) - 1, -(1 << 63), 10**400, "", "x", "1", "NaN", "\0", "\ud800", "<script>alert(1)</script>", "a" * 300),
    *("../../evil", "/etc/passwd", "xxbos", [], {}, [[]], [0], [0, 1], [-1, 5], [1 << 40, 0], {"a": 1}, ["a", "a"]),
    *(_DEEP, _LONG),
)
_PIECES = (
    *(b"", b"\0", b"\xff" * 8, b"[" * 3000, b'"', b"\n", b"\r\n", b"NaN", b"-", b"9" * 30, b"{}", b",", b"\x80\x02"),
    *(b"\x7f", b"\\", b"'", b"../"),
)


class Program:
    """Bytes that are read as numbers; at the end they are zeros."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def number(self) -> int:
        return self.byte() << 16 | self.byte() << 8 | self.byte()

    def some(self, n: int) -> bytes:
        taken = self._data[self._at : self._at + n]
        self._at += n
        return taken

    def rest(self) -> bytes:
        return self._data[self._at :]

    def __bool__(self) -> bool:
        return self._at < len(self._data)


def damaged(sample: Mapping[str, bytes], names: tuple[str, ...], data: bytes) -> tuple[str, bytes]:
    """Return the file that the program damages, and its content."""
    program = Program(data)
    name = names[program.byte() % len(names)]
    how = program.byte() % 4
    content = sample[name]
    if how == 0:
        return name, program.rest()
    if how > 1 and name.endswith(".json"):
        return name, edited_json(content, program)
    if how > 1 and name.endswith(".safetensors"):
        length = int.from_bytes(content[:8], "little")
        header = edited_json(content[8 : 8 + length], program)
        return name, len(header).to_bytes(8, "little") + header + content[8 + length :]
    return name, edited(content, program)


def edited(content: bytes, program: Program) -> bytes:
    """Cut, insert, overwrite and repeat."""
    for _ in range(8):
        if not program:
            break
        at, how = program.number() % (len(content) + 1), program.byte()
        n = program.byte() % 16 if how % 4 else program.number() % (len(content) + 1)
        new = _PIECES[program.byte() % len(_PIECES)] if how & 16 else program.some(program.byte() % 9)
        new = content[at : at + n] * (1 + how % 5) if how & 32 else new
        content = content[:at] + new + content[at + (len(new) if how & 64 else n) :]
    return content


def edited_json(content: bytes, program: Program) -> bytes:
    """Change, add and take out values."""
    root = [json.loads(content)]
    for _ in range(8):
        if not program:
            break
        holder, key = _place(root, program)
        how = program.byte() % 8
        value = copy.deepcopy(VALUES[program.byte() % len(VALUES)])
        if how < 5:
            holder[key] = value
        elif how == 5 and holder is not root:
            del holder[key]
        elif isinstance(holder[key], list):
            holder[key].append(value if how == 6 else (holder[key] or [value])[-1])
        elif isinstance(holder[key], dict):
            holder[key][f"k{program.byte()}"] = value
    text = json.dumps(root[0])
    return text.replace(f'"{_DEEP}"', "[" * 5000 + "]" * 5000).replace(f'"{_LONG}"', "9" * 5000).encode()


def _place(root: list[Any], program: Program) -> tuple[Any, Any]:
    holder: Any = root
    key: Any = 0
    while isinstance(holder[key], dict | list) and holder[key]:
        keys = list(holder[key]) if isinstance(holder[key], dict) else range(len(holder[key]))
        choice = program.byte() % (len(keys) + 1)
        if choice == len(keys):
            break
        holder, key = holder[key], keys[choice]
    return holder, key


# ---- what a stranger puts right ----------------------------------------------------------------------------------


def as_is(files: Files) -> Files:
    return files


def mend_artifact(files: Files) -> Files:
    """Fingerprints of vocabulary and tokenizer, length and checksum of shards."""

    def mend(config: dict[str, Any]) -> None:
        config["vocab"], config["tokenizer"] = _prints(files)
        for name, entry in (config.get("shards") or {}).items():
            entry |= {"bytes": len(files[name]), "sha256": hashlib.sha256(files[name]).hexdigest()}

    return _mended(files, "config.json", mend)


def mend_store(files: Files) -> Files:
    """Fingerprints, lengths and checksums."""

    def mend(meta: dict[str, Any]) -> None:
        meta["fingerprints"]["vocab"], meta["fingerprints"]["tokenizer"] = _prints(files)
        for name, entry in meta["files"].items():
            entry |= {"bytes": len(files[name]), "crc32": zlib.crc32(files[name])}
        meta["crc32"] = meta_checksum(meta)

    return _mended(files, "meta.json", mend)


def mend_state(files: Files) -> Files:
    """Checksums of the other files."""
    lines = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items() if name != "SHA256SUMS"]
    return files | {"SHA256SUMS": "".join(lines).encode()}


def _mended(files: Files, name: str, mend: Callable[[dict[str, Any]], None]) -> Files:
    """Change one JSON file; where the damage is too great for that, nothing is put right."""
    try:
        vocab = json.loads(files["vocab.json"])
        vocab["fingerprint"] = fingerprint(vocab["tokens"])
        files["vocab.json"] = json.dumps(vocab).encode()
        value = json.loads(files[name])
        mend(value)
        files[name] = json.dumps(value).encode()
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        return files
    return files


def _prints(files: Files) -> tuple[str, str]:
    vocab = json.loads(files["vocab.json"])["fingerprint"]
    return vocab, tokenizer_from_dict(json.loads(files["tokenizer.json"])).fingerprint
