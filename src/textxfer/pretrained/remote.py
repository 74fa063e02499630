"""Pretrained models on a server: a folder with an `index.json` and the files of each model below its name.

The index says of each model which files it has: `{"en-small": [{"path": "forward/config.json", "size": 1234,
"sha256": "..."}, ...]}`. The file is at `<address>/en-small/forward/config.json`. `write_index` writes it.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from textxfer.datasets.downloads import check_file, download, is_web_address
from textxfer.files import checksum, write_json
from textxfer.locks import alone
from textxfer.text.document import DataError, listed

INDEX = "index.json"
_MAX_INDEX = 4 << 20
_MAX_SIZE = 1 << 40
_PATH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9][A-Za-z0-9._-]*)*")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_MARKS = ("pair.json", "config.json")


@dataclass(frozen=True)
class File:
    """A file of a model: its path below the model's folder, its length in bytes and its checksum."""

    path: str
    size: int
    sha256: str


def fetch(name: str, url: str, target: Path, *, progress: bool = True) -> Path:
    """Download a model; what has come of it is kept if the connection breaks, and completed by the next call.

    Args:
        name: Name of the model.
        url: Address of the folder with the index, http or https.
        target: Where the model's folder goes.
        progress: Whether to show how far it is, on standard error.

    Returns:
        The target.

    Raises:
        DataError: The address has no such model, the files are not what the index says, or the target holds something
            else.
    """
    address = url.rstrip("/")
    if not is_web_address(address):
        raise DataError(f"the address of models must begin with http:// or https:// and a host, not be {url!r}")
    with alone(target.with_name(f".{target.name}.lock")):
        if _holds_model(target):  # another process brought it while this one waited
            return target
        _make_room(target)
        files = _files(name, f"{address}/{INDEX}", progress)
        scratch = target.with_name(f".{target.name}.download")
        _tidy(scratch, files)
        for file in files:
            source = f"{address}/{name}/{file.path}"
            download(source, scratch / file.path, size=file.size, sha256=file.sha256, progress=progress)
        scratch.rename(target)
    return target


def write_index(folder: str | Path) -> Path:
    """Write the `index.json` of a folder with models, each in a sub-folder of its name, to be put on a server.

    Args:
        folder: The folder.

    Returns:
        The file.

    Raises:
        DataError: There is no model in it, or the name of a model or of a file is not fit for an address.
    """
    folder = Path(folder)
    index: dict[str, list[dict[str, Any]]] = {}
    for model in sorted(path for path in folder.glob("*") if _holds_model(path)):
        if not _PATH.fullmatch(model.name):
            raise DataError(f"{model}: nobody could ask for a model of this name; name it in letters, digits and ._-")
        paths = sorted(path for path in model.rglob("*") if path.is_file())
        entries = [(path.relative_to(model).as_posix(), path) for path in paths]
        index[model.name] = [
            {"path": name, "size": path.stat().st_size, "sha256": checksum(path)} for name, path in entries
        ]
        _checked(model.name, index[model.name], str(model))
    if not index:
        raise DataError(f"{folder}: no sub-folder holds a model; write one with `textxfer release --out`")
    write_json(folder / INDEX, index)
    return folder / INDEX


def _holds_model(folder: Path) -> bool:
    return any((folder / mark).is_file() for mark in _MARKS)


def _make_room(target: Path) -> None:
    """Remove an empty folder that has the name of a model; what holds something is not ours to remove."""
    if target.is_dir() and not any(target.iterdir()):
        target.rmdir()
    elif target.exists():
        raise DataError(f"{target}: holds no model, neither {' nor '.join(_MARKS)}; move it away and try again")


def _files(name: str, url: str, progress: bool) -> list[File]:
    """Download the index and return what it says of a model."""
    with tempfile.TemporaryDirectory() as scratch:
        path = download(url, Path(scratch) / INDEX, max_bytes=_MAX_INDEX, progress=progress)
        try:
            index = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise DataError(f"{url} is no index of models: {error}") from error
    if not isinstance(index, dict):
        raise DataError(f"{url} is no index of models: it is no JSON object")
    if name not in index:
        raise DataError(f"{url}: has no model {name!r}; it has {listed(sorted(index))}")
    return _checked(name, index[name], url)


def _checked(name: str, entries: Any, where: str) -> list[File]:
    """Return the files of a model; a path that leads out of its folder is refused."""
    if not isinstance(entries, list):
        raise DataError(f"{where}: what it says of {name} is no list of files")
    files = [_file(entry, f"{where}: {name}, file {number}") for number, entry in enumerate(entries, 1)]
    paths = [file.path.lower() for file in files]
    if len(set(paths)) < len(paths):
        raise DataError(f"{where}: {name} has a file twice")
    folders = {str(parent) for path in paths for parent in PurePosixPath(path).parents}
    if mixed := sorted(folders.intersection(paths)):
        raise DataError(f"{where}: {name} has {mixed[0]} as a file and as a folder")
    if not set(paths) & set(_MARKS):
        raise DataError(f"{where}: {name} is no model, it has neither {' nor '.join(_MARKS)}")
    return files


def _file(entry: Any, where: str) -> File:
    if not isinstance(entry, dict):
        raise DataError(f"{where} is no JSON object")
    path, size, sha256 = (entry.get(key) for key in ("path", "size", "sha256"))
    if not isinstance(path, str) or not _PATH.fullmatch(path):
        raise DataError(f"{where} has the path {path!r}; it must lie in the model's folder, in letters, digits and ._-")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < _MAX_SIZE:
        raise DataError(f"{where}, {path}: the size is {size!r:.80}, not a number of bytes")
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise DataError(f"{where}, {path}: the SHA-256 is {sha256!r:.80}, not 64 hexadecimal digits")
    return File(path, size, sha256.lower())


def _tidy(scratch: Path, files: Sequence[File]) -> None:
    """Remove from an unfinished folder what the index does not say, or says otherwise."""
    wanted = {scratch / file.path: file for file in files}
    parts = {path.with_name(f"{path.name}{end}") for path in wanted for end in (".part", ".part.json")}
    for path in sorted(scratch.rglob("*"), reverse=True):
        if path in wanted and path.is_file():
            try:
                check_file(path, wanted[path].size, wanted[path].sha256)
            except DataError:
                path.unlink()
        elif path.is_symlink() or (path.is_file() and path not in parts):
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    scratch.mkdir(parents=True, exist_ok=True)
