"""Lines, packings and encodings, and what all file readers say of bytes that are no text."""

from __future__ import annotations

import gzip
import io
import lzma
import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from textxfer.text import packed
from textxfer.text.corpus import Corpus, DataError, read_csv, read_folder, read_jsonl, read_text
from textxfer.text.lines import check_encoding, read_lines

PACKED: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.compress,
}


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def plain_lines(content: str) -> list[str]:
    return io.StringIO(content.removeprefix("\ufeff"), newline="").readlines()


@pytest.mark.parametrize("block", [1, 2, 3, 7, 1 << 16])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32-le", "shift_jis"])
def test_lines_do_not_depend_on_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, encoding: str
) -> None:
    monkeypatch.setattr(packed, "_BLOCK", block)
    rng = random.Random(0)
    parts = ["a", "bc ", "日本", "\r", "\n", "\r\n", "\x0b", "\x1c"]
    if encoding != "shift_jis":
        parts += ["é", "😀", "\u2028", "\x85"]
    for _ in range(20):
        content = "".join(rng.choices(parts, k=30))
        path = write(tmp_path / "text", content.encode(encoding))
        assert list(read_lines(path, encoding)) == plain_lines(content)


@pytest.mark.parametrize("ending", PACKED)
def test_packings(tmp_path: Path, ending: str) -> None:
    content = "".join(f"line {i * 7919}\n" for i in range(30_000))
    whole = PACKED[ending](content.encode())
    path = write(tmp_path / f"text{ending}", whole)
    assert "".join(read_lines(path, "utf-8")) == content
    if ending:
        path = write(tmp_path / f"two{ending}", whole + PACKED[ending](b"more"))
        assert "".join(read_lines(path, "utf-8")) == content + "more"
        for length in (len(whole) - 1, len(whole) // 2, 5):
            path = write(tmp_path / f"cut{ending}", whole[:length])
            with pytest.raises(DataError, match=r"cut.*damaged or cut short .*copy it again"):
                list(read_lines(path, "utf-8"))
        path = write(tmp_path / f"bad{ending}", b"not packed at all")
        with pytest.raises(DataError, match="damaged or cut short"):
            list(read_lines(path, "utf-8"))


def test_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "data.csv.zst", zstandard.compress(b"text\na\n"))
    assert [d.text for d in read_csv(path, "text")] == ["a"]
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(ImportError, match="pip install zstandard"):
        read_csv(path, "text")


@pytest.mark.parametrize("block", [1, 5, 1 << 16])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_place_of_a_bad_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, ending: str) -> None:
    monkeypatch.setattr(packed, "_BLOCK", block)
    rows = ["\ufefftext", "né", "", '"two', 'lines"', "g"]
    content = ending.join(rows).encode() + b"\xfcn" + ending.encode()
    path = write(tmp_path / "data.csv", content)
    offset = content.index(b"\xfc")
    with pytest.raises(DataError) as caught:
        list(read_csv(path, "text"))
    assert str(caught.value).startswith(
        f"{path}, row 3 (line 6): byte 0xfc at offset {offset} of the file is not utf-8; pass encoding="
    )
    texts = [d.text for d in read_csv(path, "text", errors="replace")]
    assert texts == ["né", f"two{ending}lines", "g\ufffdn"]


def test_rows_before_a_bad_byte_come_first(tmp_path: Path) -> None:
    path = write(tmp_path / "data.csv", b"text\na\nb\n\xff\n")
    seen = []
    with pytest.raises(DataError, match=r"row 3 \(line 4\): byte 0xff at offset 9"):
        for document in read_csv(path, "text"):
            seen.append(document.text)
    assert seen == ["a", "b"]


