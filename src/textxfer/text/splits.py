"""Parting documents into those to train on and those to hold out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import compress, count

import numpy as np

from textxfer.text.document import DataError, Document, Label

_REMEDY = (
    "remove the row, merge the class with another, give a file of held-out documents, "
    "or pass allow_single=True to keep such rows for training"
)


def split_documents(
    documents: Sequence[Document], share: float, seed: int = 0, *, allow_single: bool = False
) -> tuple[list[Document], list[Document]]:
    """Hold out a share of each class at random.

    Documents without a label count as a class of their own. Those with several classes are grouped by all of them
    together; what occurs once is kept for training, unless everything does. Numbers are held out at random.

    Args:
        documents: The documents.
        share: Share to hold out, between 0 and 1.
        seed: Seed of the choice.
        allow_single: Whether a class with one document keeps it for training; else it is an error.

    Returns:
        What is left and what is held out, each in the order given. Every class keeps at least one document, and
        gives at least one away if it has several.

    Raises:
        DataError: A class has one document, or there are fewer than two in all.
    """
    _check_share(share)
    _check_number(len(documents))
    places = _groups(documents)
    if not allow_single:
        _check_singles(documents, places)
    generator, held = np.random.default_rng(seed), set[int]()
    for label in sorted(places, key=str):
        members = places[label]
        n_held = min(max(round(share * len(members)), 1), len(members) - 1)
        held.update(int(place) for place in generator.permutation(members)[:n_held])
    if not held:
        raise DataError(f"each of the {len(places)} classes has one document only, so none can be held out")
    kept = [document for place, document in enumerate(documents) if place not in held]
    return kept, [document for place, document in enumerate(documents) if place in held]


class Part:
    """Some of the documents of a corpus; each iteration reads the corpus anew.

    Args:
        documents: The corpus: it can be iterated over again and again.
        places: Places in the corpus.
        inside: Whether the documents at these places are meant, or all others.
    """

    def __init__(self, documents: Iterable[Document], places: Collection[int], inside: bool) -> None:
        self.documents, self.places, self.inside = documents, frozenset(places), inside

    def __iter__(self) -> Iterator[Document]:
        found = ((place in self.places) is self.inside for place in count())
        return compress(self.documents, found)


def hold_out(documents: Iterable[Document], share: float, seed: int = 0) -> tuple[Part, Part]:
    """Hold out a share of a corpus at random without having it in memory.

    Without regard to labels; for documents that have none the result is that of `split_documents`.

    Args:
        documents: The corpus; it is read once here, and again whenever a part is.
        share: Share to hold out, between 0 and 1; at least one document is, and at least one is left.
        seed: Seed of the choice.

    Returns:
        What is left and what is held out, each in the order of the corpus.

    Raises:
        DataError: There are fewer than two documents.
    """
    _check_share(share)
    n_documents = sum(1 for _ in documents)
    _check_number(n_documents)
    n_held = min(max(round(share * n_documents), 1), n_documents - 1)
    held = np.random.default_rng(seed).permutation(n_documents)[:n_held].tolist()
    return Part(documents, held, inside=False), Part(documents, held, inside=True)


def _check_share(share: float) -> None:
    if not 0 < share < 1:
        raise ValueError(f"the held-out share must lie between 0 and 1, not {share}")


def _check_number(n_documents: int) -> None:
    if n_documents < 2:
        raise DataError(f"{n_documents} document(s) cannot be split into two parts; give a file of held-out ones")


def _groups(documents: Sequence[Document]) -> dict[Label | None, list[int]]:
    """Return the places of the documents whose labels are to be spread evenly."""
    places: defaultdict[Label | None, list[int]] = defaultdict(list)
    for place, document in enumerate(documents):
        places[0.0 if isinstance(document.label, float) else document.label].append(place)
    if all(len(members) == 1 and isinstance(label, tuple) for label, members in places.items()):
        return {None: list(range(len(documents)))}
    return places


def _check_singles(documents: Sequence[Document], places: dict[Label | None, list[int]]) -> None:
    singles = [(label, members[0]) for label, members in places.items() if len(members) == 1 and isinstance(label, str)]
    if singles:
        named = [f"{label!r} (row {documents[place].row or place + 1})" for label, place in singles[:10]]
        more = f" and {len(singles) - 10} more" if len(singles) > 10 else ""
        raise DataError(
            f"only one document of the class {', '.join(named)}{more}: "
            f"it cannot be both in training and held out; {_REMEDY}"
        )
