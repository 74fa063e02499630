"""Duplicates in figures: how many there are, how many contradict each other in their labels, where the first are."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from textxfer.text.duplicates import Duplicates, Links

if TYPE_CHECKING:
    from textxfer.text.store import TokenStore

_SHOWN = 5  # pairs that are named


@dataclass(frozen=True)
class Alike:
    """Counts of duplicates of one kind.

    Args:
        groups: Number of groups of such documents.
        documents: Number of documents in them; of the store alone in a comparison of two.
        others: Number of documents in them of the other store; 0 within a store.
        conflicts: Number of groups whose labelled documents do not all have the same label.
        unknown: Number of groups with an unknown token, whose texts may differ in it.
        rows: Row numbers of the first few pairs; the second row is of the other store, if there is one.
        similarity: Jaccard similarity of these pairs.
    """

    groups: int
    documents: int
    others: int
    conflicts: int
    unknown: int
    rows: tuple[tuple[int, int], ...]
    similarity: tuple[float, ...]


@dataclass(frozen=True)
class Overlap:
    """Duplicates within a store, or between it and another.

    Args:
        exact: Documents with the same ids.
        near: Distinct documents with similar ones.
        threshold: Least Jaccard similarity of near duplicates.
        eligible: Number of distinct documents that are long enough for near ones, in each store.
        compared: How many of those were looked at, in each store.
    """

    exact: Alike
    near: Alike
    threshold: float
    eligible: tuple[int, ...]
    compared: tuple[int, ...]

    def lines(self) -> list[tuple[str, str]]:
        """Return the figures as text: a name and what there is to say, line by line."""
        pairs = [f"{a} and {b}" for a, b in self.exact.rows]
        lines = [("exact duplicates", _in_words(self.exact, exact=True, between=self.between))]
        lines += [("  rows", ", ".join(pairs))] if pairs else []
        pairs = [f"{a} and {b} ({s:.2f})" for (a, b), s in zip(self.near.rows, self.near.similarity)]
        lines += [(f"near ({self.threshold:g})", _in_words(self.near, exact=False, between=self.between))]
        lines += [("  rows", ", ".join(pairs))] if pairs else []
        if self.compared != self.eligible:
            parts = [f"{n:,} of {of:,}" for n, of in zip(self.compared, self.eligible)]
            lines.append(("  looked at", f"{' and '.join(parts)} distinct documents; the others may have more"))
        return lines

    @property
    def between(self) -> bool:
        """Whether these are of two stores."""
        return len(self.eligible) == 2


def count(duplicates: Duplicates, store: TokenStore, other: TokenStore | None = None) -> Overlap:
    """Count duplicates.

    Args:
        duplicates: What was found.
        store: The store in which it was found, or the first of two.
        other: The second one.
    """
    exact, near = (_alike(links, store, other) for links in (duplicates.exact, duplicates.near))
    return Overlap(exact, near, duplicates.threshold, duplicates.eligible, duplicates.compared)


def labels_of(store: TokenStore) -> Callable[[int], Hashable]:
    """Return what tells a document's label: a class name, a set of such, or a number; None without label."""
    if store.label_kind == "number":
        return lambda doc: float(store.values[doc]) if store.labels[doc] >= 0 else None
    if store.label_kind == "multi":
        ends = np.cumsum(store.labels.clip(min=0))

        def names(doc: int) -> Hashable:
            ids = store.label_ids[ends[doc] - store.labels[doc] : ends[doc]]
            return frozenset(store.classes[i] for i in ids)

        return lambda doc: names(doc) if store.labels[doc] >= 0 else None
    return lambda doc: store.classes[store.labels[doc]] if store.labels[doc] >= 0 else None


def _alike(links: Links, store: TokenStore, other: TokenStore | None) -> Alike:
    second = store if other is None else other
    groups = links.groups(between=other is not None)
    label, second_label = labels_of(store), labels_of(second)
    labels = [{*map(label, ours), *map(second_label, theirs)} - {None} for ours, theirs in groups]
    first = links.pairs[:_SHOWN]
    rows = zip(store.rows[first[:, 0]].tolist(), second.rows[first[:, 1]].tolist())
    return Alike(
        groups=len(groups),
        documents=sum(len(ours) for ours, _ in groups),
        others=sum(len(theirs) for _, theirs in groups),
        conflicts=sum(len(names) > 1 for names in labels),
        unknown=sum(bool((store[ours[0]] == store.vocab.unk_id).any()) for ours, _ in groups),
        rows=tuple(rows),
        similarity=tuple(links.similarity[:_SHOWN].tolist()),
    )


def _in_words(alike: Alike, *, exact: bool, between: bool) -> str:
    if not alike.groups:
        return "none"
    where = f" here, {alike.others:,} there" if between else ""
    words = f"{_many(alike.documents, 'document')}{where}, in {_many(alike.groups, 'group')}"
    if alike.conflicts:
        words += f"; {_many(alike.conflicts, 'group')} with different labels"
    if exact and alike.unknown:
        words += f"; {_many(alike.unknown, 'group')} with xxunk, whose texts may differ"
    return words


def _many(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"
