from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.text.samples import documents, odd_text, toy_store
from textxfer.text import encode, store_build
from textxfer.text.corpus import Corpus, DataError, Document, from_texts, read_csv
from textxfer.text.gather import gather
from textxfer.text.specials import SPECIALS
from textxfer.text.store import TokenStore
from textxfer.text.tokenizer import RulesTokenizer, SpacyTokenizer
from textxfer.text.vocab import Vocab

DOCS = documents(60)


def build(path: Path | None, docs: object = DOCS, **arguments: object) -> TokenStore:
    return TokenStore.build(path, docs, arguments.pop("tokenizer", RulesTokenizer()), **arguments)  # type: ignore[arg-type]


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


class NoTokenizer(RulesTokenizer):
    """Looks like `RulesTokenizer` but must not be called."""

    def chunks(self, text: str) -> list[str]:
        raise AssertionError("tokenized again")


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_store_holds_what_the_tokenizer_returned(tmp_path: Path, in_memory: bool) -> None:
    store = build(None if in_memory else tmp_path / "store")
    tokenizer = RulesTokenizer()
    expected = [tokenizer(document.text) for document in DOCS]
    counts = Counter(token for tokens in expected for token in tokens)
    assert store.vocab == Vocab.from_counts(counts, SPECIALS)
    assert store.vocab.counts == Vocab.from_counts(counts, SPECIALS).counts
    assert len(store) == len(DOCS)
    for i, tokens in enumerate(expected):
        assert store[i].tolist() == store.vocab.ids(tokens).tolist()
        assert store.ids[store.offsets[i] : store.offsets[i + 1]].tolist() == store[i].tolist()
        assert store[i][0] == store.vocab.bos_id
    assert [store.classes[label] for label in store.labels] == [document.label for document in DOCS]
    assert store.rows.tolist() == [document.row for document in DOCS]
    assert store.tokenizer == tokenizer
    assert store.n_tokens == sum(map(len, expected)) == len(store.ids)


def test_ids_take_two_bytes_where_they_can(tmp_path: Path) -> None:
    small = build(tmp_path / "small")
    assert small.ids.dtype == np.uint16
    tokens = [*SPECIALS, *(f"t{i}" for i in range((1 << 16) - len(SPECIALS)))]
    assert build(None, ["t3 t4"], vocab=Vocab(tokens)).ids.dtype == np.uint16
    large = build(tmp_path / "large", ["t3 last"], vocab=Vocab([*tokens, "last"]))
    assert large.ids.dtype == np.uint32
    assert TokenStore.open(tmp_path / "large").ids.tolist() == [2, 11, 1 << 16]


def test_opening_gives_the_same_store(tmp_path: Path) -> None:
    built = build(tmp_path / "deep" / "store")
    opened = TokenStore.open(tmp_path / "deep" / "store", built.vocab)
    for name in ("ids", "offsets", "labels", "rows"):
        assert np.array_equal(getattr(opened, name), getattr(built, name))
    assert (opened.classes, opened.vocab, opened.tokenizer) == (built.classes, built.vocab, built.tokenizer)
    assert opened.card() == built.card()
    assert "documents" in str(opened.card())
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["store"]  # nothing temporary is left


def test_the_number_of_workers_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "PIECE_CHARACTERS", 3000)
    docs = [Document(odd_text(seed), f"c{seed % 3}", seed) for seed in range(80)]
    build(tmp_path / "one", docs)
    for n_workers in (2, 8):
        build(tmp_path / f"{n_workers}", docs, n_workers=n_workers)
        assert files(tmp_path / "one") == files(tmp_path / f"{n_workers}")


def test_the_size_of_pieces_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path / "one")
    for size in (1, 500):
        monkeypatch.setattr(encode, "PIECE_CHARACTERS", size)
        build(tmp_path / f"size {size}")
        assert files(tmp_path / "one") == files(tmp_path / f"size {size}")


