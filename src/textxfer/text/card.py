"""The card of a token store: what is in it, what its vocabulary lacks, what is there twice or in another split."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from textxfer.text.document import DataError
from textxfer.text.duplicates import check_comparable, duplicates_between, duplicates_within, sketch
from textxfer.text.overlap import Overlap, count

if TYPE_CHECKING:
    from textxfer.text.store import TokenStore

_BLOCK = 1 << 22
_SHOWN = 12  # classes that the text names


@dataclass(frozen=True)
class StoreCard:
    """Figures that describe a token store.

    Args:
        documents: Number of documents.
        tokens: Number of tokens, `xxbos` included.
        vocab: Number of tokens in the vocabulary.
        oov_share: Share of tokens that are not in the vocabulary, `xxbos` not counted, in [0, 1].
        types: Number of distinct tokens in the documents before any was left out; None if not known.
        oov_types: Share of these that are not in the vocabulary, in [0, 1].
        length: Tokens per document: min, p05, median, mean, p95, max.
        label_kind: `single`, `multi` or `number`.
        classes: Number of documents of each class; empty for numbers.
        values: For numbers: min, median, mean, max of the labels. For `multi`: mean number of classes per labelled
            document. Else empty.
        unlabelled: Number of documents without a label.
        fingerprints: SHA-256 of vocabulary, tokenizer and, if known, of the documents (`source`).
        dtype: Type of an id.
        bytes: Size of the folder; None for a store in memory and for a part of a store.
        source: Where the documents are from; None if not known.
        duplicates: Duplicates within the store; None if they were not looked for.
        others: Duplicates between it and other stores, by their names.
    """

    documents: int
    tokens: int
    vocab: int
    oov_share: float
    types: int | None
    oov_types: float | None
    length: dict[str, float]
    label_kind: str
    classes: dict[str, int]
    values: dict[str, float]
    unlabelled: int
    fingerprints: dict[str, str]
    dtype: str
    bytes: int | None
    source: str | None
    duplicates: Overlap | None = None
    others: dict[str, Overlap] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return all figures as JSON values: lists for tuples."""
        return json.loads(json.dumps(asdict(self)))

    def __str__(self) -> str:
        """Write the card as text, one figure a line."""
        lines = [*_size_lines(self), *_label_lines(self)]
        lines += [("fingerprints", ", ".join(f"{name} {value[:12]}" for name, value in self.fingerprints.items()))]
        if self.duplicates is not None:
            lines += self.duplicates.lines()
        for name, overlap in self.others.items():
            lines += [("", ""), ("shared with", name), *overlap.lines()]
        width = max(len(name) for name, _ in lines)
        return "\n".join(f"{name:<{width}}  {value}".rstrip() for name, value in lines)


def card(
    store: TokenStore,
    others: Mapping[str, TokenStore] | None = None,
    *,
    duplicates: bool = True,
    threshold: float = 0.75,
    max_documents: int = 100_000,
) -> StoreCard:
    """Describe a store, and what it shares with others.

    Args:
        store: The store, with at least one document.
        others: Further stores by name, such as the other parts of a split.
        duplicates: Whether to look for duplicates within the store.
        threshold: Least Jaccard similarity of near duplicates, in [0.5, 1].
        max_documents: Number of documents per store that are looked at for near duplicates, at least 1.

    Raises:
        DataError: The store is empty, or one of the others has another vocabulary or tokenizer.
    """
    if not len(store):
        raise DataError("the store has no documents; there is nothing to describe")
    others = others or {}
    for name, other in others.items():
        check_comparable(store, other, name)
    within, shared = None, {}
    if duplicates or others:
        one = sketch(store, threshold=threshold, max_documents=max_documents)
        within = count(duplicates_within(one), store) if duplicates else None
        for name, other in others.items():
            two = sketch(other, threshold=threshold, max_documents=max_documents)
            shared[name] = count(duplicates_between(one, two), store, other)
    return StoreCard(**_figures(store), **_labels(store), duplicates=within, others=shared)


