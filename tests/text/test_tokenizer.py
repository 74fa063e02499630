from __future__ import annotations

import json
import pickle
import subprocess
import sys
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.text.samples import odd_text
from textxfer.text import memory as module
from textxfer.text.rule_sets import PRESETS, rules
from textxfer.text.tokenizer import RulesTokenizer, SpacyTokenizer, Tokenizer
from textxfer.text.tokenizers import tokenizer_from_dict
from textxfer.text.words import split_word

SPACY = pytest.importorskip("spacy").blank("en").tokenizer
TOKENIZERS = {(kind, preset): kind(rules=preset) for kind in (SpacyTokenizer, RulesTokenizer) for preset in PRESETS}


def plain(text: str, preset: str) -> list[str]:
    """What spaCy makes of the whole text, without any memory."""
    chosen = rules(preset)
    return chosen.post([token.text for token in SPACY(chosen.pre(text))])


@pytest.mark.parametrize("preset", PRESETS)
def test_remembering_changes_nothing(preset: str) -> None:
    tokenizer = SpacyTokenizer("en", preset)
    texts = [odd_text(seed) for seed in range(150)]
    for _ in range(2):  # cold, then warm
        for text in texts:
            assert tokenizer(text) == plain(text, preset), text


@settings(deadline=None, max_examples=200)
@given(st.text(alphabet=st.sampled_from("aBc.'\u2019:;-)(!?/ \n\t\u00a0$%10é好👍\u200d"), max_size=40))
@example(") :)0")  # spaCy finds "):" across the space, and then not ":)"
def test_words_apart_are_what_spacy_makes_of_them_together(text: str) -> None:
    assert TOKENIZERS[SpacyTokenizer, "default"](text) == plain(text, "default")


def test_memory_stays_bounded_and_words_in_use_survive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MEMO_SIZE", 50)
    tokenizer = RulesTokenizer()
    fresh = RulesTokenizer()
    for i in range(200):
        text = f"the word{i} Other{i} the"
        assert tokenizer(text) == fresh(text)
        assert len(tokenizer._young) <= 50 + 3
        assert len(tokenizer._old) <= 50 + 3
    assert "the" in tokenizer._young or "the" in tokenizer._old


@settings(deadline=None, max_examples=300)
@given(st.text(), st.sampled_from(sorted(TOKENIZERS, key=str)))
def test_any_text_gives_tokens(text: str, which: tuple[type, str]) -> None:
    tokens = TOKENIZERS[which](text)
    assert tokens[0] == "xxbos"
    assert all(tokens)
    assert not any(" " in token for token in tokens)
    if "fastai" not in which[1]:  # which keeps white space as it is
        assert {token for token in tokens if token.isspace()} <= {"\n", "\n\n"}


@settings(deadline=None, max_examples=300)
@given(st.text())
def test_no_character_is_lost_by_splitting(text: str) -> None:
    for word in text.split():
        assert "".join(split_word(word)) == word


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("don't", ["do", "n't"]),
        ("can\u2019t", ["ca", "n\u2019t"]),
        ("she'll", ["she", "'ll"]),
        ("we've", ["we", "'ve"]),
        ("I'll", ["I", "'ll"]),
        ("d'accord", ["d'", "accord"]),
        ("(well-known),", ["(", "well", "-", "known", ")", ","]),
        ("3.5%", ["3.5", "%"]),
        ("$1,000.", ["$", "1,000", "."]),
        ("u.s.a.", ["u.s.a."]),
        ("end.Start", ["end", ".", "Start"]),
        ("wow...", ["wow", "..."]),
        ("a--b", ["a", "--", "b"]),
        (":-)", [":-)"]),
        ("snake_case", ["snake", "_", "case"]),
        ("你好ab", ["你", "好", "ab"]),
        ("हिन्दी", ["हिन्दी"]),
        ("cafe\u0301!", ["cafe\u0301", "!"]),
        ("👨\u200d👩\u200d👧👍🏽", ["👨\u200d👩\u200d👧", "👍🏽"]),
        ("🇩🇪🇫🇷", ["🇩🇪", "🇫🇷"]),
    ],
)
def test_splitting_without_spacy(word: str, expected: list[str]) -> None:
    assert split_word(word) == expected


@pytest.mark.parametrize("tokenizer", [SpacyTokenizer(), RulesTokenizer()], ids=repr)
def test_contractions_are_split_in_any_case(tokenizer: Tokenizer) -> None:
    assert tokenizer("don't Don't DON'T")[1:] == ["do", "n't", "xxmaj", "do", "n't", "xxup", "do", "n't"]


@pytest.mark.parametrize(
    ("unit", "length"), [("ab", 1_000_000), ("!?", 200_000), ("A'", 200_000), ("\u0301\u0327", 200_000)]
)
def test_a_long_word_does_not_hang(unit: str, length: int) -> None:
    text = unit * (length // len(unit))
    for tokenizer in (TOKENIZERS[SpacyTokenizer, "default"], TOKENIZERS[RulesTokenizer, "default"]):
        start = time.process_time()
        assert tokenizer(text)[0] == "xxbos"
        assert time.process_time() - start < 20  # seconds; quadratic cost would take many minutes


@pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=lambda t: f"{t!r}")
def test_round_trips(tokenizer: Tokenizer) -> None:
    text = odd_text(7)
    again = tokenizer_from_dict(json.loads(json.dumps(tokenizer.to_dict())))
    pickled = pickle.loads(pickle.dumps(tokenizer))
    assert isinstance(tokenizer, Tokenizer)
    assert again == tokenizer == pickled
    assert again.fingerprint == tokenizer.fingerprint == pickled.fingerprint
    assert again(text) == tokenizer(text) == pickled(text)
    assert again.specials == tokenizer.specials


def test_fingerprints_differ() -> None:
    different = [*TOKENIZERS.values(), SpacyTokenizer("de")]
    assert len({tokenizer.fingerprint for tokenizer in different}) == len(different)


def test_what_cannot_be_built_is_said() -> None:
    with pytest.raises(ValueError, match="unknown kind of tokenizer 'bpe'"):
        tokenizer_from_dict({"kind": "bpe"})
    with pytest.raises(ValueError, match="spaCy cannot tokenize 'klingon'"):
        SpacyTokenizer("klingon")("nuqneH")


def test_spacy_is_imported_only_when_it_is_used() -> None:
    code = "import sys; from textxfer.text import SpacyTokenizer as T; T(); print({'spacy', 'pandas'} & {*sys.modules})"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "set()"


def test_languages_with_a_tokenizer_of_their_own() -> None:
    tokens = SpacyTokenizer("zh")("你好 世界 ok")
    assert "".join(tokens[1:]) == "你好世界ok"