def test_one_shot_iterators_are_read_once(tmp_path: Path) -> None:
    build(tmp_path / "one")
    build(tmp_path / "two", iter(DOCS))
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert len(build(tmp_path / "two", iter(DOCS))) == len(DOCS)
    with pytest.raises(DataError, match="a store with other documents"):
        build(tmp_path / "two", iter(DOCS[1:]))


def test_an_equal_store_is_used_again(tmp_path: Path) -> None:
    first = build(tmp_path / "store")
    stamp = (tmp_path / "store" / "ids.bin").stat().st_mtime_ns
    again = build(tmp_path / "store", tokenizer=NoTokenizer())
    assert np.array_equal(first.ids, again.ids)
    assert (tmp_path / "store" / "ids.bin").stat().st_mtime_ns == stamp


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"docs": DOCS[:-1]}, "other documents"),
        ({"docs": [*DOCS[:-1], Document(DOCS[-1].text, "class 9", 60)]}, "other documents"),
        ({"tokenizer": RulesTokenizer("2018")}, "other tokenizer or rules"),
        ({"min_count": 1}, "other min_count"),
        ({"max_vocab": 50, "min_count": 1}, "other max_vocab and min_count"),
        ({"vocab": Vocab(SPECIALS)}, "other vocabulary and max_vocab and min_count"),
    ],
)
def test_another_store_is_refused_or_replaced(tmp_path: Path, change: dict[str, object], message: str) -> None:
    build(tmp_path / "store")
    before = files(tmp_path / "store")
    with pytest.raises(DataError, match=f"holds a store with {message}; pass overwrite=True"):
        build(tmp_path / "store", **change)
    assert files(tmp_path / "store") == before
    replaced = build(tmp_path / "store", **change, overwrite=True)
    fresh = build(None, **change)
    assert np.array_equal(replaced.ids, fresh.ids)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_store_that_was_finished_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    def meanwhile(docs: list[Document]) -> Iterator[Document]:
        yield from DOCS
        build(tmp_path / "store", docs)

    with pytest.raises(DataError, match="holds a store with other documents; pass overwrite=True"):
        build(tmp_path / "store", meanwhile(DOCS[:9]))
    assert len(TokenStore.open(tmp_path / "store")) == 9
    shutil.rmtree(tmp_path / "store")
    assert len(build(tmp_path / "store", meanwhile(DOCS))) == len(DOCS)  # an equal one is no obstacle
    shutil.rmtree(tmp_path / "store")
    assert len(build(tmp_path / "store", meanwhile(DOCS[:9]), overwrite=True)) == len(DOCS)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


@pytest.mark.parametrize("label", [float("nan"), float("-inf")])
def test_a_number_that_is_not_finite_is_no_label(tmp_path: Path, label: float) -> None:
    build(tmp_path / "store", [Document("good", 1.0, 1)])
    with pytest.raises(DataError, match=r"row 7: the label .* is no finite number; correct it or remove the row"):
        build(tmp_path / "store", [Document("good", 1.0, 1), Document("bad", label, 7)], overwrite=True)
    assert TokenStore.open(tmp_path / "store").values.tolist() == [1.0]


def test_labels_like_those_of_another_store_are_of_its_kind() -> None:
    labels = {"single": "a", "multi": ("a",), "number": 1.5}
    stores = {kind: build(None, [Document("x", label, 1)]) for kind, label in labels.items()}
    for kind, store in stores.items():
        for other, label in labels.items():
            if kind == other:
                assert build(None, [Document("x", label, 1)], tokenizer=None, like=store).label_kind == kind
                continue
            with pytest.raises(DataError, match=f"row 3: .* is of kind '{other}', those of the store .* '{kind}'"):
                build(None, [Document("x", label, 3)], tokenizer=None, like=store)
        assert build(None, ["no label"], tokenizer=None, like=store).labels.tolist() == [-1]
    assert build(None, [Document("x", 2.0, 1)], tokenizer=None, like=build(None, ["x"])).label_kind == "number"


def test_other_folders_are_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("precious")
    with pytest.raises(DataError, match="exists and is no token store"):
        build(tmp_path / "thesis", overwrite=True)
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "precious"
    (tmp_path / "empty").mkdir()
    assert len(build(tmp_path / "empty")) == len(DOCS)


