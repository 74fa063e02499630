from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from textxfer.text.corpus import DataError, Document, check_classes, label_kind
from textxfer.text.document import Label
from textxfer.text.splits import hold_out, split_documents


def documents(labels: list[Label | None]) -> list[Document]:
    return [Document(f"text {row}", label, row) for row, label in enumerate(labels, 1)]


def test_each_class_gives_its_share() -> None:
    whole = documents([*["a"] * 50, *["b"] * 10, *["c"] * 2, *[None] * 30])
    kept, held = split_documents(whole, 0.2, seed=3)
    assert Counter(d.label for d in held) == {"a": 10, "b": 2, "c": 1, None: 6}
    assert sorted([*kept, *held], key=lambda d: d.row) == whole
    assert [d.row for d in kept] == sorted(d.row for d in kept)
    assert (kept, held) == split_documents(whole, 0.2, seed=3)
    assert held != split_documents(whole, 0.2, seed=4)[1]


def test_a_class_with_one_row() -> None:
    whole = documents(["a", "a", "b", "a"])
    with pytest.raises(DataError, match=r"only one document of the class 'b' \(row 3\): .*remove the row, merge"):
        split_documents(whole, 0.5)
    kept, held = split_documents(whole, 0.5, allow_single=True)
    assert whole[2] in kept
    assert Counter(d.label for d in held) == {"a": 2}
    with pytest.raises(DataError, match="each of the 2 classes has one document only"):
        split_documents(documents(["a", "b"]), 0.5, allow_single=True)
    names = [f"class {i}" for i in range(12)]
    with pytest.raises(DataError, match=r"'class 9' \(row 10\) and 2 more: it"):
        split_documents(documents([*names]), 0.5)


def test_no_labels() -> None:
    kept, held = split_documents(documents([None] * 10), 0.1)
    assert (len(kept), len(held)) == (9, 1)
    kept, held = split_documents(documents(["a", "a", None]), 0.5)
    assert None in [d.label for d in kept]
    assert len(held) == 1
    for few in ([], [None]):
        with pytest.raises(DataError, match=r"document\(s\) cannot be split"):
            split_documents(documents([*few]), 0.5)


def test_several_classes_and_numbers() -> None:
    kept, held = split_documents(documents([*[("a", "b")] * 10, *[("a",)] * 20, ("c",), *[()] * 10]), 0.2)
    assert Counter(d.label for d in held) == {("a", "b"): 2, ("a",): 4, (): 2}
    assert ("c",) in [d.label for d in kept]
    unique = documents([(f"class {i}",) for i in range(20)])
    assert len(split_documents(unique, 0.25)[1]) == 5
    assert len(split_documents(documents([i / 7 for i in range(20)]), 0.25)[1]) == 5


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5])
def test_wrong_shares(share: float) -> None:
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        split_documents(documents(["a", "a"]), share)


def test_kinds_of_labels() -> None:
    assert [label_kind(label) for label in ("a", (), ("a", "b"), 1.5)] == ["single", "multi", "multi", "number"]
    for label in (1, None, ["a"]):
        with pytest.raises(TypeError, match="a label is a string, a tuple of strings or a float"):
            label_kind(label)  # type: ignore[arg-type]


def test_classes_of_several_labels_and_of_numbers() -> None:
    assert check_classes(documents([("b", "a"), (), ("c",)])) == ["a", "b", "c"]
    assert check_classes(documents([1.0, 2.5])) == []
    with pytest.raises(DataError, match=r"only the label 1\.0 in the data"):
        check_classes(documents([1.0, 1.0]))
    with pytest.raises(DataError, match=r"row 2: the label \('a',\) is of another kind"):
        check_classes(documents(["a", ("a",)]))


@pytest.mark.parametrize("share, number", [(0.2, 50), (0.001, 50), (0.999, 7), (0.5, 2)])
def test_a_corpus_that_is_read_again_is_split_like_one_in_memory(share: float, number: int) -> None:
    class Corpus:
        """Counts how often it is read."""

        reads = 0

        def __iter__(self) -> Iterator[Document]:
            self.reads += 1
            return iter(documents([None] * number))

    corpus = Corpus()
    kept, held = hold_out(corpus, share, seed=5)
    assert corpus.reads == 1
    assert (list(kept), list(held)) == split_documents(documents([None] * number), share, seed=5)
    assert list(kept) == list(kept) and corpus.reads == 5


@pytest.mark.parametrize("share, number, error", [(0.5, 1, DataError), (0.5, 0, DataError), (1.0, 9, ValueError)])
def test_nothing_to_hold_out(share: float, number: int, error: type[Exception]) -> None:
    with pytest.raises(error):
        hold_out(documents([None] * number), share)
