"""Named data sets, read from a folder on this machine.

The folder holds one sub-folder for each set: `trec/train.csv.gz`, `wikipedia-en/train-00.txt.xz` and so on.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from textxfer.text.corpus import read_csv, read_text
from textxfer.text.document import Corpus, DataError

ENVIRONMENT = "TEXTXFER_DATA"


@dataclass(frozen=True)
class DataSet:
    """Where a named data set lies and how it is read.

    Attributes:
        splits: Files of each split, relative to the data set's folder.
        text: Columns of the text; empty if the files are running text in the manner of WikiText (` = Title = `).
        label: Column of the label.
        unlabelled: Splits whose label column says nothing.
    """

    splits: dict[str, tuple[str, ...]]
    text: tuple[str, ...] = ()
    label: str | None = None
    unlabelled: tuple[str, ...] = ()


_TRAIN_TEST = {"train": ("train.csv.gz",), "test": ("test.csv.gz",)}
_PIECES = tuple(f"train-{piece:02}.txt.xz" for piece in range(4))

NAMED = MappingProxyType(
    {
        "trec": DataSet(_TRAIN_TEST, ("text",), "label"),
        "imdb": DataSet({**_TRAIN_TEST, "unsup": ("unsup.csv.gz",)}, ("text",), "label", unlabelled=("unsup",)),
        "ag_news": DataSet(_TRAIN_TEST, ("title", "description"), "label"),
        "dbpedia_sample": DataSet(_TRAIN_TEST, ("text",), "label"),
        "wikitext-2": DataSet({"valid": ("valid.txt.gz",), "test": ("test.txt.gz",)}),
        "wikipedia-en": DataSet(
            {
                "train": _PIECES,
                **{piece.removesuffix(".txt.xz"): (piece,) for piece in _PIECES},
                "valid": ("valid.txt.xz",),
                "test": ("test.txt.xz",),
            }
        ),
    }
)
"""The data sets that `load` knows, by name."""


def load(name: str, split: str, root: Path | str | None = None) -> Corpus:
    """Return one split of a named data set; it is read anew each time it is iterated over.

    Args:
        name: One of `NAMED`.
        split: One of the data set's splits, such as `train` or `test`.
        root: Folder that holds the data sets; by default the environment variable TEXTXFER_DATA says which.

    Raises:
        ValueError: There is no such data set or split.
        DataError: The files are not there; the message says where they were looked for.
    """
    if name not in NAMED:
        raise ValueError(f"no data set is called {name!r}; there are {', '.join(NAMED)}")
    data = NAMED[name]
    if split not in data.splits:
        raise ValueError(f"{name} has no split {split!r}; it has {', '.join(data.splits)}")
    folder = _root(root) / name
    paths = [folder / file for file in data.splits[split]]
    if missing := [path.name for path in paths if not path.is_file()]:
        raise DataError(
            f"{name}, {split}: looked for {', '.join(missing)} in {folder.absolute()}; "
            f"put the data there, or say by root or {ENVIRONMENT} where they are"
        )
    label = None if split in data.unlabelled else data.label
    if not data.text:
        return read_text(paths, breaks="wiki")
    (path,) = paths
    return read_csv(path, data.text, label)


def _root(root: Path | str | None) -> Path:
    if root is not None:
        return Path(root)
    if not (configured := os.environ.get(ENVIRONMENT)):
        raise DataError(f"where are the data sets? Set {ENVIRONMENT} to their folder, or give it as root")
    return Path(configured)