READERS: dict[str, Callable[..., Corpus]] = {
    ".csv": lambda path, **more: read_csv(path, "text", **more),
    ".jsonl": lambda path, **more: read_jsonl(path, **more),
    ".txt": lambda path, **more: read_text(path, **more),
    "/a.txt": lambda path, **more: read_folder(path.parent, **more),
}
HEADS = {".csv": b'"text"\n"a', ".jsonl": b'{"text": "a', ".txt": b"a", "/a.txt": b"a"}
TAILS = {".csv": b'"\n', ".jsonl": b'"}\n', ".txt": b"", "/a.txt": b""}


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_what_is_no_text(tmp_path: Path, kind: str, mark: bytes) -> None:
    path = tmp_path / f"data{kind}"
    path.parent.mkdir(exist_ok=True)

    def texts(middle: bytes, **more: str) -> list[str]:
        return [d.text for d in READERS[kind](write(path, mark + HEADS[kind] + middle + TAILS[kind]), **more)]

    assert texts(b"b") == ["ab"]
    with pytest.raises(DataError, match=r"line \d.*byte 0xe9 at offset \d+ of the file is not utf-8") as caught:
        texts(b"\xe9b")
    assert str(path) in str(caught.value)
    assert texts(b"\xe9b", errors="replace") == ["a\ufffdb"]
    nul = b"\\u0000" if kind == ".jsonl" else b"\0"
    with pytest.raises(DataError, match="the text holds a NUL character") as caught:
        texts(nul)
    assert str(path) in str(caught.value)
    assert texts(nul, errors="replace") == ["a\ufffd"]
    with pytest.raises(ValueError, match="errors must be 'strict' or 'replace', not 'ignore'"):
        texts(b"", errors="ignore")


def test_halves_of_surrogate_pairs(tmp_path: Path) -> None:
    path = write(tmp_path / "data.jsonl", rb'{"text": "\ud83d\ude00"}' + b"\n" + rb'{"text": "ab\ud800 x"}')
    with pytest.raises(DataError, match=r"row 2 \(line 2\): the text .*surrogate pair, U\+D800, at character 3"):
        list(read_jsonl(path))
    assert [d.text for d in read_jsonl(path, errors="replace")] == ["😀", "ab\ufffd x"]
    path = write(tmp_path / "labels.jsonl", rb'{"text": "a", "label": "\udfff"}')
    with pytest.raises(DataError, match=r"row 1 \(line 1\): the label in column 'label' holds half"):
        list(read_jsonl(path, label="label"))
    assert [d.label for d in read_jsonl(path, label="label", errors="replace")] == ["\ufffd"]


@pytest.mark.parametrize("ending", PACKED)
def test_files_without_documents(tmp_path: Path, ending: str) -> None:
    packed_nothing = PACKED[ending](b"")
    for read in (lambda path: read_csv(path, "text"), read_jsonl, read_text):
        with pytest.raises(DataError, match=r"the file is empty|no documents in it"):
            list(read(write(tmp_path / f"data{ending}", packed_nothing)))
    with pytest.raises(DataError, match="no documents in it"):
        list(read_jsonl(write(tmp_path / f"data{ending}", PACKED[ending](b"\n \n"))))
    with pytest.raises(DataError, match="no documents in it"):
        list(read_csv(write(tmp_path / f"data{ending}", PACKED[ending](b"text\n")), "text"))


def test_documents_of_all_sizes(tmp_path: Path) -> None:
    word, long = "w" * 1_000_000, "seven b " * 2_500_000
    for text in (word, long):
        content = text.encode()
        for kind, read in READERS.items():
            path = tmp_path / f"data{kind}"
            path.parent.mkdir(exist_ok=True)
            write(path, HEADS[kind] + content + TAILS[kind])
            assert [d.text for d in read(path)] == ["a" + text]


def test_longest_line(tmp_path: Path) -> None:
    path = write(tmp_path / "text", b"a\n" + b"b" * 200_000)
    with pytest.raises(DataError, match=r"line 2: the line is longer than 100,000 characters"):
        list(read_lines(path, "utf-8", longest=100_000))
    assert [len(line) for line in read_lines(path, "utf-8", longest=200_000)] == [2, 200_000]


@pytest.mark.parametrize("encoding", ["utf8000", "base64", "rot13"])
def test_what_is_no_encoding(encoding: str) -> None:
    with pytest.raises(ValueError, match="is not known"):
        check_encoding(encoding)


def test_utf_16_without_its_mark(tmp_path: Path) -> None:
    path = write(tmp_path / "data.csv", "text\na\n".encode("utf-16-le"))
    with pytest.raises(DataError, match=r"header: .*NUL character; pass encoding='utf-16'"):
        read_csv(path, "text")
    assert [d.text for d in read_csv(path, "text", encoding="utf-16-le")] == ["a"]
