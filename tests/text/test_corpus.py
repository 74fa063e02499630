from __future__ import annotations

import gzip
import lzma
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from textxfer.text.corpus import (
    DataError,
    Document,
    check_classes,
    from_frame,
    from_texts,
    read_csv,
    read_folder,
    read_jsonl,
    read_text,
)

GOOD = 'text,label\nfine film, pos \n"bad, ""really"" bad\nfilm",neg\n\nlast,pos\n'
EXPECTED = [
    Document("fine film", "pos", 1),
    Document('bad, "really" bad\nfilm', "neg", 2),
    Document("last", "pos", 3),
]


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("ending", ["", ".gz", ".xz"])
def test_csv(tmp_path: Path, ending: str) -> None:
    pack: Callable[[bytes], bytes] = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}[ending]
    path = write(tmp_path / f"data.csv{ending}", pack(GOOD.encode()))
    corpus = read_csv(path, "text", "label")
    assert list(corpus) == EXPECTED
    assert list(corpus) == EXPECTED  # it can be read again


def test_tsv_byte_order_mark_line_ends_and_encodings(tmp_path: Path) -> None:
    path = write(tmp_path / "data.tsv", "\ufefftext\tlabel\r\nüber, alles\tx\r\n".encode())
    assert list(read_csv(path, "text", "label")) == [Document("über, alles", "x", 1)]
    for encoding in ("cp1252", "utf-16", "utf-8-sig"):
        path = write(tmp_path / "other.csv", "text;n\nüber;1\n".encode(encoding))
        assert [d.text for d in read_csv(path, "text", delimiter=";", encoding=encoding)] == ["über"]


def test_quotes_that_are_none(tmp_path: Path) -> None:
    path = write(tmp_path / "data.tsv", 'text\tlabel\n"so he said\tx\n6" long\ty\n')
    assert [d.text for d in read_csv(path, "text", "label", quotes=False)] == ['"so he said', '6" long']
    with pytest.raises(DataError, match=r"row 1 \(line 2\): .*is a quote left open \(quotes=False"):
        list(read_csv(path, "text", "label"))


def test_several_columns_become_fields(tmp_path: Path) -> None:
    path = write(tmp_path / "data.csv", "title,body,label\nT,B,x\n,only body,y\n")
    assert [d.text for d in read_csv(path, ["title", "body"])] == ["xxfld 1 T xxfld 2 B", "xxfld 1  xxfld 2 only body"]


def test_fields_may_be_long(tmp_path: Path) -> None:
    path = write(tmp_path / "data.csv", "text\n" + "a" * 1_000_000 + "\n")
    assert [len(d.text) for d in read_csv(path, "text")] == [1_000_000]


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.csv: no such file"):
        read_csv(tmp_path / "none.csv", "text")
    with pytest.raises(DataError, match="is a folder, a file is needed"):
        read_csv(tmp_path, "text")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        read_folder(tmp_path / "none")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        ("review,label\nx,y\n", "no column 'text'; there are 'review', 'label'; pass text= with the name"),
        ("text,stars\nx,y\n", "no column 'label'; there are 'text', 'stars'; pass label= with the name"),
        ("Text,label\nx,y\n", "no column 'text'; there are 'Text', 'label'; did you mean 'Text'?"),
        ("text,lable\nx,y\n", "no column 'label'; there are 'text', 'lable'; did you mean 'lable'?"),
        ("text;label\nx;y\n", "separated by ';': pass delimiter=';'"),
        ("text,label,text\nx,y,z\n", "2 columns called 'text'"),
    ],
)
def test_headers_are_checked_at_once(tmp_path: Path, content: str, message: str) -> None:
    path = write(tmp_path / "data.csv", content)
    with pytest.raises(DataError, match=message) as caught:
        read_csv(path, "text", "label")
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"text,label\n", "no documents in it"),
        (b"text,label\nx,y\n  ,y\n", r"row 2 \(line 3\): the text is empty; .* on_empty='skip'"),
        (b"text,label\nx,y\nx, \n", r"row 2 \(line 3\): the label in column 'label' is missing"),
        (b"text,label\nx,y\nx,y,z\n", r"row 2 \(line 3\): 3 fields where the header has 2"),
        (b'text,label\n"x\ny",a\nx\n', r"row 2 \(line 4\): 1 fields where the header has 2"),
        (b"text,label\nx,y\nx\0,y\n", r"row 2 \(line 3\): the text holds a NUL character"),
        (b'text,label\nx,y\n"x,y\n', r"row 2 \(line 3\): .*is a quote left open"),
        (b'text,label\n"x" y,z\n', r"row 1 \(line 2\): .*is a quote left open"),
        (
            b"text,label\nx,y\ngr\xfcn,y\n",
            r"row 2 \(line 3\): byte 0xfc at offset 17 of the file is not utf-8; .*encoding=",
        ),
    ],
)
def test_rows_are_checked_while_reading(tmp_path: Path, content: bytes, message: str) -> None:
    path = write(tmp_path / "data.csv", content)
    corpus = read_csv(path, "text", "label")
    with pytest.raises(DataError, match=message) as caught:
        list(corpus)
    assert str(caught.value).startswith(str(path))


