"""Weights on disk: one file or several of limited size, in float32 or float16; nothing in them is code.

Without a limit there is `model.safetensors`. With one there are `model-00001-of-00004.safetensors` and so on, and
`shards` in `config.json` says of each file its length, its SHA-256 and which rows of which tensors it holds: a tensor
that is larger than a file is cut between two rows. What is read is compared with the sizes that the model must have
before memory is taken for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from textxfer.files import checksum, system_errors

DType = Literal["fp32", "fp16"]
_DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16}
_KINDS = ("F64", "F32", "F16", "BF16", "I64", "I32")
"""Numbers that are read, by the names of safetensors."""
_WEIGHTS, _CONFIG = "model.safetensors", "config.json"
_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
_HEADER = 128
"""Most bytes that the header of a file needs beside the name of a tensor."""
_AGAIN = "copy the model folder again"


class ArtifactError(ValueError):
    """A model folder is missing, damaged, or its parts do not belong together."""


Loaded = dict[str, Tensor]
Rows = dict[str, tuple[int, int]]
"""First row and the one behind the last, by tensor; a tensor without dimensions counts as one row."""


@dataclass(frozen=True)
class Shard:
    """A file of weights.

    Attributes:
        path: The file.
        rows: What it holds; None: all of every tensor in it.
        size: Its length in bytes; None if that is not known.
        sha256: Its checksum; None if that is not known.
    """

    path: Path
    rows: Rows | None = None
    size: int | None = None
    sha256: str | None = None


Held = tuple[Shard, dict[str, tuple[int, ...]]]
"""A file and the shapes in it, by tensor."""


def write_weights(
    folder: Path, tensors: Mapping[str, Tensor], dtype: DType = "fp32", shard_bytes: int | None = None
) -> dict[str, Any]:
    """Write tensors into a folder.

    Args:
        folder: The folder, which exists.
        tensors: The tensors by name.
        dtype: Numbers of the files; whole numbers stay what they are.
        shard_bytes: Most bytes of a file; None: one file of any size.

    Returns:
        What `config.json` has to say of them.

    Raises:
        ArtifactError: A value does not fit into float16, or a row of a tensor into a file.
        ValueError: There is no such `dtype`.
    """
    if dtype not in _DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(_DTYPES)}, not {dtype!r}")
    ready = {name: _converted(name, tensor.detach().cpu(), dtype) for name, tensor in tensors.items()}
    if shard_bytes is None:
        _write(folder / _WEIGHTS, ready)
        return {"dtype": dtype}
    parts = list(_cut(ready, shard_bytes))
    shards: dict[str, Any] = {}
    for number, rows in enumerate(parts, 1):
        path = folder / f"model-{number:05d}-of-{len(parts):05d}.safetensors"
        _write(path, {name: _rows(ready[name], *at).clone() for name, at in rows.items()})
        shards[path.name] = {"bytes": path.stat().st_size, "sha256": checksum(path), "rows": rows}
    return {"dtype": dtype, "shards": shards}


def read_weights(folder: Path, config: Mapping[str, Any], expected: Callable[[], Mapping[str, Tensor]]) -> Loaded:
    """Read the tensors that a model must have.

    Args:
        folder: A folder that `write_weights` wrote to.
        config: Contents of its `config.json`.
        expected: Returns tensors of the right shapes by name, for which no memory need be taken (the meta device).

    Returns:
        The tensors by name, floating ones in float32.

    Raises:
        ArtifactError: A file is missing or damaged, or does not hold what the model needs.
    """
    shards = _shards(folder, config)
    for shard in shards:
        _check_file(shard)
    held = [(shard, _shapes(shard)) for shard in shards]
    own = expected()
    _check_fit(folder, held, own)
    loaded: Loaded = {}
    for name, tensor in own.items():
        dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
        loaded[name] = torch.empty(tensor.shape, dtype=dtype)
    for shard, shapes in held:
        with _opened(shard.path) as file:
            for name, shape in shapes.items():
                _rows(loaded[name], *_at(shard, name, shape)).copy_(_tensor(file, shard.path, name))
    return loaded


def _write(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write a file with the rights that new files have here; safetensors lets its owner alone read it."""
    path.touch()
    rights = path.stat().st_mode
    with system_errors(path):
        save_file(tensors, path)
    path.chmod(rights)


def _converted(name: str, tensor: Tensor, dtype: DType) -> Tensor:
    if not tensor.is_floating_point():
        return tensor.contiguous()
    converted = tensor.to(_DTYPES[dtype]).contiguous()
    if dtype == "fp16" and not bool(converted.isfinite().all()):
        raise ArtifactError(
            f"{name} has a value of {tensor.abs().max().item():g}, float16 ends at 65504; save it with dtype='fp32'"
        )
    return converted


