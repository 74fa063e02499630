"""What is looked at in a file of weights before torch reads it: that it can be no larger in memory than on the disk.

torch unpacks packed members of its zip files, so that a small file may become a very large one. And a pickle can build
tuples out of tuples that it has already, `(a, a)`, `(b, b)` and so on: after fifty steps nobody can compare or print
the last one. Weights need neither.
"""

from __future__ import annotations

import pickletools
import zipfile
from pathlib import Path
from typing import IO

_MOST_PARTS = 1 << 20
"""Values in a tuple, those in its tuples included; weights have about a dozen."""
_OLD_PICKLES = 5
"""Pickles in a file of torch's old format: number, version, system, weights, names of the numbers that follow."""
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})
_PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_TO_MARK = frozenset({"APPENDS", "SETITEMS", "ADDITEMS"})
_FROM_MARK = frozenset({"TUPLE", "LIST", "DICT", "FROZENSET", "OBJ", "INST", "POP_MARK"})
_TAKES = {"APPEND": 1, "SETITEM": 2, "BUILD": 1, "POP": 1, "STOP": 1}
_MAKES = {"REDUCE": 2, "NEWOBJ": 2, "NEWOBJ_EX": 3, "STACK_GLOBAL": 2, "BINPERSID": 1}
_NOTHING = frozenset({"PROTO", "FRAME"})


def check_container(path: Path) -> None:
    """Refuse a file that would be far larger in memory.

    Args:
        path: A file that may be one of torch's, in its old format or the new one.

    Raises:
        ValueError: It would.
        zipfile.BadZipFile: It begins as a zip file and is none.
    """
    with path.open("rb") as file:
        if file.read(4) == b"PK\x03\x04":
            _check_zip(path)
            return
        file.seek(0)
        for _ in range(_OLD_PICKLES):
            _check_pickle(file)


def _check_zip(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        # torch never packs, since numbers hardly get smaller.
        if packed := next((member for member in members if member.compress_type != zipfile.ZIP_STORED), None):
            raise ValueError(f"{packed.filename} in it is packed, which torch does not do")
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise ValueError("what it holds is larger than the file")
        for member in members:
            if member.filename.endswith("data.pkl"):
                with archive.open(member) as file:
                    _check_pickle(file)


def _check_pickle(file: IO[bytes]) -> None:
    """Add up how many parts each value has, without building any."""
    stack: list[int | None] = []  # parts by value; None is a mark
    memo: dict[int, int] = {}
    for code, argument, _ in pickletools.genops(file):
        name = code.name
        if name == "MARK":
            stack.append(None)
        elif name in _GETS:
            stack.append(memo[int(argument or 0)])
        elif name in _PUTS or name == "MEMOIZE":
            memo[len(memo) if name == "MEMOIZE" else int(argument or 0)] = stack[-1] or 0
        elif name == "DUP":
            stack.append(stack[-1])
        elif name in _TO_MARK or name in _FROM_MARK:
            parts = _since_mark(stack)
            if name in _FROM_MARK and name != "POP_MARK":
                stack.append(_checked(1 + sum(parts)))
        elif name in _TAKES:
            del stack[len(stack) - _TAKES[name] :]
        elif name not in _NOTHING:
            taken = _TUPLES.get(name, 0) or _MAKES.get(name, 0)
            parts = [part or 0 for part in stack[len(stack) - taken :]]
            del stack[len(stack) - taken :]
            stack.append(_checked(1 + sum(parts)))


def _since_mark(stack: list[int | None]) -> list[int]:
    parts: list[int] = []
    while (part := stack.pop()) is not None:
        parts.append(part)
    return parts


def _checked(parts: int) -> int:
    if parts > _MOST_PARTS:
        raise ValueError("it has tuples of tuples without end")
    return parts