def test_header_that_is_not_in_the_encoding(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"header \(line 1\): byte 0xe4 at offset 1"):
        read_csv(write(tmp_path / "data.csv", b"t\xe4xt\nx\n"), "text")
    odd = write(tmp_path / "odd.csv", "text\nx\n".encode("utf-16") + b"\x00\xd8")
    with pytest.raises(DataError, match=r"row 2 \(line 3\): byte 0x00 at offset 16 of the file is not utf-16"):
        list(read_csv(odd, "text", encoding="utf-16"))


def test_empty_texts_can_be_skipped(tmp_path: Path) -> None:
    path = write(tmp_path / "data.csv", "text,label\na,x\n ,x\nb,y\n")
    assert [d.row for d in read_csv(path, "text", "label", on_empty="skip")] == [1, 3]


@pytest.mark.parametrize(("ending", "pack"), [(".gz", gzip.compress), (".xz", lzma.compress)])
def test_damaged_packed_files(tmp_path: Path, ending: str, pack: Callable[[bytes], bytes]) -> None:
    packed = pack(("text\n" + "".join(f"row {i * 7919}\n" for i in range(5000))).encode())
    cut = write(tmp_path / f"cut.csv{ending}", packed[: len(packed) // 2])
    with pytest.raises(DataError, match="damaged or cut short"):
        list(read_csv(cut, "text"))
    other = write(tmp_path / f"other.csv{ending}", b"text\nnot packed at all\n")
    with pytest.raises(DataError, match="damaged or cut short"):
        read_csv(other, "text")
    flipped = write(tmp_path / f"bad.csv{ending}", packed[:2000] + b"\0\xff\0\xff" + packed[2004:])
    with pytest.raises(DataError):
        list(read_csv(flipped, "text"))


def test_wrong_arguments(tmp_path: Path) -> None:
    path = write(tmp_path / "data.csv", GOOD)
    with pytest.raises(ValueError, match="on_empty must be 'error' or 'skip', not 'drop'"):
        read_csv(path, "text", on_empty="drop")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="encoding='utf8000' is not known"):
        read_csv(path, "text", encoding="utf8000")
    with pytest.raises(ValueError, match="at least one column"):
        read_csv(path, [])
    with pytest.raises(ValueError, match="breaks must be"):
        read_text(path, "page")  # type: ignore[arg-type]


def test_jsonl(tmp_path: Path) -> None:
    path = write(tmp_path / "data.jsonl", '{"text": "é\\n", "y": "1"}\n\n{"text": "b", "y": "two "}\n')
    assert list(read_jsonl(path, label="y")) == [Document("é\n", "1", 1), Document("b", "two", 2)]
    assert [d.text for d in read_jsonl(path, ["text", "y"])] == ["xxfld 1 é\n xxfld 2 1", "xxfld 1 b xxfld 2 two "]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": ', r"row 2 \(line 2\): not JSON"),
        ("[1]", r"row 2 \(line 2\): a JSON list where an object is needed"),
        ('{"txt": "a"}', r"row 2 \(line 2\): no key 'text'; there are 'txt'"),
        ('{"text": "", "y": 1}', r"row 2 \(line 2\): the text is empty"),
        ('{"text": null, "y": 1}', r"row 2 \(line 2\): the text is empty"),
        ('{"text": "a", "y": null}', r"row 2 \(line 2\): the label in column 'y' is missing"),
        ('{"text": ["a"], "y": 1}', r"row 2 \(line 2\): 'text' holds a list, not a text"),
    ],
)
def test_bad_jsonl(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path / "data.jsonl", '{"text": "a", "y": 1}\n' + line + "\n")
    with pytest.raises(DataError, match=message):
        list(read_jsonl(path, label="y"))


