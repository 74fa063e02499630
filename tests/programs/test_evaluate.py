"""Figures against counts by hand."""

from __future__ import annotations

import numpy as np
import pytest

from textxfer.evaluate import evaluate

CLASSES = ("a", "b", "c")
PROBABILITIES = np.array(
    [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.3, 0.6, 0.1], [0.5, 0.3, 0.2], [0.1, 0.2, 0.7]], dtype=np.float32
)
LABELS = np.array([0, 1, 0, 1, 2])


def test_figures():
    report = evaluate(PROBABILITIES, LABELS, CLASSES)
    assert report.confusion.tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    assert report.n == 5
    assert report.accuracy == pytest.approx(3 / 5)
    assert report.error_rate == pytest.approx(2 / 5)
    assert [row["f1"] for row in report.per_class] == pytest.approx([0.5, 0.5, 1.0])
    assert report.macro_f1 == pytest.approx(2 / 3)
    assert report.log_loss == pytest.approx(-np.log([0.8, 0.7, 0.3, 0.3, 0.7]).mean(), rel=1e-6)
    assert report.most_confused() == [("a", "b", 1), ("b", "a", 1)]


def test_the_text_has_a_row_for_each_class():
    text = str(evaluate(PROBABILITIES, LABELS, CLASSES))
    assert text.splitlines()[0].startswith("5 documents: error 40.00%")
    assert [line.split()[0] for line in text.splitlines()[2:5]] == list(CLASSES)


def test_a_class_that_nobody_predicts_or_has():
    report = evaluate(PROBABILITIES[:1], LABELS[:1], CLASSES)
    assert [row["precision"] for row in report.per_class] == [1.0, 0.0, 0.0]
    assert report.to_dict()["error_rate"] == 0.0
    assert report.macro_f1 == 1.0  # of the one class that occurs
    missed = evaluate(PROBABILITIES[1:2], LABELS[:1], CLASSES)
    assert missed.macro_f1 == 0.0 and missed.error_rate == 1.0


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        (PROBABILITIES[:0], LABELS[:0], "no labelled documents"),
        (PROBABILITIES[:, :2], LABELS, "have shape"),
        (PROBABILITIES, np.array([0, 1, -1, 1, 2]), "document 2 has none"),
        (PROBABILITIES, np.array([0, 1, 1, 1, 3]), "document 4 has 3"),
    ],
)
def test_what_cannot_be_evaluated(probabilities, labels, message):
    with pytest.raises(ValueError, match=message):
        evaluate(probabilities, labels, CLASSES)
