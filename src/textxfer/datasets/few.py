"""Splits for the case that ULMFiT was made for: much text, few labels."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, replace

from textxfer.text.document import DataError, Document


@dataclass(frozen=True)
class FewLabels:
    """Three disjoint parts of a labelled corpus, each in the corpus's order.

    Attributes:
        train: The labelled documents: the same number of each class.
        rest: The other documents, without their labels: text for the language model.
        test: The held-out documents: the same share of each class.
    """

    train: list[Document]
    rest: list[Document]
    test: list[Document]


def few_labels(documents: Iterable[Document], per_class: int, seed: int = 0, *, test_share: float = 0.2) -> FewLabels:
    """Split a labelled corpus into few labelled documents, the unlabelled rest and a test set.

    For one seed the test set is the same whatever `per_class` is, and a smaller training set is part of a larger one.

    Args:
        documents: Labelled documents.
        per_class: Labelled documents of each class in `train`, from 1.
        seed: Chooses the split.
        test_share: Share of each class in `test`, between 0 and 1; at least one document of each class.

    Returns:
        The three parts.

    Raises:
        DataError: A document has no label, or a class has too few documents.
        ValueError: `per_class` or `test_share` is out of its range.
    """
    if per_class < 1:
        raise ValueError(f"per_class must be at least 1, not {per_class}")
    if not 0 < test_share < 1:
        raise ValueError(f"test_share must lie between 0 and 1, not {test_share}")
    everything = list(documents)
    train: set[int] = set()
    test: set[int] = set()
    for label, rows in _rows_by_label(everything).items():
        n_test = max(1, round(test_share * len(rows)))
        if len(rows) < n_test + per_class:
            raise DataError(
                f"class {label!r} has {len(rows)} documents, too few for {n_test} to test and {per_class} to train on"
            )
        # A generator per class: the choice in one class does not depend on which others there are.
        random.Random(f"{seed}/{label}").shuffle(rows)
        test.update(rows[:n_test])
        train.update(rows[n_test : n_test + per_class])
    numbered = list(enumerate(everything))
    return FewLabels(
        train=[document for row, document in numbered if row in train],
        rest=[replace(document, label=None) for row, document in numbered if row not in train | test],
        test=[document for row, document in numbered if row in test],
    )


def _rows_by_label(documents: list[Document]) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for index, document in enumerate(documents):
        if document.label is None:
            raise DataError(f"row {document.row or index + 1}: no label; the split needs one for every document")
        if not isinstance(document.label, str):
            raise DataError(f"row {document.row or index + 1}: the label {document.label!r} is not the name of a class")
        rows.setdefault(document.label, []).append(index)
    return rows
