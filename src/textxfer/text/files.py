"""Small shared tools: fingerprints, arrays, and JSON files that were written by us."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from textxfer.text.document import DataError

_BLOCK = 1 << 20


def fingerprint(value: Any) -> str:
    """Return the SHA-256 of a JSON value, independent of the order of its keys."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def read_json(path: Path, what: str) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: The file.
        what: What it should be, for the message.

    Raises:
        FileNotFoundError: There is no such file.
        DataError: The file is no JSON object.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected {what}")
    try:
        value = json.loads(path.read_text(encoding="utf-8", errors="surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not readable as JSON ({error}); {what} is damaged, build it again") from None
    if not isinstance(value, dict):
        raise DataError(f"{path}: expected {what}, found a JSON {type(value).__name__}")
    return value


def save_array(path: Path, array: np.ndarray) -> None:
    """Write a one-dimensional array as `.npy`, block by block.

    `np.save` says nothing of the reason if the disk is full.

    Raises:
        OSError: With the system's reason.
    """
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        for first in range(0, len(array), _BLOCK):
            file.write(array[first : first + _BLOCK].tobytes())