def _figures(store: TokenStore) -> dict[str, Any]:
    counts = np.zeros(len(store.vocab), np.int64)
    for first in range(0, len(store.ids), _BLOCK):
        counts += np.bincount(store.ids[first : first + _BLOCK], minlength=len(counts))
    unknown, words = int(counts[store.vocab.unk_id]), store.n_tokens - len(store)
    counts[store.vocab.unk_id] = 0
    whole = len(store) == store.meta.get("documents")  # what is noted of a store does not hold for a part of it
    types = store.meta.get("types") if whole else None
    source = store.meta.get("recipe", {}).get("source") if whole else None
    prints = {"vocab": store.vocab.fingerprint, "tokenizer": store.tokenizer.fingerprint, "source": source}
    return {
        "documents": len(store),
        "tokens": store.n_tokens,
        "vocab": len(store.vocab),
        "oov_share": unknown / words if words else 0.0,
        "types": types,
        "oov_types": None if types is None else 1 - np.count_nonzero(counts) / types,
        "length": _lengths(store.lengths),
        "fingerprints": {name: value for name, value in prints.items() if value is not None},
        "dtype": str(store.base_ids.dtype),
        "bytes": _folder_size(store.path) if whole and store.path is not None else None,
        "source": store.meta.get("source"),
    }


def _lengths(lengths: np.ndarray) -> dict[str, float]:
    low, median, high = np.quantile(lengths, [0.05, 0.5, 0.95]).tolist()
    least, mean, most = int(lengths.min()), float(lengths.mean()), int(lengths.max())
    return {"min": least, "p05": low, "median": median, "mean": mean, "p95": high, "max": most}


def _folder_size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.iterdir() if file.is_file())


def _labels(store: TokenStore) -> dict[str, Any]:
    labelled = store.labels >= 0
    classes, values = np.zeros(0, np.int64), {}
    if store.label_kind == "number":
        numbers = store.values[labelled]
        if numbers.size:
            figures = (numbers.min(), np.median(numbers), numbers.mean(), numbers.max())
            values = dict(zip(("min", "median", "mean", "max"), map(float, figures)))
    elif store.label_kind == "multi":
        classes = np.bincount(store.label_ids, minlength=len(store.classes))
        values = {"mean": float(store.labels[labelled].mean())} if labelled.any() else {}
    else:
        classes = np.bincount(store.labels[labelled], minlength=len(store.classes))
    return {
        "label_kind": store.label_kind,
        "classes": dict(zip(store.classes, classes.tolist())),
        "values": values,
        "unlabelled": int(np.count_nonzero(~labelled)),
    }


def _size_lines(card: StoreCard) -> list[tuple[str, str]]:
    length = card.length
    names = {"min": "min", "p05": "5 %", "median": "median", "mean": "mean", "p95": "95 %", "max": "max"}
    on_disk = "" if card.bytes is None else f", {card.bytes / 1e6:,.1f} MB on disk"
    unknown = f"{card.oov_share:.2%} of tokens"
    if card.types is not None:
        unknown += f", {card.oov_types:.2%} of {card.types:,} types"
    lines = [
        ("documents", f"{card.documents:,}"),
        ("tokens", f"{card.tokens:,} as {card.dtype}{on_disk}"),
        ("length", ", ".join(f"{name} {length[key]:,.5g}" for key, name in names.items())),
        ("vocabulary", f"{card.vocab:,} tokens"),
        ("unknown", unknown),
    ]
    return lines if card.source is None else [("source", card.source), *lines]


def _label_lines(card: StoreCard) -> list[tuple[str, str]]:
    lines = []
    if card.classes:
        most = sorted(card.classes.items(), key=lambda item: -item[1])[:_SHOWN]
        parts = [f"{name} {n:,} ({n / card.documents:.1%})" for name, n in most]
        rest = [f"and {len(card.classes) - _SHOWN:,} more"] if len(card.classes) > _SHOWN else []
        lines.append((f"{len(card.classes):,} classes", ", ".join([*parts, *rest])))
    if card.values:
        what = "classes each" if card.label_kind == "multi" else "labels"
        lines.append((what, ", ".join(f"{name} {value:.4g}" for name, value in card.values.items())))
    return [*lines, ("unlabelled", f"{card.unlabelled:,}")]