def test_folders(tmp_path: Path) -> None:
    for name in ("pos/2.txt", "pos/1.txt", "neg/3.txt", "neg/skip.csv", "beside.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / name, f"text of {name}")
    assert [(d.text[8:], d.label, d.row) for d in read_folder(tmp_path)] == [
        ("neg/3.txt", "neg", 1),
        ("pos/1.txt", "pos", 2),
        ("pos/2.txt", "pos", 3),
    ]
    assert [(d.text, d.label) for d in read_folder(tmp_path / "pos", "1*")] == [("text of pos/1.txt", None)]
    with pytest.raises(DataError, match=r"hold a file \*\.md; pass pattern="):
        read_folder(tmp_path, "*.md")
    write(tmp_path / "pos" / "4.txt", "")
    with pytest.raises(DataError, match=r"4\.txt: the text is empty"):
        list(read_folder(tmp_path))
    assert len(list(read_folder(tmp_path, on_empty="skip"))) == 3


def test_hidden_folders_and_files_are_no_classes_and_documents(tmp_path: Path) -> None:
    for name in ("1.txt", ".2.txt", ".ipynb_checkpoints/1-checkpoint.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / name, f"text of {name}")
    assert [(d.text, d.label) for d in read_folder(tmp_path)] == [("text of 1.txt", None)]
    hidden = tmp_path / ".ipynb_checkpoints"  # asked for by name it is read
    assert [d.text for d in read_folder(hidden)] == ["text of .ipynb_checkpoints/1-checkpoint.txt"]


def test_links_that_lead_nowhere_are_an_error(tmp_path: Path) -> None:
    write(tmp_path / "1.txt", "one")
    (tmp_path / "2.txt").symlink_to(tmp_path / "1.txt")
    assert len(list(read_folder(tmp_path))) == 2
    (tmp_path / "3.txt").symlink_to(tmp_path / "absent.txt")
    with pytest.raises(DataError, match=r"3\.txt: the link leads to .*absent\.txt, which is not there"):
        read_folder(tmp_path)


def test_running_text(tmp_path: Path) -> None:
    wiki = write(tmp_path / "wiki.txt", "\n = One = \n\nfirst\n = = Part = = \n\nx = 1\n\n = Two = \n\nsecond\n")
    texts = [" ".join(d.text.split()) for d in read_text(wiki, "wiki")]
    assert texts == ["= One = first = = Part = = x = 1", "= Two = second"]
    plain = write(tmp_path / "plain.txt.gz", gzip.compress(b"a\nb\n\n \nc\n"))
    assert [d.text for d in read_text(plain, "blank")] == ["a\nb\n", "c\n"]
    assert [d.text for d in read_text(plain, "line")] == ["a\n", "b\n", "c\n"]
    assert [(d.row, d.text) for d in read_text([plain, plain])] == [
        (1, "a\nb\n"),
        (2, "c\n"),
        (3, "a\nb\n"),
        (4, "c\n"),
    ]


def test_frames() -> None:
    frame = pd.DataFrame({"a": ["x", "y"], "b": ["1", None], "label": ["p", "q"]})
    assert list(from_frame(frame, "a", "label")) == [Document("x", "p", 1), Document("y", "q", 2)]
    assert [d.text for d in from_frame(frame, ["a", "b"])] == ["xxfld 1 x xxfld 2 1", "xxfld 1 y xxfld 2 "]
    with pytest.raises(DataError, match="data frame, row 2: the text is empty"):
        list(from_frame(frame, "b"))
    assert [d.row for d in from_frame(frame, "b", on_empty="skip")] == [1]
    with pytest.raises(DataError, match="row 2: the label in column 'b' is missing"):
        list(from_frame(frame, "a", "b"))
    with pytest.raises(DataError, match="the frame has no column 'c'; it has 'a', 'b', 'label'"):
        from_frame(frame, "c")


def test_lists() -> None:
    assert from_texts(["a", "b"], ["x", "y"]) == [Document("a", "x", 1), Document("b", "y", 2)]
    assert [d.row for d in from_texts(["a", " ", "b"], on_empty="skip")] == [1, 3]
    with pytest.raises(DataError, match="text 2: the text is empty"):
        from_texts(["a", ""])
    with pytest.raises(ValueError, match="1 labels for 2 texts"):
        from_texts(["a", "b"], ["x"])
    with pytest.raises(TypeError, match="text 2 is of type float, and should be a string"):
        from_texts(["a", float("nan")])  # type: ignore[list-item]


def test_classes_are_checked() -> None:
    assert check_classes(from_texts(["a", "b", "c"], ["x", "y", "x"])) == ["x", "y"]
    with pytest.raises(DataError, match="only the class 'x' in the data"):
        check_classes(from_texts(["a", "b"], ["x", "x"]))
    with pytest.raises(DataError, match="row 1: no label"):
        check_classes(from_texts(["a"]))
    with pytest.raises(DataError, match="no documents in the data"):
        check_classes([])


@pytest.mark.data
def test_trec(data_dir: Path) -> None:
    labels = Counter(d.label for d in read_csv(data_dir / "trec" / "train.csv.gz", "text", "label"))
    assert labels == {"ABBR": 86, "DESC": 1162, "ENTY": 1250, "HUM": 1223, "LOC": 835, "NUM": 896}
    assert sum(labels.values()) == 5452


@pytest.mark.data
def test_wikipedia(data_dir: Path) -> None:
    articles = list(read_text(data_dir / "wikipedia-en" / "valid.txt.xz", "wiki"))
    assert len(articles) == 100
    assert sum(len(article.text.split()) for article in articles) == pytest.approx(232_146, rel=0.01)
