"""Which reader the command line takes for which file."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from textxfer.cli.common import Reading
from textxfer.cli.reading import Words, open_corpus, read_documents
from textxfer.text import DataError, Document

CONTENTS = {
    ".csv": b"split,text,label\ntrain,a,x\ntest,b,y;x\n",
    ".TSV": b"split\ttext\tlabel\ntrain\ta\tx\ntest\tb\ty;x\n",
    ".jsonl": b'{"split": "train", "text": "a", "label": "x"}\n{"split": "test", "text": "b", "label": "y;x"}\n',
    ".ndjson": b'{"split": "train", "text": "a", "label": "x"}\n{"split": "test", "text": "b", "label": "y;x"}\n',
}
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.compress,
}


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("packing", PACKED)
@pytest.mark.parametrize("ending", CONTENTS)
def test_tables(tmp_path: Path, ending: str, packing: str) -> None:
    path = write(tmp_path / f"data.v1{ending}{packing}", PACKED[packing](CONTENTS[ending]))
    options = Reading()
    assert list(open_corpus(path, options)) == [Document("a", None, 1), Document("b", None, 2)]
    assert [d.label for d in open_corpus(path, options, "label")] == ["x", "y;x"]
    assert [d.label for d in open_corpus(path, options, "label", label_separator=";")] == [("x",), ("x", "y")]
    assert [d.row for d in open_corpus(path, options, "label", only=("split", "test"))] == [2]
    assert len(read_documents(path, options, limit=1)) == 1
    assert read_documents(path, options, "label", only=("split", "train")) == [Document("a", "x", 1)]
    with pytest.raises(DataError, match=r"row 1 .*the label 'x' in column 'label' is no finite number"):
        list(open_corpus(path, options, "label", numeric=True))


def test_parquet(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pa.table({"text": ["a", "b"], "label": [1, 2]}), tmp_path / "data.parquet")
    corpus = open_corpus(tmp_path / "data.parquet", Reading(), "label")
    assert list(corpus) == [Document("a", "1", 1), Document("b", "2", 2)]


def test_packed_parquet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unpack it first"):
        open_corpus(write(tmp_path / "data.parquet.gz", b"x"), Reading())


@pytest.mark.parametrize("packing", PACKED)
def test_running_text(tmp_path: Path, packing: str) -> None:
    path = write(tmp_path / f"text.txt{packing}", PACKED[packing](b"a b\n\nc d\n\ne"))
    options = Reading(breaks="blank")
    assert [d.text for d in open_corpus(path, options)] == ["a b\n", "c d\n", "e"]
    words = Words([path, path], options, 3)
    assert [d.text for d in words] == [d.text for d in words] == ["a b\n", "c d\n"]
    assert [d.text for d in Words([path, path], options, None)] == 2 * ["a b\n", "c d\n", "e"]
    with pytest.raises(DataError, match=r"running text has no labels; use \.csv"):
        open_corpus(path, options, "label")
    tables_only: list[dict[str, Any]] = [{"only": ("a", "b")}, {"label_separator": ";"}, {"numeric": True}]
    for more in tables_only:
        with pytest.raises(DataError, match="has no columns"):
            open_corpus(path, options, **more)


def test_folders(tmp_path: Path) -> None:
    write(tmp_path / "x" / "1.txt", b"a")
    write(tmp_path / "y" / "2.txt", b"b")
    assert [d.label for d in open_corpus(tmp_path, Reading(), "label")] == ["x", "y"]
    with pytest.raises(DataError, match="has no columns; several classes, numbers and splits need"):
        open_corpus(tmp_path, Reading(), only=("split", "train"))


@pytest.mark.parametrize("name", ["data.csv", "data.jsonl", "data.txt", "folder/data.txt"])
def test_bytes_that_are_no_text(tmp_path: Path, name: str) -> None:
    content = {".csv": b"text\ng\xfcn\n", ".jsonl": b'{"text": "g\xfcn"}', ".txt": b"g\xfcn"}[Path(name).suffix]
    path = write(tmp_path / name, content)
    path = path.parent if "/" in name else path
    with pytest.raises(DataError, match=r"byte 0xfc at offset .* of the file is not utf-8"):
        list(open_corpus(path, Reading()))
    assert [d.text.strip() for d in open_corpus(path, Reading(errors="replace"))] == ["g\ufffdn"]
    assert [d.text.strip() for d in open_corpus(path, Reading(encoding="cp1252"))] == ["gün"]