def _rows(tensor: Tensor, start: int, stop: int) -> Tensor:
    return tensor[start:stop] if tensor.ndim else tensor


def _cut(tensors: Mapping[str, Tensor], limit: int) -> Iterator[Rows]:
    """Deal tensors out to files of at most `limit` bytes, in their order, cut between rows where they must be."""
    part: Rows = {}
    left = limit - _HEADER
    for name, tensor in tensors.items():
        count = len(tensor) if tensor.ndim else 1
        each, head = tensor.nbytes // max(count, 1), len(name) + _HEADER
        if limit < head + each + _HEADER:
            raise ArtifactError(f"a file of {limit:,} bytes cannot hold a row of {name}, {each:,} bytes; allow more")
        start = 0
        while start < count:
            fits = min((left - head) // max(each, 1), count - start)
            if fits < 1:
                yield part
                part, left = {}, limit - _HEADER
                continue
            part[name] = (start, start + fits)
            start, left = start + fits, left - head - fits * each
    yield part


def _shards(folder: Path, config: Mapping[str, Any]) -> list[Shard]:
    if (dtype := config.get("dtype", "fp32")) not in list(_DTYPES):  # a list: what is read need not be hashable
        raise ArtifactError(f"{folder / _CONFIG}: dtype {dtype!r:.80}; this version knows {', '.join(_DTYPES)}")
    index = config.get("shards")
    if index is None:
        return [Shard(folder / _WEIGHTS)]
    try:
        return [
            Shard(folder / _plain_name(name), _plain_rows(entry["rows"]), int(entry["bytes"]), str(entry["sha256"]))
            for name, entry in index.items()
        ]
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise ArtifactError(f"{folder / _CONFIG} is damaged: its list of shards, {error}; {_AGAIN}") from error


def _plain_name(name: str) -> str:
    if not _SHARD.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a shard")
    return name


def _plain_rows(rows: Mapping[str, Any]) -> Rows:
    return {name: (int(start), int(stop)) for name, (start, stop) in rows.items()}


def _check_file(shard: Shard) -> None:
    path = shard.path
    if not path.is_file():
        raise ArtifactError(f"{path.parent} is no complete model folder: {path.name} is missing")
    if shard.size is not None and path.stat().st_size != shard.size:
        raise ArtifactError(
            f"{path} is damaged ({path.stat().st_size:,} bytes where {shard.size:,} are expected); {_AGAIN}"
        )
    if shard.sha256 is not None and checksum(path) != shard.sha256:
        raise ArtifactError(f"{path} is damaged (its SHA-256 is not the one in {_CONFIG}); {_AGAIN}")


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, "pt")
    except SafetensorError as error:
        raise ArtifactError(f"{path} is damaged ({error}); {_AGAIN}") from error


def _tensor(file: Any, path: Path, name: str) -> Tensor:
    if (kind := file.get_slice(name).get_dtype()) not in _KINDS:
        raise ArtifactError(f"{path}: {name} has numbers of type {kind}; {', '.join(_KINDS)} are read")
    return file.get_tensor(name)


def _shapes(shard: Shard) -> dict[str, tuple[int, ...]]:
    """Return the shapes in a file, from its header."""
    with _opened(shard.path) as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118  not a dict
    if shard.rows is None:
        return shapes
    counts = {name: shape[0] if shape else 1 for name, shape in shapes.items()}
    if counts != {name: stop - start for name, (start, stop) in shard.rows.items()}:
        raise ArtifactError(f"{shard.path} does not hold the rows that {_CONFIG} says; {_AGAIN}")
    return shapes


def _at(shard: Shard, name: str, shape: tuple[int, ...]) -> tuple[int, int]:
    return (0, shape[0] if shape else 1) if shard.rows is None else shard.rows[name]


def _check_fit(folder: Path, held: list[Held], own: Mapping[str, Tensor]) -> None:
    """Compare what the files hold with what the model needs."""
    pieces: dict[str, list[tuple[int, int]]] = {}
    wrong: set[str] = set()
    for shard, shapes in held:
        for name, shape in shapes.items():
            pieces.setdefault(name, []).append(_at(shard, name, shape))
            if name in own and shape[1:] != tuple(own[name].shape[1:]):
                wrong.add(name)
    wrong |= own.keys() ^ pieces.keys()
    for name in own.keys() & pieces.keys():
        count = own[name].shape[0] if own[name].ndim else 1
        ends = [0, *(stop for _, stop in sorted(pieces[name]))]
        if ends[-1] != count or ends[:-1] != [start for start, _ in sorted(pieces[name])]:
            wrong.add(name)
    if wrong:
        what = held[0][0].path if len(held) == 1 else f"{folder / _CONFIG}: what its shards hold"
        names = ", ".join(sorted(wrong))
        raise ArtifactError(f"{what} does not fit config.json; missing, unexpected or misshapen: {names}")
