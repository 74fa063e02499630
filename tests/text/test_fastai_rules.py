from __future__ import annotations

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from textxfer.text.fastai_rules import FastaiRules
from textxfer.text.rule_sets import rules
from textxfer.text.tokenizer import SpacyTokenizer

REPAIRED, EXACT = rules("fastai"), rules("fastai-exact")
TOKENIZERS = [SpacyTokenizer("en", REPAIRED), SpacyTokenizer("en", EXACT)]
PARTS = [
    *("a", "A", "no", "No", "aaa", "AAa", "bbbb", "3", "333", "ÜBER", "Über", "ΑΣ", "GREAT", '"GREAT"', "Hello,"),
    *("(Hello", "McDonald", "/", "#", "\\", "a/b", "...", "!!!", "-", ":", ")", ":)", ":-)", "'s", "don't", "n't"),
    *("&amp;", "amp;", "camp;", "quot;", "&quot;", "#39;", "&lt;", "nbsp;", "<br />", "<unk>", "xxbos", "\\n", '\\"'),
    *(" ", " ", " ", "  ", "\n", "\n\n", "\n ", " \n", "\t", "\xa0", "\x85", "\u2028", " @-@ ", " @.@ ", "\u200d", "é"),
]
NASTY = st.lists(st.sampled_from(PARTS), max_size=25).map("".join)


@settings(deadline=None, max_examples=600)
@given(st.one_of(NASTY, st.text()), st.sampled_from(TOKENIZERS))
@example("aaa#39; quot;quot;AAa", TOKENIZERS[0])  # spaCy looks at ' and ''aaa together
def test_by_chunks_as_by_the_whole_text(text: str, tokenizer: SpacyTokenizer) -> None:
    assert tokenizer(text) == tokenizer.reference(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, WORLD! I am McDonald.", "xxmaj hello , xxup world ! i am mcdonald ."),
        ("sooo 1000 no no no no!", "s xxrep 3 o 1 xxrep 3 0 xxwrep 4 no !"),
        ("either/or #1", "either / or # 1"),
        ("one<br /><br />Two", "one \n\n xxmaj two"),
        ("one<br />...two", "one \n▁ … two"),
        ("a a a b b b", "xxwrep 3 a b b b"),
        ("AT&T &lt;b&gt;", "xxup at&t < b >"),
        ("", ""),
        (" \n x \n ", "x"),
    ],
)
@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=["repaired", "exact"])
def test_examples(text: str, expected: str, tokenizer: SpacyTokenizer) -> None:
    assert tokenizer(text)[1:] == [token for token in expected.split(" ") if token]


@pytest.mark.parametrize(
    ("text", "repaired", "exact"),
    [
        ("camp; stamp;", "camp; stamp;", "c& st&"),
        ("R&amp;D", "r&d", "r&&d"),
        ("it#39;s quot;so quot;", "it's 'so '", "it's 'so '"),
        ("ÜBER Ärger ДЖАЗ", "xxup über xxmaj ärger xxup джаз", "über ärger джаз"),
        ('"GREAT" (Hello', 'xxup "great" xxmaj (hello', '"great" (hello'),
    ],
)
def test_defects_and_their_repair(text: str, repaired: str, exact: str) -> None:
    assert REPAIRED.pre(text) == repaired.replace("r&d", "xxup r&d")
    assert EXACT.pre(text) == exact.replace("r&&d", "xxup r&&d")


def test_ordinary_text_goes_the_fast_way() -> None:
    text = "A plain text, of <br /><br />two lines. Nothing in it's odd."
    assert REPAIRED.chunks(text)[:3] == ["A", "plain", "text,"]


def test_a_long_word_does_not_hang() -> None:
    start = time.process_time()
    for tokenizer in TOKENIZERS:
        assert len(tokenizer("Ab" * 500_000)) > 100
    assert time.process_time() - start < 20  # seconds; quadratic cost would take many minutes


def test_wrong_parameters() -> None:
    with pytest.raises(ValueError, match="have no parameter repeat"):
        FastaiRules.from_dict({"kind": "fastai", "repeat": 3})


def test_what_looks_like_a_mark_stays_one_as_with_fastai() -> None:
    for tokenizer in TOKENIZERS:
        assert tokenizer("xxpad xxbos") == ["xxbos", "xxpad", "xxbos"]
