from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.text.samples import documents, numbered_store, toy_store
from textxfer.text.card import card
from textxfer.text.document import DataError, Document
from textxfer.text.overlap import labels_of
from textxfer.text.specials import SPECIALS
from textxfer.text.store import TokenStore
from textxfer.text.tokenizer import RulesTokenizer
from textxfer.text.vocab import Vocab

LONG = "one two three four five six seven eight nine ten eleven twelve"
SAME = [
    Document(LONG, "good", 11),
    Document("something else that nobody says twice", "bad", 12),
    Document(LONG, "bad", 13),
    Document(f"{LONG} thirteen", "good", 14),
    Document("rare first", None, 15),
    Document("rare second", None, 16),
]


def store(docs: list[Document], **arguments: object) -> TokenStore:
    return TokenStore.build(None, docs, RulesTokenizer(), **arguments)  # type: ignore[arg-type]


def twice_seen() -> TokenStore:
    """A store that knows all words but those seen once."""
    words = {word for document in SAME for word in document.text.split()} - {"first", "second"}
    return store(SAME, vocab=Vocab([*SPECIALS, *sorted(words)]))


def test_the_figures_of_a_store() -> None:
    one = toy_store(80)
    figures = card(one)
    lengths = [len(one[i]) for i in range(80)]
    assert (figures.documents, figures.tokens, figures.vocab) == (80, sum(lengths), len(one.vocab))
    assert figures.length["min"] == min(lengths)
    assert figures.length["max"] == max(lengths)
    assert figures.length["mean"] == pytest.approx(sum(lengths) / 80)
    assert figures.length["median"] == pytest.approx(np.median(lengths))
    labels = [document.label for document in documents(80)]
    assert figures.classes == {name: labels.count(name) for name in sorted(set(labels))}
    assert figures.unlabelled == 0
    assert figures.fingerprints["vocab"] == one.vocab.fingerprint
    assert figures.fingerprints["tokenizer"] == one.tokenizer.fingerprint
    assert (figures.dtype, figures.bytes) == ("uint16", None)
    assert json.loads(json.dumps(figures.to_dict())) == figures.to_dict()


def test_unknown_tokens_by_mass_and_by_type() -> None:
    docs = [Document("known known new", None, 1), Document("known other", None, 2)]
    one = store(docs, vocab=Vocab([*SPECIALS, "known", "unseen"]))
    figures = card(one)
    assert figures.oov_share == pytest.approx(2 / 5)
    assert (figures.types, figures.oov_types) == (4, pytest.approx(2 / 4))  # xxbos, known, new, other
    assert "40.00% of tokens, 50.00% of 4 types" in str(card(one))
    part = card(one.subset([1]))  # the number of types is that of the whole store
    assert (part.oov_share, part.types, part.oov_types) == (pytest.approx(1 / 2), None, None)
    assert card(store(docs, min_count=1)).oov_types == 0


def test_a_store_in_a_folder(tmp_path: Path) -> None:
    one = TokenStore.build(tmp_path / "store", documents(20), RulesTokenizer())
    one.meta["source"] = "reviews.csv"
    size = sum(file.stat().st_size for file in (tmp_path / "store").iterdir())
    figures = card(one)
    assert (figures.bytes, figures.source) == (size, "reviews.csv")
    assert str(figures).startswith("source            reviews.csv\ndocuments         20\n")
    assert card(one.subset([0, 1])).bytes is None


def test_duplicates_with_rows_and_labels() -> None:
    within = card(twice_seen()).duplicates
    assert within is not None
    exact, near = within.exact, within.near
    assert (exact.groups, exact.documents, exact.others) == (2, 4, 0)
    assert exact.rows == ((11, 13), (15, 16))
    assert exact.conflicts == 1  # the documents without labels contradict nobody
    assert exact.unknown == 1  # "rare xxunk" was two different texts
    assert (near.groups, near.documents, near.rows, near.conflicts) == (1, 2, ((11, 14),), 0)
    assert near.similarity == (pytest.approx(11 / 12),)


