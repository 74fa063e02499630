from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.text.samples import odd_text
from textxfer.text.cleaning import clean
from textxfer.text.detokenize import MAX_REPEATS, detokenize
from textxfer.text.specials import SPECIALS
from textxfer.text.tokenizer import RulesTokenizer, SpacyTokenizer, Tokenizer

TOKENIZERS = [SpacyTokenizer(), RulesTokenizer()]


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=repr)
@pytest.mark.parametrize(
    "text",
    [
        "It was GREAT, wasn't it? Yes! I DIDN'T know (really): $5 or 10% off; that's it.",
        'He said "no" and left. "Why?" she asked. Plan B failed.',
        "The dogs' bowls aren't 'clean', I'm told.",
        "A well-known and/or sooooo good!!!! film...",
        "very very very very good. NO NO NO NO!",
        "First paragraph.\n\nSecond one.\nThird line.",
        "ÜBER Ä. Мир ПРИВЕТ NASA's I'LL",
        "SOOOOO bad, NOOOO!",
    ],
)
def test_ordinary_text_comes_back(tokenizer: Tokenizer, text: str) -> None:
    assert detokenize(tokenizer(text)) == text


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ([], ""),
        (["xxbos", "xxpad", "xxpad"], ""),
        (["xxbos", "xxfld", "1", "a", "xxfld", "2", "b"], "a\nb"),
        (["xxwrep", "3", "xxmaj", "no"], "No No No"),
        (["xxrep", "4", "!"], "!!!!"),
        (["xxmaj"], ""),
        (["xxrep", "many", "a"], "xxrep many a"),
        (["xxrep", "3"], ""),
        (["xxup", "xxmaj", "a"], "A"),
        (["xxunk", "."], "xxunk."),
        (["l'", "homme"], "l'homme"),
    ],
)
def test_marks_anywhere(tokens: list[str], text: str) -> None:
    assert detokenize(tokens) == text


def test_repeats_are_bounded() -> None:
    assert detokenize(["xxrep", "9" * 9, "a"]) == "a" * MAX_REPEATS
    assert len(detokenize(["xxwrep", "9" * 9, "a"])) == 2 * MAX_REPEATS - 1
    assert detokenize(["xxrep", "9" * 5000, "a"])


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.one_of(st.sampled_from([*SPECIALS, "3", "word"]), st.text(alphabet="ab'-. 1\n\"", max_size=4)), max_size=12
    )
)
def test_any_tokens_give_text(tokens: list[str]) -> None:
    text = detokenize(tokens)
    assert text == text.strip()
    assert not any(mark in text for mark in ("xxbos", "xxpad", "xxup", "xxmaj", "XX"))


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=repr)
def test_letters_and_digits_come_back(tokenizer: Tokenizer) -> None:
    for seed in range(60):
        text = odd_text(seed)
        assert alphanumerics(detokenize(tokenizer(text))) == alphanumerics(clean(text, normalize=True)), text


def alphanumerics(text: str) -> str:
    return "".join(character for character in text.casefold() if character.isalnum())


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.sampled_from(["ab", "cde", "fgah"]), st.sampled_from(["", ",", ".", "!", ";", '"']))))
def test_plain_words_come_back(words: list[tuple[str, str]]) -> None:
    text = " and ".join(f'"{word}"' if end == '"' else word + end for word, end in words)
    assert detokenize(RulesTokenizer()(text)) == text
