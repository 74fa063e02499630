"""Named data sets: local copies, the authors' own files, downloads from a server on this machine."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import lzma
import re
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from tests.datasets.server import Site
from textxfer.datasets import NAMED, cache_folder, describe, downloads, load, named
from textxfer.datasets.entries import Remote
from textxfer.text.corpus import DataError

REVIEWS = {
    "aclImdb/README": "about",
    "aclImdb/train/neg/0_3.txt": "Bad.<br />Worse.",
    "aclImdb/train/neg/10_1.txt": "Dull.",
    "aclImdb/train/pos/0_9.txt": "Good, déjà vu.",
    "aclImdb/train/unsup/0_0.txt": "Seen it.",
    "aclImdb/train/urls_pos.txt": "http://example.org",
    "aclImdb/test/neg/0_2.txt": "Awful.",
    "aclImdb/test/pos/0_10.txt": "Great.",
}
ARTICLES = " \n = First = \n \n One @-@ two . \n \n = = Part = = \n \n Three . \n \n = Second = \n \n Four <unk> . \n"
QUESTIONS = b"DESC:manner How does it work ?\nHUM:ind Who twinned the sister\xf0city ?\n"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no local copies, and no waiting between attempts."""
    monkeypatch.setenv("TEXTXFER_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TEXTXFER_DATA", raising=False)
    monkeypatch.setattr(named, "download", partial(downloads.download, sleep=lambda seconds: None))
    return tmp_path / "cache" / "datasets"


@pytest.fixture
def publish(site: Site, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, dict[str, bytes]], Site]:
    """Put files of a data set on the server, and have its entry say that they are there."""
    entries = dict(NAMED)
    monkeypatch.setattr(named, "NAMED", entries)

    def put(name: str, contents: dict[str, bytes]) -> Site:
        original = entries[name].original
        assert original is not None
        files = tuple(_moved(file, contents[file.name], site) for file in original.files if file.name in contents)
        entries[name] = replace(entries[name], original=replace(original, files=files))
        return site

    return put


def _moved(file: Remote, content: bytes, site: Site) -> Remote:
    site.files[f"/{file.name}"] = content
    url = f"{site.url}/{file.name}"
    return replace(file, urls=(url,), size=len(content), sha256=hashlib.sha256(content).hexdigest())


