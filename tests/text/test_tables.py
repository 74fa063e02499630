"""CSV: rows that go wrong, labels, and the limit of the module `csv`."""

from __future__ import annotations

import csv
import threading
import time
import tracemalloc
from pathlib import Path

import pytest

from textxfer.text import fields
from textxfer.text.corpus import DataError, Document, read_csv

USUAL = 131_072


def write(path: Path, content: str) -> Path:
    path.write_bytes(content.encode())
    return path


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_line_ends(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path / "data.csv", ending.join(["text,label", "a,x", "", f'"b{ending}c",y', "d,z", ""]))
    assert list(read_csv(path, "text", "label")) == [
        Document("a", "x", 1),
        Document(f"b{ending}c", "y", 2),
        Document("d", "z", 3),
    ]
    path = write(tmp_path / "bad.csv", ending.join(["text,label", f'"a{ending}b",x', "", "c"]))
    with pytest.raises(DataError, match=r"row 2 \(line 5\): 1 fields where the header has 2"):
        list(read_csv(path, "text", "label"))


def test_byte_order_mark_before_a_quoted_header(tmp_path: Path) -> None:
    path = write(tmp_path / "data.csv", '\ufeff"text","label"\n"a","x"\n')
    assert list(read_csv(path, "text", "label")) == [Document("a", "x", 1)]


def test_open_quote_is_found_where_it_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = "fine,x\n" * 3
    path = write(tmp_path / "short.csv", f"text,label\n{rows}\n" + '"open,y\n' + rows)
    with pytest.raises(DataError, match=r"row 4 \(line 6\): unexpected end of data; is a quote left open"):
        list(read_csv(path, "text", "label"))
    monkeypatch.setattr(fields, "MAX_FIELD", 1 << 20)
    path = write(tmp_path / "long.csv", f"text,label\n{rows}" + '"open,y\n' + "fine,x\n" * 3_000_000)
    read = read_csv(path, "text", "label")
    tracemalloc.start()
    with pytest.raises(DataError, match=r"row 4 \(line 5\): field larger than field limit .*is a quote left open"):
        list(read)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < path.stat().st_size / 2
    assert csv.field_size_limit() == USUAL


def test_memory_is_bounded(tmp_path: Path) -> None:
    path = write(tmp_path / "data.csv", "text,label\n" + "a text of some words,x\n" * 200_000)
    tracemalloc.start()
    n = sum(1 for _ in read_csv(path, "text", "label"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert n == 200_000
    assert peak < 1_500_000 < path.stat().st_size / 3


def test_limit_of_the_process_is_left_alone(tmp_path: Path) -> None:
    long = "a" * 300_000
    path = write(tmp_path / "data.csv", f'text\n{long}\nb\n"{long[:200_000]}\n{long}"\n{long}')
    for document in read_csv(path, "text"):
        assert csv.field_size_limit() == USUAL, document.row
    corpora = zip(read_csv(path, "text"), read_csv(path, "text"))
    assert [len(one.text) for one, _ in corpora] == [300_000, 1, 500_001, 300_000]
    assert csv.field_size_limit() == USUAL
    path = write(path, f"text\n{'a' * 500}\nb\n")
    csv.field_size_limit(100)
    try:
        assert len(list(read_csv(path, "text"))) == 2
        assert csv.field_size_limit() == 100
    finally:
        csv.field_size_limit(USUAL)


def test_limit_with_several_threads(tmp_path: Path) -> None:
    path = write(tmp_path / "data.csv", "text\n" + f"{'a' * 200_000}\nb\n" * 40)
    counts: list[int] = []
    threads = [threading.Thread(target=lambda: counts.append(sum(1 for _ in read_csv(path, "text")))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [80] * 4
    assert csv.field_size_limit() == USUAL


def test_several_labels(tmp_path: Path) -> None:
    path = write(tmp_path / "data.csv", "text,tags\na,x; y ;x\nb,\nc,z;;\n")
    labels = [d.label for d in read_csv(path, "text", "tags", label_separator=";")]
    assert labels == [("x", "y"), (), ("z",)]
    with pytest.raises(ValueError, match="pass one of them"):
        read_csv(path, "text", "tags", label_separator=";", numeric=True)
    with pytest.raises(ValueError, match="must not be empty"):
        read_csv(path, "text", "tags", label_separator="")


def test_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "data.csv", "text,n\na,1\nb, -2.5e1 \n")
    documents = list(read_csv(path, "text", "n", numeric=True))
    assert [d.label for d in documents] == [1.0, -25.0]
    assert all(type(d.label) is float for d in documents)
    for cell, message in (
        ("nan", "the label 'nan' in column 'n' is no finite number"),
        ("inf", "the label .* is no finite number"),
        ("1_0", "the label .* is no finite number"),
        ("good", "the label .* is no finite number"),
        (" ", "the label in column 'n' is missing"),
    ):
        path = write(tmp_path / "bad.csv", f"text,n\na,1\nb,{cell}\n")
        with pytest.raises(DataError, match=rf"bad\.csv, row 2 \(line 3\): {message}"):
            list(read_csv(path, "text", "n", numeric=True))


def test_labels_stay_as_they_are_written(tmp_path: Path) -> None:
    path = write(tmp_path / "data.csv", "text,n\na,1.0\nb,01\nc,nan\n")
    assert [d.label for d in read_csv(path, "text", "n")] == ["1.0", "01", "nan"]


def test_rows_of_a_split(tmp_path: Path) -> None:
    path = write(tmp_path / "data.csv", "split,text,label\ntrain,a,x\ntest,b,\n train ,c,y\nvalid,d,y\n")
    train = read_csv(path, "text", "label", only=("split", "train"))
    assert list(train) == [Document("a", "x", 1), Document("c", "y", 3)]
    with pytest.raises(DataError, match=r"row 2 \(line 3\): the label in column 'label' is missing"):
        list(read_csv(path, "text", "label", only=("split", "test")))
    with pytest.raises(DataError, match="no row has 'dev' in column 'split'; the values there are 'train', 'test'"):
        list(read_csv(path, "text", only=("split", "dev")))
    spelled = write(tmp_path / "spelled.csv", "split,text\ntrain,a\nvalid,b\nTrain,c\n")
    with pytest.raises(DataError, match=r"row 3 \(line 4\): column 'split' has 'Train', and 'train' is asked for"):
        list(read_csv(spelled, "text", only=("split", "train")))
    with pytest.raises(DataError, match="no column 'fold'; there are 'split', 'text', 'label'"):
        read_csv(path, "text", only=("fold", "1"))
    with pytest.raises(ValueError, match="only= must be a column and a value"):
        read_csv(path, "text", only="split")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no documents in it"):
        list(read_csv(write(path, "split,text\n"), "text", only=("split", "train")))
    path = write(path, "n,text\n" + "".join(f"{i},a\n" for i in range(50)))
    with pytest.raises(DataError, match=r"the values there are '0', .*'19', \.\.\.$"):
        list(read_csv(path, "text", only=("n", "x")))


def test_a_missing_column_among_very_many(tmp_path: Path) -> None:
    path = tmp_path / "wide.csv"
    path.write_text(",".join(f"c{i}" for i in range(200_000)) + "\n")
    start = time.process_time()
    with pytest.raises(DataError, match=r"no column 'text'; there are 'c0', .* and 199,950 more") as caught:
        read_csv(path, "text")
    assert len(str(caught.value)) < 1500
    assert time.process_time() - start < 1
