"""How good a classifier is on held-out documents: one pass, one confusion matrix, everything else derived from it.

Shapes: N documents, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Counts of documents by true and predicted class, and what follows from them.

    Args:
        classes: Names of the classes.
        confusion: Documents by true class (row) and predicted class (column), (C, C).
        log_loss: Mean negative logarithm of the true class's probability.
    """

    classes: Sequence[str]
    confusion: np.ndarray
    log_loss: float

    @property
    def n(self) -> int:
        """Number of documents."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """Share of documents whose predicted class is the true one."""
        return float(np.trace(self.confusion)) / self.n

    @property
    def error_rate(self) -> float:
        """Share of documents whose predicted class is a wrong one."""
        return 1.0 - self.accuracy

    @cached_property
    def per_class(self) -> list[dict[str, Any]]:
        """Precision, recall, F1 and number of documents of each class; a class nobody predicted has precision 0."""
        hits, predicted, true = np.diag(self.confusion), self.confusion.sum(axis=0), self.confusion.sum(axis=1)
        precision = hits / np.maximum(predicted, 1)
        recall = hits / np.maximum(true, 1)
        f1 = 2 * hits / np.maximum(predicted + true, 1)
        return [
            {"class": name, "precision": float(p), "recall": float(r), "f1": float(f), "n": int(n)}
            for name, p, r, f, n in zip(self.classes, precision, recall, f1, true)
        ]

    @property
    def macro_f1(self) -> float:
        """Mean F1 over the classes that occur, among the documents or the predictions."""
        occurs = self.confusion.sum(axis=0) + self.confusion.sum(axis=1) > 0
        return float(np.mean([row["f1"] for row, counts in zip(self.per_class, occurs) if counts]))

    def most_confused(self, limit: int = 5) -> list[tuple[str, str, int]]:
        """Return the most frequent confusions: true class, predicted class, number of documents.

        Args:
            limit: How many to return at most.
        """
        wrong = self.confusion.copy()
        np.fill_diagonal(wrong, 0)
        order = np.argsort(-wrong, axis=None, kind="stable")[:limit]
        places = [divmod(int(flat), len(self.classes)) for flat in order]
        return [(self.classes[i], self.classes[j], int(wrong[i, j])) for i, j in places if wrong[i, j]]

    def to_dict(self) -> dict[str, Any]:
        """Return all figures as JSON values."""
        return {
            "n": self.n,
            "error_rate": self.error_rate,
            "accuracy": self.accuracy,
            "macro_f1": self.macro_f1,
            "log_loss": self.log_loss,
            "per_class": self.per_class,
            "confusion": self.confusion.tolist(),
        }

    def __str__(self) -> str:
        """Write the report as text: overall figures, a row per class, the most frequent confusions."""
        width = max(len("class"), *(len(name) for name in self.classes))
        lines = [
            f"{self.n:,} documents: error {self.error_rate:.2%}, macro F1 {self.macro_f1:.3f}, "
            f"log loss {self.log_loss:.3f}",
            f"{'class':<{width}}  precision  recall     F1  documents",
        ]
        lines += [
            f"{row['class']:<{width}}  {row['precision']:9.3f}  {row['recall']:6.3f}  {row['f1']:5.3f}  {row['n']:9,}"
            for row in self.per_class
        ]
        lines += [f"{n:,} of {true!r} taken for {taken!r}" for true, taken, n in self.most_confused()]
        return "\n".join(lines)


def evaluate(probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> Evaluation:
    """Compare probabilities with labels.

    Args:
        probabilities: One row per document, (N, C).
        labels: Index of the true class of each document, (N,).
        classes: Names of the classes.

    Returns:
        The confusion matrix and what follows from it.

    Raises:
        ValueError: If there are no documents, shapes do not fit, or a label is missing or of no class.
    """
    n_classes = len(classes)
    if len(labels) == 0:
        raise ValueError("there are no labelled documents to evaluate on")
    if probabilities.shape != (len(labels), n_classes):
        raise ValueError(f"probabilities have shape {probabilities.shape}, wanted {(len(labels), n_classes)}")
    if len(wrong := np.flatnonzero((labels < 0) | (labels >= n_classes))):
        found = f"{labels[wrong[0]]}" if labels[wrong[0]] >= 0 else "none"
        raise ValueError(f"labels must lie between 0 and {n_classes - 1}; document {wrong[0]} has {found}")
    true = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    log_loss = float(-np.log(np.maximum(true, np.finfo(np.float32).tiny)).mean())
    return Evaluation(tuple(classes), confusion_matrix(probabilities, labels, n_classes), log_loss)


def confusion_matrix(preds: Any, targets: Any, n: int) -> np.ndarray:
    """Count how often each class was taken for each, in O(N + C^2) time and memory.

    Args:
        preds: Predicted classes (N,), or scores (N, C) of which the largest counts.
        targets: True classes (N,).
        n: Number of classes.

    Returns:
        Counts (C, C): row = true class, column = predicted class.

    Raises:
        ValueError: The lengths differ, or a class is not in 0 ... n - 1.
    """
    preds, targets = np.asarray(preds), np.asarray(targets)
    preds = preds.argmax(axis=1) if preds.ndim == 2 else preds
    if preds.shape != targets.shape or preds.ndim != 1:
        raise ValueError(f"confusion_matrix: {preds.shape} predictions and {targets.shape} targets do not match")
    for name, classes in (("predictions", preds), ("targets", targets)):
        if classes.size and not (classes.min() >= 0 and classes.max() < n):
            raise ValueError(
                f"confusion_matrix: {name} must be classes 0 to {n - 1}; found {classes.min()} to {classes.max()}"
            )
    return np.bincount(targets.astype(np.int64) * n + preds.astype(np.int64), minlength=n * n).reshape(n, n)