def tar(files: dict[str, str]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            content = text.encode()
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def zipped(files: dict[str, str]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return packed.getvalue()


def table(rows: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    return text.getvalue()


def write_csv(path: Path, header: list[str], rows: list[list[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def content(name: str, split: str, root: Path | None = None) -> list[tuple[str, object]]:
    return [(document.text, document.label) for document in load(name, split, root, progress=False)]


def test_imdb_is_downloaded_unpacked_and_read(publish: Callable[..., Site], cache: Path) -> None:
    site = publish("imdb", {"aclImdb_v1.tar.gz": tar(REVIEWS)})
    train = load("imdb", "train", progress=False)
    assert [(d.text, d.label, d.row) for d in train] == [
        ("Bad.<br />Worse.", "neg", 1),
        ("Dull.", "neg", 2),
        ("Good, déjà vu.", "pos", 3),
    ]
    assert list(train) == list(train)
    assert content("imdb", "test") == [("Awful.", "neg"), ("Great.", "pos")]
    assert content("imdb", "unsup") == [("Seen it.", None)]
    assert len(site.asked) == 1
    assert [path.name for path in (cache / "imdb").iterdir()] == ["unpacked"]


def test_trec_fetches_the_file_of_the_split_only(publish: Callable[..., Site]) -> None:
    site = publish("trec", {"train_5500.label": QUESTIONS, "TREC_10.label": b"NUM:date When ?\n"})
    assert content("trec", "train") == [("How does it work ?", "DESC"), ("Who twinned the sister city ?", "HUM")]
    assert [asked["path"] for asked in site.asked] == ["/train_5500.label"]
    assert content("trec", "test") == [("When ?", "NUM")]
    assert content("trec", "train")[0][1] == "DESC"
    assert len(site.asked) == 2


def test_a_question_without_a_class(publish: Callable[..., Site]) -> None:
    publish("trec", {"TREC_10.label": b"NUM:date When ?\nWho is it ?\n"})
    with pytest.raises(DataError, match=r"TREC_10\.label, line 2: begins with 'Who'"):
        content("trec", "test")


def test_news_have_a_title_and_class_numbers(publish: Callable[..., Site]) -> None:
    rows = [["3", "Up", 'He said "no"\\'], ["4", "Chips", "Fast, faster"], ["1", "Town", "A\nline"], ["2", " ", ""]]
    publish("ag_news", {"ag_news_csv.tgz": tar({"ag_news_csv/train.csv": table(rows), "ag_news_csv/readme.txt": "-"})})
    documents = list(load("ag_news", "train", progress=False))
    assert [d.label for d in documents] == ["Business", "Sci-Tech", "World"]  # the last row has no text
    assert [d.row for d in documents] == [1, 2, 3]
    assert documents[0].text == 'xxfld 1 Up xxfld 2 He said "no"\\'
    with pytest.raises(DataError, match=r"ag_news, test: no ag_news_csv/test\.csv in .*unpacked; delete that folder"):
        load("ag_news", "test", progress=False)


@pytest.mark.parametrize(
    ("name", "archive", "labels"),
    [
        ("dbpedia", "dbpedia_csv", {"1": "Company", "9": "Village", "14": "WrittenWork"}),
        ("yelp_polarity", "yelp_review_polarity_csv", {"1": "negative", "2": "positive"}),
        ("yelp_full", "yelp_review_full_csv", {"1": "1", "5": "5"}),
    ],
)
def test_the_other_sets_of_zhang(publish: Callable[..., Site], name: str, archive: str, labels: dict[str, str]) -> None:
    rows = [[number, *["a title"] * (name == "dbpedia"), f"text {number}"] for number in labels]
    publish(name, {f"{archive}.tgz": tar({f"{archive}/test.csv": table(rows)})})
    assert [label for _, label in content(name, "test")] == list(labels.values())
    assert set(labels.values()) <= set(NAMED[name].classes)


def test_yelp_writes_line_breaks_and_quotes_its_own_way(publish: Callable[..., Site]) -> None:
    rows = [["2", 'Nice.\\n\\nThey said \\"hi\\".']]
    archive = tar({"yelp_review_polarity_csv/test.csv": table(rows)})
    publish("yelp_polarity", {"yelp_review_polarity_csv.tgz": archive})
    assert content("yelp_polarity", "test") == [('Nice.\n\nThey said "hi".', "positive")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('"5","title","text"\n', r"row 1 \(line 1\): the class is '5', not a number from 1 to 4"),
        ('"1","title","text"\n"0","title","text"\n', r"row 2 \(line 2\): the class is '0'"),
        ('"1","title","text"\n"²","title","text"\n', r"row 2 \(line 2\): the class is '²'"),
        ('"1","title","text"\n"1","text"\n', r"row 2 \(line 2\): 2 fields, 3 are needed"),
        ('"1"\n', r"row 1 \(line 1\): 1 fields, 2 are needed"),
        ('"1","title","text"\n"1","title","te"x"t"\n', r"row 2: .*damaged"),
    ],
)
def test_tables_that_are_not_the_expected_ones(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "root" / "ag_news" / "ag_news_csv" / "train.csv"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=rf"train\.csv, {message}"):
        content("ag_news", "train", tmp_path / "root")


@pytest.mark.parametrize("name", ["wikitext-2", "wikitext-103"])
def test_wikitext_is_cut_into_articles(publish: Callable[..., Site], name: str) -> None:
    publish(name, {f"{name}-v1.zip": zipped({f"{name}/wiki.train.tokens": ARTICLES})})
    first, second = load(name, "train", progress=False)
    assert first.label is None
    assert "= First =" in first.text
    assert "Three ." in first.text
    assert second.text.split() == ["=", "Second", "=", "Four", "<unk>", "."]


def test_the_next_address_is_tried(publish: Callable[..., Site], site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    publish("trec", {"TREC_10.label": b"NUM:date When ?\n"})
    data = named.NAMED["trec"]
    assert data.original is not None
    (file,) = data.original.files
    urls = (f"{site.url}/gone", f"{site.url}/gone/too")
    there = {"trec": replace(data, original=replace(data.original, files=(replace(file, urls=urls + file.urls),)))}
    monkeypatch.setattr(named, "NAMED", there)
    assert len(content("trec", "test")) == 1
    (cache_folder() / "datasets" / "trec" / "TREC_10.label").unlink()
    site.files.clear()
    with pytest.raises(DataError, match=r"/gone: HTTP status 404.*put it at .*; .*/gone/too: .*; .*/TREC_10\.label: "):
        content("trec", "test")


def test_what_came_by_hand_is_used(publish: Callable[..., Site], site: Site, tmp_path: Path, cache: Path) -> None:
    archive = tar({**REVIEWS})
    publish("imdb", {"aclImdb_v1.tar.gz": archive})
    by_hand = tmp_path / "root" / "imdb" / "aclImdb_v1.tar.gz"
    by_hand.parent.mkdir(parents=True)
    by_hand.write_bytes(archive[:-1])
    with pytest.raises(DataError, match=r"aclImdb_v1\.tar\.gz: .* bytes where .* are expected"):
        load("imdb", "test", tmp_path / "root", download=False)
    by_hand.write_bytes(archive)
    assert len(list(load("imdb", "test", tmp_path / "root", download=False))) == 2
    assert by_hand.is_file()
    (cache / "imdb" / "unpacked").rename(tmp_path / "root" / "imdb" / "unpacked")
    assert len(list(load("imdb", "train", tmp_path / "root", download=False))) == 3
    assert not (cache / "imdb" / "unpacked").exists()
    (cache / "imdb" / "aclImdb_v1.tar.gz").write_bytes(archive)
    assert len(list(load("imdb", "unsup", download=False))) == 1
    assert site.asked == []


def test_a_bad_archive_leaves_nothing_behind(publish: Callable[..., Site], cache: Path) -> None:
    publish("imdb", {"aclImdb_v1.tar.gz": tar({**REVIEWS, "../evil": "bad"})})
    with pytest.raises(DataError, match=r"member '\.\./evil' leads out"):
        load("imdb", "train", progress=False)
    assert [path.name for path in (cache / "imdb").iterdir()] == ["aclImdb_v1.tar.gz"]


def test_local_copies_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_csv(tmp_path / "trec" / "test.csv.gz", ["text", "label"], [["What, now ?", "DESC"], ["Who ?", "HUM"]])
    write_csv(tmp_path / "imdb" / "unsup.csv.gz", ["text", "label"], [["Fine.", "unsup"]])
    write_csv(tmp_path / "ag_news" / "test.csv.gz", ["title", "description", "label"], [["Up", "Down", "World"]])
    assert content("trec", "test", tmp_path) == [("What, now ?", "DESC"), ("Who ?", "HUM")]
    monkeypatch.setenv("TEXTXFER_DATA", str(tmp_path))
    assert content("imdb", "unsup") == [("Fine.", None)]
    assert content("ag_news", "test") == [("xxfld 1 Up xxfld 2 Down", "World")]
    write_csv(tmp_path / "cache" / "datasets" / "trec" / "test.csv.gz", ["text", "label"], [["Cached ?", "NUM"]])
    assert len(content("trec", "test")) == 2
    assert content("trec", "test", tmp_path / "elsewhere") == [("Cached ?", "NUM")]


def test_load_joins_the_pieces_of_a_split(tmp_path: Path) -> None:
    (tmp_path / "wikipedia-en").mkdir()
    for piece in range(4):
        with lzma.open(tmp_path / "wikipedia-en" / f"train-0{piece}.txt.xz", "wt", encoding="utf-8") as file:
            file.write(f"\n = Title {piece} = \n\nFirst line.\nSecond line.\n\n = Again {piece} = \n\nThird line.\n")
    articles = list(load("wikipedia-en", "train", tmp_path))
    assert [article.row for article in articles] == list(range(1, 9))
    assert "Title 0" in articles[0].text
    assert "Again 3" in articles[-1].text
    assert len(list(load("wikipedia-en", "train-02", tmp_path))) == 2


def test_load_says_where_it_looked(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(DataError) as caught:
        load("wikipedia-en", "train", tmp_path)
    assert f"in {tmp_path / 'wikipedia-en'} and in {cache / 'wikipedia-en'}; it cannot be downloaded" in str(
        caught.value
    )
    assert "looked for train-00.txt.xz, train-01.txt.xz" in str(caught.value)
    with pytest.raises(
        DataError, match=r"looked for train\.csv\.gz in \S+trec; download it with download=True, or say"
    ):
        load("trec", "train", download=False)
    with pytest.raises(ValueError, match=r"'sst'; there are trec, imdb"):
        load("sst", "train", tmp_path)
    with pytest.raises(ValueError, match=r"trec has no split 'valid'; it has train, test"):
        load("trec", "valid", tmp_path)


def test_without_a_network_the_message_says_what_to_do(publish: Callable[..., Site], cache: Path) -> None:
    publish("trec", {"TREC_10.label": b"NUM:date When ?\n"}).url = ""
    data = named.NAMED["trec"]
    assert data.original is not None
    file = replace(data.original.files[0], urls=("http://127.0.0.1:1/TREC_10.label",))
    named.NAMED["trec"] = replace(data, original=replace(data.original, files=(file,)))  # type: ignore[index]
    target = re.escape(str(cache / "trec" / "TREC_10.label"))
    with pytest.raises(DataError, match=rf"127\.0\.0\.1:1/TREC_10\.label: no connection .* put it at {target}"):
        load("trec", "test", progress=False)


def test_a_cache_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("TEXTXFER_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"file/datasets/trec: cannot be made .*TEXTXFER_CACHE"):
        load("trec", "train")


def test_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("TEXTXFER_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "textxfer"
    for useless in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", useless)
        assert cache_folder() == tmp_path / "home" / ".cache" / "textxfer"
    monkeypatch.setattr(named.sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache_folder() == tmp_path / "local" / "textxfer"


@pytest.mark.parametrize("name", NAMED)
def test_entries_are_complete(name: str) -> None:
    data = NAMED[name]
    assert data.terms.endswith(".")
    assert data.citation
    assert set(data.documents) <= set(data.splits)
    assert len(data.classes) == len(set(data.classes))
    assert bool(data.classes) == (data.label is not None)
    if data.original is None:
        assert name in {"dbpedia_sample", "wikipedia-en"}
        return
    assert set(data.original.paths) == set(data.splits)
    for file in data.original.files:
        assert file.urls
        assert all(re.fullmatch(rf"https?://[^ ]+/{re.escape(file.name)}", url) for url in file.urls)
        assert file.sha256 is not None and re.fullmatch("[0-9a-f]{64}", file.sha256)
        assert file.size is None or file.size > 0
        assert set(file.splits) <= set(data.splits)


def test_describe() -> None:
    card = describe("imdb")
    assert "train: 25,000 documents" in card
    assert "classes: 2 (neg, pos)" in card
    assert "https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz" in card
    assert "84,125,825 bytes" in card
    assert "Maas et al. (2011)" in card
    for name in ("yelp_full", "yelp_polarity"):
        assert "forbid to pass the reviews on" in describe(name)
    assert "no classes" in describe("wikitext-103")
    assert "download: none" in describe("wikipedia-en")
    with pytest.raises(ValueError, match="'sst'"):
        describe("sst")


@pytest.mark.data
@pytest.mark.parametrize("name", NAMED)
def test_real_data(name: str, data_dir: Path) -> None:
    if not (data_dir / name).is_dir():
        pytest.skip(f"no local copy of {name} in {data_dir}")
    documents = list(load(name, "test", data_dir, download=False))
    assert len(documents) == NAMED[name].documents["test"]
    assert {d.label for d in documents} == (set(NAMED[name].classes) or {None})
