"""Defects 20 to 27 of fastai 2.8.12: cleaning, tokens, vocabularies and what is kept of them on disk.

A test's docstring says what fastai does, and where; the test fails on that behaviour.
"""

from __future__ import annotations

import html
import json
import random
from collections import Counter
from pathlib import Path

import pytest

from textxfer.text import (
    SPECIALS,
    DataError,
    RulesTokenizer,
    SpacyTokenizer,
    SubwordTokenizer,
    TokenStore,
    Vocab,
    encode,
    tokenizer_from_dict,
)
from textxfer.text.cleaning import clean

TIED = [" ".join(random.Random(seed).sample([f"word{i}" for i in range(40)], 40)) for seed in range(12)]
TEXTS = ["The cat sat on the mat.", "A dog saw the cat.", "The dog ran."]


def test_defect_20_the_vocabulary_does_not_depend_on_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """text/core.py:171-180, 198-202 counts in the order in which processes end, and that decides between equals."""
    monkeypatch.setattr(encode, "PIECE_CHARACTERS", 200)  # several pieces of work
    built = [TokenStore.build(None, TIED, RulesTokenizer(), max_vocab=30, n_workers=n) for n in (1, 2, 8)]
    turned = TokenStore.build(None, TIED[::-1], RulesTokenizer(), max_vocab=30)
    assert {store.vocab.tokens for store in (*built, turned)} == {built[0].vocab.tokens}
    assert len({tuple(store.ids.tolist()) for store in built}) == 1
    words = [token for token in built[0].vocab.tokens if token not in SPECIALS]
    assert words == sorted(words) and len(words) == 30 - len(SPECIALS)  # all occur equally often


def test_defect_21_a_store_is_opened_only_if_it_would_be_the_same(tmp_path: Path) -> None:
    """text/core.py:192, 211: where there is a file of counts, the old tokens are used, whatever has changed."""
    folder = tmp_path / "store"
    TokenStore.build(folder, TEXTS, RulesTokenizer(), min_count=1)
    written = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    again = TokenStore.build(folder, TEXTS, RulesTokenizer(), min_count=1)
    assert len(again) == 3 and {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == written
    for documents, tokenizer, min_count in (
        ([*TEXTS[:2], "The dog slept."], RulesTokenizer(), 1),
        (TEXTS, RulesTokenizer("2018"), 1),
        (TEXTS, SpacyTokenizer(), 1),
        (TEXTS, RulesTokenizer(), 2),
    ):
        with pytest.raises(DataError, match="store"):
            TokenStore.build(folder, documents, tokenizer, min_count=min_count)


def test_defect_22_the_folder_that_is_named_is_the_one_that_is_written(tmp_path: Path) -> None:
    """text/core.py:210-215: `tokenize_folder` has an `output_dir`, and does not pass it on."""
    (tmp_path / "texts").mkdir()
    TokenStore.build(tmp_path / "elsewhere" / "ids", TEXTS, RulesTokenizer())
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_dir()) == [
        "elsewhere",
        "elsewhere/ids",
        "texts",
    ]
    assert len(TokenStore.open(tmp_path / "elsewhere" / "ids")) == 3


@pytest.mark.parametrize("tokenizer", [RulesTokenizer(), SpacyTokenizer(), RulesTokenizer("fastai")], ids=repr)
def test_defect_23_words_that_end_like_an_entity_stay_words(tokenizer: RulesTokenizer | SpacyTokenizer) -> None:
    """text/core.py:66-71 replaces `amp;` and `quot;` wherever they stand: "camp;" becomes "c&"."""
    assert tokenizer("the camp; a stamp; AT&amp;T")[1:7] == ["the", "camp", ";", "a", "stamp", ";"]
    assert "&" in "".join(tokenizer("fish &amp; chips")) and "amp" not in tokenizer("fish &amp; chips")


def test_defect_23_what_was_escaped_comes_back() -> None:
    """text/core.py:66-71: texts do not survive being escaped and read again."""
    for text in ('a "quoted" word & <tag>', "camp; quot; nbsp; in a row", "it's 5 < 7 && 8 > 3", "#36; costs"):
        kept = clean(text, normalize=True)
        assert clean(html.escape(text, quote=True), normalize=True) == kept
    assert clean("a stamp; the camp;", normalize=True) == "a stamp; the camp;"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ÜBER uns", ["xxup", "über", "uns"]),
        ("Élan vital", ["xxmaj", "élan", "vital"]),
        ("ПРИВЕТ Мир", ["xxup", "привет", "xxmaj", "мир"]),
        ('a "GREAT" film', ["a", '"', "xxup", "great", '"', "film"]),
        ("(Good) one", ["(", "xxmaj", "good", ")", "one"]),
    ],
)
def test_defect_24_case_is_marked_in_all_alphabets_and_behind_quotes(text: str, expected: list[str]) -> None:
    """text/core.py:74, 85 looks for A to Z behind white space: "ÜBER", Cyrillic and a quoted "GREAT" get no mark."""
    assert RulesTokenizer()(text)[1:] == SpacyTokenizer()(text)[1:] == expected


def test_defect_25_subword_models_do_not_meet_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """text/core.py:350-401 trains into `tmp/spm` of the current folder: the second data set replaces the first."""
    monkeypatch.chdir(tmp_path)
    one, other = (SubwordTokenizer.train([text] * 30, 400) for text in ("über den dächern", "привет мир"))
    assert list(tmp_path.iterdir()) == []
    saved = json.dumps(one.to_dict())  # all of the model, not the path of a file
    expected = one("über привет")
    assert expected != other("über привет") and "▁über" in expected
    assert tokenizer_from_dict(json.loads(saved))("über привет") == expected


@pytest.mark.parametrize("size", [24, 30, 200])
def test_defect_26_the_vocabulary_has_the_size_asked_for(size: int) -> None:
    """text/data.py:28 fills up to a multiple of 8, and a multiple of 8 by 8 more: 60,000 becomes 60,008."""
    vocab = Vocab.from_counts({f"word{i}": 3 for i in range(500)}, SPECIALS, max_size=size)
    assert len(vocab) == size and "xxfake" not in vocab


def test_defect_27_unknown_words_leave_nothing_behind() -> None:
    """text/data.py:42, 53: the map from words to ids is a `defaultdict`, and keeps each unknown word for ever."""
    vocab = Vocab.from_counts(Counter(" ".join(TEXTS).split()), SPECIALS, min_count=1)
    before = sizes(vocab)
    for block in range(10):
        unknown = [f"unseen{block}-{i}" for i in range(100_000)]
        assert set(vocab.ids(unknown).tolist()) == {vocab.unk_id}
    assert sizes(vocab) == before and "unseen0-0" not in vocab


def sizes(vocab: Vocab) -> dict[str, int]:
    """Length of all that a vocabulary holds."""
    return {name: len(value) for name, value in vars(vocab).items() if hasattr(value, "__len__")}