def test_a_failed_build_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Iterator[Document]:
        yield DOCS[0]
        raise RuntimeError("source broke")

    with pytest.raises(RuntimeError, match="source broke"):
        build(tmp_path / "store", Corpus("broken", broken))
    assert list(tmp_path.iterdir()) == []
    build(tmp_path / "store")
    before = files(tmp_path / "store")

    def fail(*_arguments: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(store_build, "write_rest", fail)
    with pytest.raises(OSError, match="disk full"):
        build(tmp_path / "store", DOCS[1:], overwrite=True)
    assert files(tmp_path / "store") == before
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_like_another_store(tmp_path: Path) -> None:
    train = build(tmp_path / "train", DOCS[:40], max_vocab=60)
    valid = TokenStore.build(None, DOCS[40:], like=train)
    assert valid.vocab == train.vocab
    assert valid.classes == train.classes
    assert valid.tokenizer == train.tokenizer
    assert valid[0].tolist() == train.vocab.ids(train.tokenizer(DOCS[40].text)).tolist()
    with pytest.raises(
        DataError, match="row 7: unknown label 'class 9'; the classes are 'class 0', 'class 1', 'class 2'"
    ):
        TokenStore.build(None, [Document("a", "class 9", 7)], like=train)
    unlabelled = build(None, ["a", "b"])
    assert unlabelled.labels.tolist() == [-1, -1]
    assert TokenStore.build(None, DOCS, like=unlabelled).classes == train.classes
    with pytest.raises(ValueError, match="differ"):
        TokenStore.build(None, DOCS, SpacyTokenizer(), like=train)
    with pytest.raises(ValueError, match="differ"):
        TokenStore.build(None, DOCS, like=train, vocab=Vocab(SPECIALS))


def test_extending_a_vocabulary(tmp_path: Path) -> None:
    base = Vocab([*SPECIALS, "ba", "pretrained", "words"])
    plain, store = build(None), build(tmp_path / "store", extend=base)
    assert store.vocab.tokens == (*plain.vocab.tokens, *(t for t in base.tokens if t not in plain.vocab))
    assert set(base.tokens) <= set(store.vocab.tokens)
    assert np.array_equal(store.ids, plain.ids)  # what the documents lack cannot change them
    with pytest.raises(DataError, match="other vocabulary to extend by"):
        build(tmp_path / "store")


@pytest.mark.parametrize("label", ["a\0", "\ud800", ("a", "b\0")])
def test_labels_that_no_file_could_hold(label):
    documents = [Document("one", "a" if isinstance(label, str) else ("a",), 1), Document("two", label, 2)]
    with pytest.raises(DataError, match=r"row 2: the label .* holds"):
        TokenStore.build(None, documents, RulesTokenizer(), min_count=1)
    with pytest.raises(DataError, match=r"the class 'a.x00' holds a NUL"):
        TokenStore.build(None, documents, RulesTokenizer(), min_count=1, classes=["a\0"])


def test_given_classes() -> None:
    store = build(None, [Document("a", "y", 1), Document("b", "x", 2)], classes=["x", "y", "z"])
    assert store.classes == ["x", "y", "z"]
    assert store.labels.tolist() == [1, 0]
    with pytest.raises(DataError, match="row 3: unknown label 'w'; the classes are 'x', 'y', 'z'"):
        build(None, [Document("a", "w", 3)], classes=["x", "y", "z"])


def test_arguments_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a tokenizer is needed"):
        TokenStore.build(None, DOCS)
    with pytest.raises(ValueError, match="n_workers=0 must be at least 1"):
        build(None, n_workers=0)
    with pytest.raises(ValueError, match=r"lacks special tokens of .*: xxbos, xxfld"):
        build(None, vocab=Vocab(["xxunk", "xxpad"]))
    with pytest.raises(DataError, match="no documents to build a store from"):
        build(tmp_path / "store", [])
    with pytest.raises(TypeError, match="not one string"):
        build(None, "text")
    with pytest.raises(TypeError, match="document 1 is a int"):
        build(None, [1])


@pytest.mark.parametrize("name", ["ids.bin", "offsets.npy", "labels.npy", "rows.npy", "vocab.json", "tokenizer.json"])
@pytest.mark.parametrize("damage", ["missing", "cut", "flipped"])
def test_damaged_stores(tmp_path: Path, name: str, damage: str) -> None:
    build(tmp_path / "store")
    path = tmp_path / "store" / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 0x55]) + content[middle + 1 :])
    if (name, damage) == ("rows.npy", "flipped"):
        return  # rows are for reports only and have no checksum
    with pytest.raises(
        (DataError, FileNotFoundError), match=name.replace(".", r"\.") + "|store is damaged|not the one"
    ):
        TokenStore.open(tmp_path / "store")
    with pytest.raises((DataError, FileNotFoundError)):
        build(tmp_path / "store")
    assert len(build(tmp_path / "store", overwrite=True)) == len(DOCS)
    assert len(TokenStore.open(tmp_path / "store")) == len(DOCS)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("meta.json", lambda meta: meta["classes"].reverse()),
        ("meta.json", lambda meta: meta["recipe"].update(source=None)),
        ("vocab.json", lambda vocab: vocab["counts"].reverse()),
        ("tokenizer.json", lambda tokenizer: tokenizer["rules"].update(name="2018")),
    ],
)
def test_damage_that_still_makes_sense(tmp_path: Path, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    build(tmp_path / "store")
    path = tmp_path / "store" / name
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")
    with pytest.raises(DataError, match=rf"{name}: (the checksum does not match|\d+ bytes, expected)"):
        TokenStore.open(tmp_path / "store")


def test_stores_that_were_written_without_these_checksums(tmp_path: Path) -> None:
    build(tmp_path / "store")
    path = tmp_path / "store" / "meta.json"
    meta = json.loads(path.read_text())
    del meta["crc32"], meta["files"]["vocab.json"], meta["files"]["tokenizer.json"]
    path.write_text(json.dumps(meta))
    assert len(TokenStore.open(tmp_path / "store")) == len(DOCS)
    assert len(build(tmp_path / "store", tokenizer=NoTokenizer())) == len(DOCS)


def test_files_of_different_stores_do_not_mix(tmp_path: Path) -> None:
    build(tmp_path / "one")
    other = build(tmp_path / "other", DOCS[:30])
    with pytest.raises(DataError, match=r"the store's vocabulary has .* tokens, the one asked for"):
        TokenStore.open(tmp_path / "one", other.vocab)
    swapped = Vocab([*other.vocab.tokens[:-2], other.vocab.tokens[-1], other.vocab.tokens[-2]])
    with pytest.raises(DataError, match=f"differ: id {len(swapped) - 2} is"):
        TokenStore.open(tmp_path / "other", swapped)
    shutil.copy(tmp_path / "other" / "vocab.json", tmp_path / "one" / "vocab.json")
    with pytest.raises(DataError, match="the vocabulary is not the one the store was built with"):
        TokenStore.open(tmp_path / "one")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        TokenStore.open(tmp_path / "none")
    meta = json.loads((tmp_path / "other" / "meta.json").read_text())
    (tmp_path / "other" / "meta.json").write_text(json.dumps(meta | {"format": 99}))
    with pytest.raises(DataError, match="format 99, this version reads 2"):
        TokenStore.open(tmp_path / "other")


def test_views() -> None:
    store = toy_store()
    view = store.subset([3, 1, -1])
    assert [doc.tolist() for doc in (view[0], view[1], view[2])] == [store[i].tolist() for i in (3, 1, len(store) - 1)]
    assert view.ids.tolist() == [*store[3], *store[1], *store[-1]]
    assert view.offsets.tolist() == np.cumsum([0, *(len(store[i]) for i in (3, 1, -1))]).tolist()
    assert view.rows.tolist() == store.rows[[3, 1, -1]].tolist()
    assert view.n_tokens == len(view.ids)
    deeper = view.subset(np.array([2]))
    assert deeper[0].tolist() == store[-1].tolist()
    assert view.base_ids is store.base_ids
    assert store.subset(store.labels == 1).rows.tolist() == store.rows[store.labels == 1].tolist()
    assert len(store.subset([])) == 0
    with pytest.raises(IndexError):
        store.subset([len(store)])


def test_gathering_backward() -> None:
    ids = np.arange(100, dtype=np.uint16)
    out = gather(ids, np.array([10, 50, 3]), np.array([4, 1, 2]), backward=True)
    assert out.tolist() == [10, 13, 12, 11, 50, 3, 4]
    assert out.dtype == ids.dtype


def test_gathering_many() -> None:
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 1000, 100_000)
    starts, lengths = rng.integers(0, 90_000, 10_000), rng.integers(1, 20, 10_000)
    expected = np.concatenate([ids[start : start + length] for start, length in zip(starts, lengths)])
    assert np.array_equal(gather(ids, starts, lengths), expected)


