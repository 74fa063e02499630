"""Data sets that look like those of the package `datasets`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from textxfer.text.corpus import DataError, Document, from_dataset


@dataclass
class ClassLabel:
    names: list[str]


@dataclass
class ListOf:
    feature: Any


class Streamed:
    """An iterable data set that knows nothing of its columns."""

    column_names = None
    features = None

    def __init__(self, columns: dict[str, list[Any]]) -> None:
        self.columns = columns

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for cells in zip(*self.columns.values()):
            yield dict(zip(self.columns, cells))


class InMemory(Streamed):
    """A data set with columns, features and batches."""

    def __init__(self, columns: dict[str, list[Any]], **features: Any) -> None:
        super().__init__(columns)
        self.column_names = list(columns)
        self.features = {column: features.get(column) for column in columns}
        self.sizes: list[int] = []

    def select_columns(self, columns: list[str]) -> InMemory:
        return InMemory({column: self.columns[column] for column in columns}, **self.features)

    def iter(self, batch_size: int) -> Iterator[dict[str, list[Any]]]:
        for first in range(0, len(next(iter(self.columns.values()))), batch_size):
            yield {column: cells[first : first + batch_size] for column, cells in self.columns.items()}


COLUMNS = {"text": ["a", "b", "c"], "label": [1, 0, 1], "tags": [[0], [], [1, 0]], "image": [object()] * 3}
FEATURES = {"label": ClassLabel(["neg", "pos"]), "tags": ListOf(ClassLabel(["x", "y"]))}


def test_names_of_classes() -> None:
    data = InMemory(COLUMNS, **FEATURES)
    corpus = from_dataset(data, label="label")
    assert list(corpus) == [Document("a", "pos", 1), Document("b", "neg", 2), Document("c", "pos", 3)]
    assert list(corpus) == list(from_dataset({"train": data, "test": None}, "text", "label", split="train"))
    assert [d.label for d in from_dataset(data, label="tags")] == [("x",), (), ("x", "y")]
    older = InMemory(COLUMNS, tags=[ClassLabel(["x", "y"])])  # how lists were written before version 4
    assert [d.label for d in from_dataset(older, label="tags")] == [("x",), (), ("x", "y")]
    assert [d.label for d in from_dataset(data, label="label", numeric=True)] == [1.0, 0.0, 1.0]
    assert [d.label for d in from_dataset(InMemory(COLUMNS), label="label")] == ["1", "0", "1"]
    assert [d.row for d in from_dataset(data, label="label", only=("label", "pos"))] == [1, 3]
    assert next(iter(from_dataset(data, ["text", "label"]))).text == "xxfld 1 a xxfld 2 1"


def test_iterable_data_sets() -> None:
    data = Streamed(COLUMNS)
    corpus = from_dataset(data, "text", "label")
    assert [d.label for d in corpus] == [d.label for d in corpus] == ["1", "0", "1"]
    data.features = dict.fromkeys(COLUMNS) | FEATURES  # type: ignore[assignment]
    assert [d.label for d in from_dataset(data, "text", "label")] == ["pos", "neg", "pos"]
    once = from_dataset(iter(data), "text")
    assert len(list(once)) == 3
    with pytest.raises(DataError, match="data set: the iterator was read before"):
        list(once)
    with pytest.raises(DataError, match="data set, row 1: no key 'body'; there are 'text', 'label', 'tags', 'image'"):
        list(from_dataset(Streamed(COLUMNS), "body"))


def test_rows_keep_their_numbers_over_batches() -> None:
    data = InMemory({"text": [f"text {i}" for i in range(200)], "label": [i % 2 for i in range(200)]}, **FEATURES)
    assert [(d.row, d.text) for d in from_dataset(data, label="label")] == [(i + 1, f"text {i}") for i in range(200)]


def test_bad_data_sets() -> None:
    data = InMemory(COLUMNS, **FEATURES)
    with pytest.raises(DataError, match="a dictionary of data sets; pass split=, one of 'train', 'test'"):
        from_dataset({"train": data, "test": data})
    with pytest.raises(DataError, match="no data set 'dev' in the dictionary; there are 'train'"):
        from_dataset({"train": data}, split="dev")
    with pytest.raises(ValueError, match="split='train' is for a dictionary"):
        from_dataset(data, split="train")
    with pytest.raises(DataError, match="the data set has no column 'body'; it has 'text', 'label', 'tags', 'image'"):
        from_dataset(data, "body")
    for bad, message in ((-1, "the label in column 'label' is missing"), (2, "class number 2, but .* names 2 classes")):
        wrong = InMemory({"text": ["a", "b"], "label": [0, bad]}, **FEATURES)
        with pytest.raises(DataError, match=f"data set 'test', row 2: {message}"):
            list(from_dataset({"test": wrong}, "text", "label", split="test"))
