"""Records, data frames and JSON lines: labels of all types, missing values, rows of a split."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from textxfer.text.corpus import Corpus, DataError, Document, from_frame, from_records, from_texts, read_jsonl

Read = Callable[..., Corpus]


class Review(NamedTuple):
    body: str
    stars: int


@pytest.fixture(params=["records", "frame", "jsonl"])
def read(request: pytest.FixtureRequest, tmp_path: Path) -> Read:
    """A reader of records by each of the ways."""

    def read_records(records: list[dict[str, Any]], *columns: Any, **more: Any) -> Corpus:
        if request.param == "records":
            return from_records(records, *columns, **more)
        if request.param == "frame":
            # As objects, so that pandas does not change the types.
            return from_frame(pd.DataFrame(records, dtype=object), *columns, **more)
        path = tmp_path / "data.jsonl"
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        return read_jsonl(path, *columns, **more)

    return read_records


def rows(*labels: Any) -> list[dict[str, Any]]:
    return [{"text": f"text {i}", "label": label} for i, label in enumerate(labels, 1)]


def labels(corpus: Iterable[Document]) -> list[Any]:
    return [document.label for document in corpus]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["b ", "a"], ["b", "a"]),
        ([1, 20], ["1", "20"]),
        ([1.0, 2.0, -3.0], ["1", "2", "-3"]),
        ([1, 2.5], ["1", "2.5"]),
        ([True, False], ["True", "False"]),
        ([1e300], ["1e+300"]),
        ([["b", "a", "b"], [], ["c", " "]], [("a", "b"), (), ("c",)]),
        ([[2, 10]], [("10", "2")]),
    ],
)
def test_class_names(read: Read, cells: list[Any], expected: list[Any]) -> None:
    assert labels(read(rows(*cells), "text", "label")) == expected


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([1, 2, "1"], "the label '1' in column 'label' is a string, those before it are each a number"),
        (["1", "2", 1], "the label 1 in column 'label' is a number"),
        ([True, False, "no"], "the label 'no' in column 'label' is a string, those before it are each a bool"),
        ([1, 0, True], "the label True in column 'label' is a bool"),
        (["a", "b", ["a"]], "is a list, those before it are each a string"),
        (["a", "b", None], "the label in column 'label' is missing; fill it in or remove the row"),
        ([1.0, 2.0, float("nan")], "the label in column 'label' is missing"),
        (["a", "b", "  "], "the label in column 'label' is missing"),
        ([["a"], ["b"], ["a", None]], "a label in the list in column 'label' is missing"),
        ([["a"], ["b"], [["a"]]], "the label in column 'label' is a list, not a name"),
        (["a", "b", "\0"], "the label in column 'label' holds a NUL"),
    ],
)
def test_bad_labels(read: Read, cells: list[Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        labels(read(rows(*cells), "text", "label"))
    place, _, what = str(caught.value).partition(": ")
    assert "row 3" in place
    assert message in what


def test_several_labels_and_numbers(read: Read) -> None:
    tags = rows("b|a", "", "c")
    assert labels(read(tags, "text", "label", label_separator="|")) == [("a", "b"), (), ("c",)]
    with pytest.raises(DataError, match=r"row 1.*'' for none of the classes"):
        labels(read(rows(None), "text", "label", label_separator="|"))
    numbers = read(rows(1, 2.5, 10), "text", "label", numeric=True)
    assert labels(numbers) == [1.0, 2.5, 10.0]
    assert all(type(label) is float for label in labels(numbers))
    assert labels(read(rows("1.5", "2"), "text", "label", numeric=True)) == [1.5, 2.0]
    for cell in (True, "x", float("inf"), [1.0]):
        with pytest.raises(DataError, match=r"row 1.*in column 'label' is no finite number"):
            labels(read(rows(cell), "text", "label", numeric=True))


def test_texts(read: Read) -> None:
    records = [{"a": "x", "b": 1}, {"a": None, "b": "y"}]
    assert [d.text for d in read(records, ["a", "b"])] == ["xxfld 1 x xxfld 2 1", "xxfld 1  xxfld 2 y"]
    with pytest.raises(DataError, match=r"row 2.*: the text is empty"):
        list(read(records, "a"))
    assert [d.row for d in read(records, "a", on_empty="skip")] == [1]
    with pytest.raises(DataError, match=r"row 1.*: 'a' holds a dict, not a text"):
        list(read([{"a": {"x": 1}}], "a"))


def test_no_records() -> None:
    for nothing in (from_records([], "a"), from_frame(pd.DataFrame({"a": []}), "a")):
        with pytest.raises(DataError, match="no documents in it"):
            list(nothing)


def test_rows_of_a_split(read: Read) -> None:
    records = [
        {"text": "a", "fold": 0, "label": "x"},
        {"text": "", "fold": 1, "label": None},
        {"text": "b", "fold": 0, "label": "y"},
    ]
    for value in (0, "0", 0.0):
        corpus = read(records, "text", "label", only=("fold", value))
        assert list(corpus) == [Document("a", "x", 1), Document("b", "y", 3)]
    with pytest.raises(DataError, match="no row has 7 in column 'fold'; the values there are '0', '1'"):
        list(read(records, "text", only=("fold", 7)))


def test_rows_without_a_key(read: Read) -> None:
    with pytest.raises(DataError, match=r"no (key|column) 'label'; (there are|it has) 'text'"):
        list(read([{"text": "a"}], "text", "label"))


def test_objects_and_other_mappings() -> None:
    expected = [Document("good", "5", 1), Document("bad", "1", 2)]
    pairs = [("good", 5), ("bad", 1)]
    assert list(from_records([Review(*pair) for pair in pairs], "body", "stars")) == expected
    spaces = [SimpleNamespace(body=body, stars=stars) for body, stars in pairs]
    assert list(from_records(spaces, "body", "stars")) == expected
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    connection.execute("create table reviews (body text, stars integer)")
    connection.executemany("insert into reviews values (?, ?)", pairs)
    corpus = from_records(lambda: connection.execute("select * from reviews"), "body", "stars", name="reviews")
    assert list(corpus) == list(corpus) == expected
    with pytest.raises(DataError, match="reviews, row 1: no key 'title'; there are 'body', 'stars'"):
        list(from_records(lambda: connection.execute("select * from reviews"), "title", name="reviews"))
    connection.close()
    with pytest.raises(DataError, match="records, row 1: a Review without attribute 'text'"):
        list(from_records([Review("a", 1)]))
    with pytest.raises(DataError, match="records, row 2: a str without attribute 'text'"):
        list(from_records([{"text": "a"}, "b"]))
    for wrong in ("text", {"text": ["a"]}):
        with pytest.raises(TypeError, match="records must be an iterable of records"):
            from_records(wrong)


def test_an_iterator_is_not_read_twice() -> None:
    def records() -> Iterator[dict[str, str]]:
        yield {"text": "a"}
        yield {"text": "b"}

    once = from_records(records(), name="stream")
    assert [d.text for d in once] == ["a", "b"]
    with pytest.raises(DataError, match="stream: the iterator was read before and cannot be read again; pass a list"):
        list(once)
    begun = from_records(iter([{"text": "a"}, {"text": "b"}]))
    assert next(iter(begun)).text == "a"
    with pytest.raises(DataError, match="cannot be read again"):
        list(begun)
    for again in (records, list(records())):
        corpus = from_records(again)
        assert [d.text for d in corpus] == [d.text for d in corpus] == ["a", "b"]


def test_records_are_read_as_they_are_needed() -> None:
    taken: list[int] = []

    def records() -> Iterator[dict[str, str]]:
        for number in range(10):
            taken.append(number)
            yield {"text": f"text {number}"}

    documents = iter(from_records(records))
    next(documents)
    next(documents)
    assert len(taken) <= 3


def test_types_of_frames() -> None:
    frame = pd.DataFrame({"text": ["a", "b", "c"], "label": [1, None, 2]})
    assert frame["label"].dtype == float
    with pytest.raises(DataError, match="data frame, row 2: the label in column 'label' is missing"):
        list(from_frame(frame, "text", "label"))
    assert labels(from_frame(frame.dropna(), "text", "label")) == ["1", "2"]
    for cells, dtype, expected in (
        ([1, 2], "int8", ["1", "2"]),
        ([True, False], "bool", ["True", "False"]),
        (["x", "y"], "category", ["x", "y"]),
        (["x", "y"], "string", ["x", "y"]),
        ([1, 2], "Int64", ["1", "2"]),
    ):
        typed = pd.DataFrame({"text": ["a", "b"], "label": pd.Series(cells, dtype=dtype)})
        assert labels(from_frame(typed, "text", "label")) == expected
    for dtype in ("Int64", "string", "datetime64[ns]", "float"):
        typed = pd.DataFrame({"text": ["a"], "label": pd.Series([None], dtype=dtype)})
        with pytest.raises(DataError, match="row 1: the label in column 'label' is missing"):
            list(from_frame(typed, "text", "label"))
    lists = pd.DataFrame({"text": ["a"], "label": [np.array(["y", "x"])]})
    assert labels(from_frame(lists, "text", "label")) == [("x", "y")]
    decimals = pd.DataFrame({"text": ["a"], "label": [Decimal("1.5")]})
    assert labels(from_frame(decimals, "text", "label", numeric=True)) == [1.5]
    assert [d.text for d in from_frame(pd.DataFrame({"text": [pd.NA, "a"]}), "text", on_empty="skip")] == ["a"]
    twice = pd.DataFrame([["a", "b"]], columns=["text", "text"])
    with pytest.raises(DataError, match="the frame has 2 columns called 'text'"):
        from_frame(twice, "text")


def test_long_frames_keep_their_rows() -> None:
    frame = pd.DataFrame({"text": [f"text {i}" for i in range(10_000)], "label": np.arange(10_000) % 7})
    frame = frame.set_index(np.arange(10_000)[::-1])
    documents = list(from_frame(frame, "text", "label"))
    assert documents == [Document(f"text {i}", str(i % 7), i + 1) for i in range(10_000)]


def test_labels_of_texts() -> None:
    assert labels(from_texts(["a", "b"], [["y", "x"], []])) == [("x", "y"), ()]
    assert labels(from_texts(["a", "b"], ["x,y", "z"], label_separator=",")) == [("x", "y"), ("z",)]
    assert labels(from_texts(["a", "b"], [1, 2.5], numeric=True)) == [1.0, 2.5]
    assert labels(from_texts(["a", "b"], [0, 1])) == ["0", "1"]
    with pytest.raises(DataError, match="text 2: the label in column 'label' is missing"):
        from_texts(["a", "b"], ["x", None])
    with pytest.raises(DataError, match=r"text 1: the text holds half of a surrogate pair, U\+D800"):
        from_texts(["\ud800"])
    assert [d.text for d in from_texts(["a\ud800\0"], errors="replace")] == ["a\ufffd\ufffd"]