@pytest.mark.parametrize("stratify", [True, False])
def test_split(stratify: bool) -> None:
    store = build(None, documents(200, classes=4))
    train, valid = store.split(0.2, seed=3, stratify=stratify)
    assert sorted([*train, *valid]) == list(range(200))
    assert len(valid) == pytest.approx(40, abs=2)
    again = store.split(0.2, seed=3, stratify=stratify)
    assert np.array_equal(again[1], valid)
    assert not np.array_equal(store.split(0.2, seed=4, stratify=stratify)[1], valid)
    if stratify:
        for label in range(4):
            share = (store.labels[valid] == label).sum() / (store.labels == label).sum()
            assert share == pytest.approx(0.2, abs=0.02)


def test_every_class_keeps_a_document_for_training() -> None:
    store = build(None, from_texts(["a", "b", "c", "d"], ["x", "x", "x", "rare"]))
    train, valid = store.split(0.9)
    assert {store.classes[i] for i in store.labels[train]} == {"x", "rare"}
    assert len(valid) == 2
    with pytest.raises(ValueError, match=r"valid=0\.01 of 4 documents leaves none for validation"):
        store.split(0.01)
    for share in (0, 1, 2.5):
        with pytest.raises(ValueError, match="must be a share between 0 and 1"):
            store.split(share)


