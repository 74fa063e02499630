"""Reading the vocabulary that goes with old weights: a list of strings in a pickle, JSON or text file.

A pickle is a program, and one that is not a list of strings is never run. Its instructions are read first, without
doing them: strings, one list or tuple and nothing else may be in it. So it cannot name a class or function, and cannot
hold what grows without bounds when it is built. What is left goes through an unpickler that finds no class.
"""

from __future__ import annotations

import io
import json
import pickle
import pickletools
from pathlib import Path
from typing import Any, NoReturn

from textxfer.artifact import ArtifactError

MAX_BYTES = 64 << 20
"""Larger files are not read: the largest vocabularies have a few megabytes."""

_CONTAINERS = frozenset({"EMPTY_LIST", "LIST", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"})
_STRINGS = frozenset({"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"})
_PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})
_FRAME = frozenset({"PROTO", "FRAME", "MARK", "APPEND", "APPENDS", "MEMOIZE", "STOP"})
_ADMITTED = _CONTAINERS | _STRINGS | _PUTS | _GETS | _FRAME
_REMEDY = (
    "if you trust it, write its tokens as JSON where it was made: "
    "json.dump(list(tokens), open('vocab.json', 'w')), and give that file"
)


class _StringsUnpickler(pickle.Unpickler):
    """An unpickler that finds no class and no function."""

    def find_class(self, module_name: str, global_name: str, /) -> NoReturn:
        raise pickle.UnpicklingError(f"it refers to {module_name}.{global_name}")


def read_tokens(path: str | Path) -> list[str]:
    """Read the tokens of a vocabulary in the order of their ids.

    Args:
        path: A `.json` file with a list of strings, a `.txt` file in UTF-8 with one token a line, or a pickle of a list
            or tuple of strings (any other name; fastai's `itos_*.pkl`), at most 64 MB.

    Returns:
        The tokens; there is at least one.

    Raises:
        FileNotFoundError: There is no such file.
        ArtifactError: The file is too large, damaged, or holds something else than a list of strings. Nothing in it
            is run.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; give the vocabulary that goes with the weights")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ArtifactError(f"{path}: {size:,} bytes are no vocabulary; at most {MAX_BYTES:,} are read")
    data = path.read_bytes()
    readers = {".json": _from_json, ".txt": _from_lines}
    tokens = readers.get(path.suffix.lower(), _from_pickle)(path, data)
    if not tokens:
        raise ArtifactError(f"{path}: the vocabulary is empty")
    return tokens


def _from_json(path: Path, data: bytes) -> list[str]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path}: not readable as JSON ({error})") from None
    return _strings(path, value)


def _from_lines(path: Path, data: bytes) -> list[str]:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ArtifactError(f"{path}: not UTF-8 ({error}); save the file as UTF-8") from None
    # Not splitlines: characters that Unicode takes for line breaks are tokens of some vocabularies.
    lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
    if "" in lines:
        place = lines.index("") + 1
        raise ArtifactError(f"{path}: line {place} is empty; give tokens that are line breaks in a JSON list")
    return lines


def _from_pickle(path: Path, data: bytes) -> list[str]:
    try:
        _check_instructions(data)
        value = _StringsUnpickler(io.BytesIO(data)).load()
    except pickle.UnpicklingError as error:
        raise ArtifactError(f"{path}: no pickle of a list of strings, and not run: {error}; {_REMEDY}") from None
    except (ValueError, EOFError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ArtifactError(f"{path}: the pickle is damaged ({error}); copy the file again") from None
    return _strings(path, value)


def _check_instructions(data: bytes) -> None:
    """Refuse a pickle that does more than to put strings into one list or tuple.

    Raises:
        UnpicklingError: It does more.
        ValueError: It is no pickle, or a part of one.
    """
    containers = 0
    for number, (code, argument, _) in enumerate(pickletools.genops(data)):
        if code.name not in _ADMITTED:
            what = f" ({argument})" if code.name in ("GLOBAL", "INST") else ""
            raise pickle.UnpicklingError(f"it has the instruction {code.name}{what}, which strings do not need")
        containers += code.name in _CONTAINERS
        if containers > 1:
            raise pickle.UnpicklingError("it holds lists or tuples in a list")
        # The unpickler's memory is as large as the largest number that is put into it.
        if code.name in _PUTS and int(argument or 0) > number:
            raise pickle.UnpicklingError(f"it asks for {argument:,} places of memory")


def _strings(path: Path, value: Any) -> list[str]:
    if not isinstance(value, list | tuple):
        raise ArtifactError(f"{path}: holds a {type(value).__name__}, not a list of tokens")
    for number, token in enumerate(value):
        if not isinstance(token, str):
            raise ArtifactError(f"{path}: token {number} is a {type(token).__name__}, not a string")
    return list(value)
