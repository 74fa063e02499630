"""The documents of a cell: which are labelled, which the language model reads besides, which are held out."""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from experiments.cells import Cell
from textxfer.datasets import NAMED, load
from textxfer.text import DataError, Document, split_documents

VALID_SHARE = 0.1
"""The share of the training documents that the paper's ablations are judged on."""


@dataclass(frozen=True)
class Task:
    """A data set: labelled documents to train on and to test with, and documents without a label."""

    train: list[Document]
    test: list[Document]
    unlabelled: list[Document]


@dataclass(frozen=True)
class Parts:
    """The documents of a cell.

    Attributes:
        labelled: What the classifier is trained on.
        further: What the language model reads besides.
        held_out: What the error rate is of.
    """

    labelled: list[Document]
    further: list[Document]
    held_out: list[Document]

    @property
    def sha256(self) -> str:
        """Checksum of all texts and labels, in order."""
        return digest([*self.labelled, *self.further, *self.held_out])


@lru_cache(maxsize=2)
def load_task(name: str, root: Path | None) -> Task:
    """Read a data set; nothing is downloaded.

    Raises:
        DataError: It is not there, or has no labels.
    """
    if name not in NAMED or not NAMED[name].classes:
        known = ", ".join(other for other, data in NAMED.items() if data.classes)
        raise DataError(f"--data {name}: no such data set with classes; there are {known}")
    splits = NAMED[name].splits
    train, test = (list(load(name, split, root, download=False)) for split in ("train", "test"))
    further = (
        [replace(each, label=None) for each in load(name, "unsup", root, download=False)] if "unsup" in splits else []
    )
    return Task(train, test, further)


def parts_of(cell: Cell, task: Task) -> Parts:
    """Choose the documents of a cell.

    With one seed, fewer labelled documents are some of the more, and the language model reads the same texts however
    many of them are labelled.

    Raises:
        DataError: There are not so many labelled documents, or more of them than texts for the language model.
    """
    train, held_out = task.train, task.test
    if cell.split == "valid":
        train, held_out = split_documents(train, VALID_SHARE)
    if cell.labels is not None and cell.labels > len(train):
        raise DataError(f"{cell.data} has {len(train):,} labelled documents, not {cell.labels:,}: give fewer --labels")
    order = [train[place] for place in spread(train, cell.seed)]
    labelled = train if cell.labels is None else order[: cell.labels]
    if cell.texts and cell.texts < len(labelled):
        raise DataError(
            f"the language model reads the {len(labelled):,} labelled documents, so not {cell.texts:,} texts: "
            f"give at least --texts {len(labelled)}"
        )
    further: list[Document] = []
    if cell.texts != 0:
        others = [] if cell.labels is None else order[cell.labels :]
        more = random.Random(cell.seed).sample(task.unlabelled, len(task.unlabelled))
        further = [*others, *more]
        if cell.texts is not None:
            further = further[: cell.texts - len(labelled)]
    if cell.transductive:
        further = [*further, *held_out]
    return Parts(labelled, [replace(document, label=None) for document in further], held_out)


def spread(documents: Sequence[Document], seed: int) -> list[int]:
    """Return the places of the documents in an order at random whose every beginning has the mix of classes of all."""
    places: defaultdict[str, list[int]] = defaultdict(list)
    for place, document in enumerate(documents):
        places[str(document.label)].append(place)
    ranks: dict[int, float] = {}
    for label in sorted(places):
        members = places[label]
        random.Random(f"{seed}/{label}").shuffle(members)
        ranks |= {place: (number + 0.5) / len(members) for number, place in enumerate(members)}
    return sorted(ranks, key=lambda place: (ranks[place], place))


def digest(documents: Iterable[Document]) -> str:
    """Return a checksum of texts and labels."""
    found = hashlib.sha256()
    for document in documents:
        for value in (document.text, "" if document.label is None else str(document.label)):
            raw = value.encode("utf-8", "surrogatepass")
            found.update(len(raw).to_bytes(8, "little") + raw)
    return found.hexdigest()
