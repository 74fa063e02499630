from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textxfer.text.document import DataError
from textxfer.text.specials import SPECIALS
from textxfer.text.vocab import Vocab

COUNTS = Counter({"the": 9, "a": 9, "cat": 5, "dog": 5, "once": 1, "xxbos": 4, "xxmaj": 2})


def test_pairs_are_read_one_by_one() -> None:
    for arguments in ({}, {"max_size": 11}, {"min_count": 1}, {"keep": ["never", "once"]}):
        one = Vocab.from_counts(COUNTS, SPECIALS, **arguments)  # type: ignore[arg-type]
        other = Vocab.from_counts(iter(COUNTS.items()), SPECIALS, **arguments)  # type: ignore[arg-type]
        assert one == other
        assert one.counts == other.counts
        assert sum(one.counts or ()) == sum(COUNTS.values())


def test_tokens_come_by_count_then_by_name() -> None:
    vocab = Vocab.from_counts(COUNTS, SPECIALS, min_count=2)
    assert vocab.tokens == (*SPECIALS, "a", "the", "cat", "dog")
    assert vocab.counts == [1, 0, 4, 0, 0, 0, 0, 2, 9, 9, 5, 5]
    assert (vocab.unk_id, vocab.pad_id, vocab.bos_id) == (0, 1, 2)


def test_no_token_of_the_text_is_left_out_of_the_counts() -> None:
    vocab = Vocab.from_counts(COUNTS, SPECIALS, max_size=10, min_count=2)
    assert vocab.counts is not None
    assert sum(vocab.counts) == sum(COUNTS.values())


@settings(deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=3), st.integers(1, 5), max_size=60), st.randoms())
def test_the_order_of_counting_does_not_matter(counts: dict[str, int], random) -> None:
    items = list(counts.items())
    random.shuffle(items)
    assert Vocab.from_counts(dict(items), SPECIALS) == Vocab.from_counts(counts, SPECIALS)


@pytest.mark.parametrize("size", [16, 24, 31, 64])
def test_the_size_is_exact(size: int) -> None:
    counts = {f"w{i}": 3 for i in range(100)}
    assert len(Vocab.from_counts(counts, SPECIALS, max_size=size)) == size


def test_tokens_to_keep_come_on_top() -> None:
    vocab = Vocab.from_counts(COUNTS, SPECIALS, max_size=10, keep=[*SPECIALS, "the", "once", "never"])
    assert vocab.tokens == (*SPECIALS, "a", "the", "once", "never")
    assert vocab.counts is not None
    assert vocab.counts[-2:] == [1, 0]
    assert sum(vocab.counts) == sum(COUNTS.values())


def test_looking_up() -> None:
    vocab = Vocab.from_counts(COUNTS, SPECIALS)
    assert vocab["cat"] == 10
    assert "cat" in vocab
    assert "mouse" not in vocab
    ids = vocab.ids(["a", "mouse", "the"])
    assert ids.dtype == np.int64
    assert ids.tolist() == [8, 0, 9]
    assert vocab.to_tokens(ids) == ["a", "xxunk", "the"]
    with pytest.raises(KeyError, match="'mouse' is not in the vocabulary"):
        vocab["mouse"]


def test_it_never_grows() -> None:
    vocab = Vocab.from_counts(COUNTS, SPECIALS)
    before = (len(vocab), len(vocab._index), vocab.fingerprint)
    assert (vocab.ids([f"new{i}" for i in range(100_000)]) == 0).all()
    assert (len(vocab), len(vocab._index), vocab.fingerprint) == before


def test_bad_vocabularies() -> None:
    with pytest.raises(ValueError, match="cannot hold a token twice: 'a'"):
        Vocab(["xxunk", "xxpad", "a", "a"])
    with pytest.raises(ValueError, match="needs the token 'xxpad'"):
        Vocab(["xxunk", "a"])
    with pytest.raises(ValueError, match="1 counts for 2 tokens"):
        Vocab(["xxunk", "xxpad"], [1])
    with pytest.raises(ValueError, match="max_size=8 must be greater"):
        Vocab.from_counts(COUNTS, SPECIALS, max_size=8)
    with pytest.raises(ValueError, match="min_count=0"):
        Vocab.from_counts(COUNTS, SPECIALS, min_count=0)


def test_fingerprint_and_equality() -> None:
    one, other = Vocab(["xxunk", "xxpad", "a", "b"]), Vocab(["xxunk", "xxpad", "b", "a"])
    assert one != other
    assert one.fingerprint != other.fingerprint
    same = Vocab(["xxunk", "xxpad", "a", "b"], [4, 3, 2, 1])
    assert one == same
    assert hash(one) == hash(same)
    assert one.fingerprint == same.fingerprint


def test_saving_and_loading(tmp_path: Path) -> None:
    vocab = Vocab.from_counts(COUNTS + Counter({"naïve": 3, "\n": 2, '"': 2}), SPECIALS)
    vocab.save(tmp_path / "vocab.json")
    again = Vocab.load(tmp_path / "vocab.json")
    assert (again, again.counts) == (vocab, vocab.counts)
    assert [file.name for file in tmp_path.iterdir()] == ["vocab.json"]


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vocab = Vocab.from_counts(COUNTS, SPECIALS)
    vocab.save(tmp_path / "vocab.json")

    def fail(*_args: object, **_keywords: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("textxfer.files.sync", fail)
    with pytest.raises(OSError, match="disk full"):
        Vocab(["xxunk", "xxpad"]).save(tmp_path / "vocab.json")
    assert Vocab.load(tmp_path / "vocab.json") == vocab
    assert [file.name for file in tmp_path.iterdir()] == ["vocab.json"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "vocabulary format 2, this version reads 1"),
        ({"tokens": "abc"}, "'tokens' is not a list of strings"),
        ({"tokens": ["xxunk", "xxpad", 3]}, "'tokens' is not a list of strings"),
        ({"tokens": ["xxunk", "xxpad", "b"]}, "do not match their fingerprint"),
        ({"tokens": ["xxunk", "xxpad", "xxpad"]}, "cannot hold a token twice"),
        ({"counts": ["1", "2", "3"]}, "'counts' is not a list of whole numbers"),
        ({"counts": [1]}, "1 counts for 3 tokens"),
    ],
)
def test_damaged_files(tmp_path: Path, change: dict[str, object], message: str) -> None:
    path = tmp_path / "vocab.json"
    Vocab(["xxunk", "xxpad", "a"], [1, 2, 3]).save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match=message) as caught:
        Vocab.load(path)
    assert str(path) in str(caught.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file; expected a vocabulary"):
        Vocab.load(tmp_path / "vocab.json")
    (tmp_path / "cut.json").write_text('{"tokens": [')
    with pytest.raises(DataError, match="not readable as JSON"):
        Vocab.load(tmp_path / "cut.json")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(DataError, match="found a JSON list"):
        Vocab.load(tmp_path / "list.json")
