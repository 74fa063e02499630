from __future__ import annotations

import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from textxfer.text.corpus import DataError, Document, read_parquet

pa = pytest.importorskip("pyarrow")


def write(path: Path, columns: dict[str, Any], **more: Any) -> Path:
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), path, **more)
    return path


def test_rows_labels_and_splits(tmp_path: Path) -> None:
    columns = {
        "text": [f"text {i}" for i in range(1000)],
        "label": pa.array([["x", "y"][i % 2] for i in range(1000)]).dictionary_encode(),
        "stars": [i % 5 for i in range(1000)],
        "tags": [["b", "a"], []] * 500,
        "split": ["train", "test"] * 500,
    }
    path = write(tmp_path / "data.parquet", columns, row_group_size=300)
    corpus = read_parquet(path, "text", "label")
    expected = [Document(f"text {i}", ["x", "y"][i % 2], i + 1) for i in range(1000)]
    assert list(corpus) == list(corpus) == expected
    assert [d.label for d in read_parquet(path, label="stars")][:3] == ["0", "1", "2"]
    assert [d.label for d in read_parquet(path, label="stars", numeric=True)][:2] == [0.0, 1.0]
    assert [d.label for d in read_parquet(path, label="tags")][:2] == [("a", "b"), ()]
    assert [d.row for d in read_parquet(path, only=("split", "test"))] == list(range(2, 1001, 2))
    assert next(iter(read_parquet(path, ["split", "text"]))).text == "xxfld 1 train xxfld 2 text 0"


def test_bad_files(tmp_path: Path) -> None:
    path = write(tmp_path / "data.parquet", {"text": ["a", None], "label": [1.0, None]})
    with pytest.raises(DataError, match=r"data\.parquet, row 2: the text is empty"):
        list(read_parquet(path))
    with pytest.raises(DataError, match=r"data\.parquet has no column 'body'; it has 'text', 'label'"):
        read_parquet(path, "body")
    with pytest.raises(DataError, match=r"row 2: the label in column 'label' is missing"):
        list(read_parquet(write(path, {"text": ["a", "b"], "label": [1.0, None]}), label="label"))
    whole = path.read_bytes()
    for content in (whole[:-1], b"text\na\n", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(DataError, match="is no Parquet file, or damaged"):
            read_parquet(path)
    big = write(tmp_path / "big.parquet", {"text": [f"text {i * 7919}" for i in range(50_000)]})
    content = bytearray(big.read_bytes())
    content[1000:2000] = b"\xff" * 1000
    big.write_bytes(content)
    with pytest.raises(DataError, match=r"big\.parquet, row 1 or soon after: "):
        list(read_parquet(big))
    with pytest.raises(DataError, match="no documents in it"):
        list(read_parquet(write(path, {"text": pa.array([], pa.string())})))


def test_strings_that_are_no_text(tmp_path: Path) -> None:
    cells = pa.array([b"a"] * 300 + [b"g\xfcn", None, b"b"], pa.binary())
    texts = pa.Array.from_buffers(pa.string(), len(cells), cells.buffers())
    path = write(tmp_path / "data.parquet", {"text": texts})
    with pytest.raises(DataError, match=r"row 301: byte 0xfc at offset 1 of the cell is not utf-8"):
        list(read_parquet(path))
    read = read_parquet(path, errors="replace", on_empty="skip")
    assert [(d.row, d.text) for d in read][-2:] == [(301, "g\ufffdn"), (303, "b")]
    with pytest.raises(DataError, match="row 1: 'text' holds a bytes, not a text"):
        list(read_parquet(write(path, {"text": cells})))


def test_memory_is_bounded(tmp_path: Path) -> None:
    path = write(tmp_path / "data.parquet", {"text": [f"text {i} " * 100 for i in range(20_000)]})
    tracemalloc.start()
    assert sum(1 for _ in read_parquet(path)) == 20_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "data.parquet", {"text": ["a"]})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match="pip install pyarrow"):
        read_parquet(path)
