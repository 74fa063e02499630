"""Named data sets: from a folder on this machine, or else from the place where their authors published them.

A local copy holds one sub-folder for each set: `trec/train.csv.gz`, `wikipedia-en/train-00.txt.xz` and so on. The
authors' own files do as well, packed or unpacked: `imdb/aclImdb_v1.tar.gz` or `imdb/aclImdb/train/pos/...`. What is
downloaded lies in the cache folder, under `datasets/`, in the same way.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from textxfer.datasets.archives import unpack
from textxfer.datasets.catalog import NAMED
from textxfer.datasets.downloads import check_file, download
from textxfer.datasets.entries import DataSet, Original, Remote
from textxfer.locks import alone
from textxfer.text.corpus import read_csv, read_text
from textxfer.text.document import Corpus, DataError

ENVIRONMENT = "TEXTXFER_DATA"
CACHE_ENVIRONMENT = "TEXTXFER_CACHE"
_UNPACKED = "unpacked"


def load(name: str, split: str, root: Path | str | None = None, download: bool = True, progress: bool = True) -> Corpus:
    """Return one split of a named data set; it is read anew each time it is iterated over.

    It is looked for in the local copy, then in the cache folder, and then it is downloaded to the cache. The classes
    have the same names wherever it comes from; the order of the documents is that of the copy that was found, and the
    copy may be a part of the whole.

    Args:
        name: One of `NAMED`.
        split: One of the data set's splits, such as `train` or `test`.
        root: Folder of the local copies; by default the environment variable TEXTXFER_DATA says which.
        download: Whether to download what is not there.
        progress: Whether to show how far a download is, on standard error.

    Raises:
        ValueError: There is no such data set or split.
        DataError: The data are not there, and cannot be downloaded; the message says where they were looked for.
    """
    data = _data_set(name)
    if split not in data.splits:
        raise ValueError(f"{name} has no split {split!r}; it has {', '.join(data.splits)}")
    cached = cache_folder() / "datasets" / name
    folders = [*(folder / name for folder in _local(root)), cached]
    if (corpus := _find(data, split, folders)) is not None:
        return corpus
    original = data.original
    if original is None or not (download or _is_packed(original, folders)):
        raise DataError(_not_there(name, split, data, folders))
    _check_writable(cached)
    with alone(cached / ".lock"):
        # Another process may have brought it while this one waited for the lock.
        corpus = _find(data, split, [cached])
        if corpus is None and not (cached / _UNPACKED).exists():
            _provide(original, split, folders, progress)
            corpus = _find(data, split, [cached])
    if corpus is None:
        raise DataError(
            f"{name}, {split}: no {original.paths[split]} in {cached / _UNPACKED}; "
            f"delete that folder to have it downloaded and unpacked again"
        )
    return corpus


def describe(name: str) -> str:
    """Return a card that tells what a named data set is, under which terms, and where it comes from.

    Args:
        name: One of `NAMED`.

    Raises:
        ValueError: There is no such data set.
    """
    data = _data_set(name)
    lines = [f"{name}: {data.title}"]
    lines += [f"  {split}: {count:,} documents" for split, count in data.documents.items()]
    lines.append(f"  classes: {len(data.classes)} ({', '.join(data.classes)})" if data.classes else "  no classes")
    lines += [f"  terms: {data.terms}", f"  cite: {data.citation}"]
    lines += [f"  home: {data.home}"] if data.home else []
    for file in data.original.files if data.original else ():
        size = "size not known" if file.size is None else f"{file.size:,} bytes"
        lines.append(f"  download: {file.name}, {size}, SHA-256 {file.sha256 or 'not known'}")
        lines += [f"    {url}" for url in file.urls]
    if data.original is None:
        lines.append(f"  download: none; a local copy is needed, see {ENVIRONMENT}")
    return "\n".join(lines)


def cache_folder() -> Path:
    """Return the folder of downloads: TEXTXFER_CACHE, or else `textxfer` where the system keeps caches."""
    if configured := os.environ.get(CACHE_ENVIRONMENT):
        return Path(configured)
    variable = "LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME"
    system = os.environ.get(variable, "")
    # Relative paths are to be passed over, says the XDG specification.
    return (Path(system) if Path(system).is_absolute() else Path.home() / ".cache") / "textxfer"


def _data_set(name: str) -> DataSet:
    if name not in NAMED:
        raise ValueError(f"no data set is called {name!r}; there are {', '.join(NAMED)}")
    return NAMED[name]


def _local(root: Path | str | None) -> list[Path]:
    if root is not None:
        return [Path(root)]
    configured = os.environ.get(ENVIRONMENT)
    return [Path(configured)] if configured else []


def _find(data: DataSet, split: str, folders: list[Path]) -> Corpus | None:
    """Return the split from the first folder that holds it."""
    for folder in folders:
        files = [folder / file for file in data.splits[split]]
        if all(file.is_file() for file in files):
            if not data.text:
                return read_text(files, breaks="wiki")
            return read_csv(files[0], data.text, None if split in data.unlabelled else data.label)
        if data.original is not None:
            for base in (folder, folder / _UNPACKED):
                if (path := base / data.original.paths[split]).exists():
                    return data.original.read(path)
    return None


def _is_packed(original: Original, folders: list[Path]) -> bool:
    return any((folder / file.name).is_file() for file in original.files if file.packed for folder in folders)


def _provide(original: Original, split: str, folders: list[Path], progress: bool) -> None:
    """Bring the files of a split to the cache, which is the last of the folders."""
    cached = folders[-1]
    for file in original.files:
        if file.splits and split not in file.splits:
            continue
        by_hand = [folder / file.name for folder in folders[:-1] if (folder / file.name).is_file()]
        if by_hand and file.packed:
            check_file(by_hand[0], file.size, file.sha256)
            unpack(by_hand[0], cached / _UNPACKED)
            continue
        path = _fetch(file, cached / file.name, progress)
        if file.packed:
            unpack(path, cached / _UNPACKED)
            path.unlink()


def _fetch(file: Remote, target: Path, progress: bool) -> Path:
    """Download a file from the first of its addresses that has it."""
    failures: list[str] = []
    for url in file.urls:
        try:
            return download(url, target, size=file.size, sha256=file.sha256, progress=progress)
        except DataError as error:
            failures.append(str(error))
    raise DataError("; ".join(failures))


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: cannot be made ({error.strerror}); set {CACHE_ENVIRONMENT} to another") from error


def _not_there(name: str, split: str, data: DataSet, folders: list[Path]) -> str:
    files = ", ".join(data.splits[split])
    places = [str(folder.absolute()) for folder in folders]
    message = f"{name}, {split}: looked for {files} in {' and in '.join(places)}; "
    if data.original is None:
        return message + f"it cannot be downloaded: put the data there, or say by root or {ENVIRONMENT} where they are"
    return message + f"download it with download=True, or say by root or {ENVIRONMENT} where the data are"