def test_duplicates_shared_with_other_stores() -> None:
    one = twice_seen()
    test = TokenStore.build(None, [Document(LONG, "good", 3), Document("other", "bad", 4)], like=one)
    none = TokenStore.build(None, [Document("nine ten", None, 1)], like=one)
    figures = card(one, {"test": test, "none": none}, duplicates=False)
    assert figures.duplicates is None
    shared = figures.others["test"].exact
    assert (shared.groups, shared.documents, shared.others) == (1, 2, 1)
    assert shared.rows == ((11, 3), (13, 3))
    assert shared.conflicts == 1
    assert figures.others["none"].exact.groups == figures.others["none"].near.groups == 0


def test_other_vocabularies_are_refused() -> None:
    with pytest.raises(DataError, match=r"test: the store's vocabulary .*; build it with like="):
        card(toy_store(), {"test": numbered_store([3])})
    with pytest.raises(DataError, match="the store has no documents"):
        card(toy_store().subset([]))


def test_the_card_as_text() -> None:
    one = twice_seen()
    text = str(card(one, {"test": TokenStore.build(None, SAME[:1], like=one)}))
    lines = [line.split("  ", 1) for line in text.splitlines()]
    assert all(len(line) == 2 and not line[1].endswith(" ") for line in lines if line[0])
    assert "2 classes         bad 2 (33.3%), good 2 (33.3%)" in text
    assert "unlabelled        2" in text
    assert "exact duplicates  4 documents, in 2 groups; 1 group with different labels; 1 group with xxunk" in text
    assert "  rows            11 and 13, 15 and 16" in text
    assert "near (0.75)       2 documents, in 1 group" in text
    assert "  rows            11 and 14 (0.92)" in text
    assert "shared with       test" in text
    assert "exact duplicates  2 documents here, 1 there, in 1 group; 1 group with different labels" in text
    assert "looked at" not in text
    bounded = str(card(one, max_documents=2))
    assert "  looked at       2 of 3 distinct documents; the others may have more" in bounded


def test_many_classes() -> None:
    figures = card(store([Document(f"text {i}", f"c{i % 20:02}", i) for i in range(50)]))
    assert len(figures.classes) == 20
    assert "20 classes        c00 3 (6.0%), c01 3 (6.0%)" in str(figures)
    assert "and 8 more" in str(figures)


def test_several_classes_a_document() -> None:
    one = store(
        [Document("w1", ("z",), 1), Document("w1", ("x", "z"), 2), Document("w2", None, 3), Document("w2", (), 4)],
        classes=["x", "y", "z"],
    )
    figures = card(one)
    assert figures.classes == {"x": 1, "y": 0, "z": 2}
    assert figures.unlabelled == 1  # to have none of the classes is a label
    assert figures.values == {"mean": 1.0}
    label = labels_of(one)
    assert [label(i) for i in range(4)] == [{"z"}, {"x", "z"}, None, frozenset()]
    assert labels_of(one.subset([1, 0]))(0) == {"x", "z"}
    assert figures.duplicates is not None
    assert (figures.duplicates.exact.groups, figures.duplicates.exact.conflicts) == (2, 1)
    assert "3 classes         z 2 (50.0%), x 1 (25.0%), y 0 (0.0%)\nclasses each      mean 1\n" in str(figures)


def test_numbers_for_labels() -> None:
    def scored(*scores: float | None) -> TokenStore:
        return store([Document("w1", score, i) for i, score in enumerate(scores, 1)])

    figures = card(scored(1.5, 2.5, None))
    assert figures.values == {"min": 1.5, "median": 2.0, "mean": 2.0, "max": 2.5}
    assert (figures.classes, figures.unlabelled) == ({}, 1)
    assert "labels            min 1.5, median 2, mean 2, max 2.5\nunlabelled        1\n" in str(figures)
    for scores, conflicts in (((1.5, 2.5, None), 1), ((1.5, 1.5, None), 0)):
        duplicates = card(scored(*scores)).duplicates
        assert duplicates is not None
        assert duplicates.exact.conflicts == conflicts