def test_figures() -> None:
    vocab = Vocab([*SPECIALS, "known"])
    store = build(None, from_texts(["known new", "known known known"], ["x", "y"]), vocab=vocab)
    assert store.oov_share() == pytest.approx(1 / 5)
    assert store.subset([0]).oov_share() == pytest.approx(1 / 2)
    card = store.card()
    assert (card.documents, card.tokens, card.vocab, card.unlabelled, card.types) == (2, 7, 9, 0, 3)
    assert card.classes == {"x": 1, "y": 1}
    assert (card.length["min"], card.length["mean"], card.length["max"]) == (3, 3.5, 4)
    assert card.duplicates is None
    assert json.loads(json.dumps(card.to_dict())) == card.to_dict()


@pytest.mark.data
def test_trec(data_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "trec"
    train = TokenStore.build(path, read_csv(data_dir / "trec" / "train.csv.gz", "text", "label"), SpacyTokenizer())
    test = TokenStore.build(None, read_csv(data_dir / "trec" / "test.csv.gz", "text", "label"), like=train)
    assert (len(train), len(test)) == (5452, 500)
    assert train.classes == ["ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM"]
    assert 0 < test.oov_share() < 0.15


def test_a_store_knows_its_source_and_its_rules(tmp_path: Path) -> None:
    corpus = Corpus("reviews", lambda: iter(DOCS))
    store = build(tmp_path / "store", corpus)
    assert store.meta["source"] == "reviews"
    assert store.meta["fingerprints"]["rules"] == RulesTokenizer().rules.fingerprint
    assert str(store.card()).splitlines()[0].split() == ["source", "reviews"]
    assert build(None, DOCS).meta["source"] is None
