from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textxfer.text.cleaning import clean, collapse_words, tidy_spaces
from textxfer.text.rule_sets import PRESETS, rules, rules_from_dict
from textxfer.text.rules import MAX_CHUNK, Rules
from textxfer.text.specials import SPECIALS, join_fields

DEFAULT = rules("default")


def marked(text: str, preset: str = "default") -> str:
    """The text after all rules, with a tokenizer that splits at spaces."""
    chosen = rules(preset)
    return " ".join(chosen.post(chosen.pre(text).split()))


OWN = ["default", "2018"]  # the rules of fastai have tests of their own


@pytest.mark.parametrize("preset", PRESETS)
def test_the_ids_of_unknown_and_padding_are_the_same_in_all_presets(preset: str) -> None:
    assert rules(preset).specials[:3] == ("xxunk", "xxpad", "xxbos")
    assert set(rules(preset).specials) <= set(SPECIALS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GREAT Great great", "xxbos xxup great xxmaj great great"),
        ("ÜBER ПРИВЕТ Мир ΑΒΓ", "xxbos xxup über xxup привет xxmaj мир xxup αβγ"),
        ("sooooo", "xxbos s xxrep 5 o"),
        ("SOOOOO", "xxbos xxup s xxrep 5 o"),
        ("Sooooo good!!!!!", "xxbos xxmaj s xxrep 5 o good xxrep 5 !"),
        ("ooo 10000 5555", "xxbos ooo 10000 5555"),
        ("no no no no", "xxbos xxwrep 4 no"),
        ("NO NO NO NO!", "xxbos xxwrep 4 xxup no !"),
        ("no no no", "xxbos no no no"),
        ("I saw Plan B . A man", "xxbos i saw xxmaj plan xxmaj b . xxmaj a man"),
        ("U.S. 3D MP3 iPhone McDonald", "xxbos xxup u.s. 3d xxup mp3 iphone mcdonald"),
        ("DON'T I'M O'Neil", "xxbos xxup don't xxup i'm o'neil"),
        ("and/or C:\\new #tag", "xxbos and / or xxmaj c: \\ new # tag"),
        ("", "xxbos"),
    ],
)
def test_default_rules(text: str, expected: str) -> None:
    assert marked(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GREAT US Great", "xxbos xxfld 1 xxup great us great"),
        ("sooooo 10000 ooo", "xxbos xxfld 1 s xxrep 5 o 1 xxrep 4 0 ooo"),
        ("no no no no", "xxbos xxfld 1 xxwrep 4 no"),
        ("xxfld 1 a xxfld 2 b", "xxbos xxfld 1 a xxfld 2 b"),
        ("", "xxbos xxfld 1"),
    ],
)
def test_rules_of_2018(text: str, expected: str) -> None:
    assert marked(text, "2018") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GREAT US Great A", "xxbos xxup great xxup us xxmaj great a"),
        ("sooo 1000", "xxbos s xxrep 3 o 1 xxrep 3 0"),
        ("no no no", "xxbos xxwrep 3 no"),
        ("wow... ok", "xxbos wow … ok"),
        ("camp; stamp; ÜBER", "xxbos camp; stamp; xxup über"),
    ],
)
def test_rules_of_fastai_without_its_defects(text: str, expected: str) -> None:
    assert marked(text, "fastai") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("camp; stamp; &camp; AT&T", "camp; stamp; &camp; AT&T"),
        ("a &amp; b &lt;i&gt; &#39;x&#x27; &eacute;", "a & b <i> 'x' é"),
        ("&amp;quot;twice&amp;quot;", '"twice"'),
        ("it #39;s haven #39;t #39;x quot;so quot; amp; on", "it's haven't 'x \"so \" & on"),
        ("bug #1234; seen #24; wore #16; (#10; #00024;", "bug #1234; seen #24; wore #16; (#10; #00024;"),
        ("#36;5 #039;x #00169; #151; #8217;", "$5 'x © — '"),
        ("?a=1&copy=2 &notanentity", "?a=1&copy=2 &notanentity"),
        ("&timestamp; &notin; &notit; &ampere; &AMP;", "&timestamp; ∉ &notit; &ampere; &"),
        ("one<br />two<BR>three<br/>", "one\ntwo\nthree\n"),
        ("well @-@ known 1 @,@ 000", "well-known 1,000"),
        ("“x” ‘y’ „z” … \x91w\x92 \x96", "\"x\" 'y' \"z\" ... 'w' –"),  # noqa: RUF001
        ("so\u00adft ze\u200bro \ufeffmark", "soft ze ro mark"),
        ("``quoted''", '"quoted"'),
        ("a\0b\ud800c", "a\ufffdb\ufffdc"),
    ],
)
def test_cleaning(text: str, expected: str) -> None:
    assert clean(text, normalize=True) == expected


def test_white_space_is_reduced_to_spaces_and_line_breaks() -> None:
    assert tidy_spaces("  a \t\u00a0 b \n  c \r\n \n\n\n d \n") == "a b\nc\n\nd"
    assert tidy_spaces(" \n \t ") == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("very very very very good", "W 4 very good"),
        ("no no no no! yes", "W 4 no ! yes"),
        ("no, no, no, no, no.", "W 4 no, no."),
        ("no no no not", "no no no not"),
        ("no no no nose", "no no no nose"),
        ("- - - - -", "- - - - -"),
        ("a a a a b b b b", "W 4 a W 4 b"),
        ("a a a a. a. a. a.", "a a a W 4 a."),
        ("x x y y y y", "x x W 4 y"),
    ],
)
def test_repeated_words(text: str, expected: str) -> None:
    assert collapse_words(text, 4, "W") == expected


def test_composed_and_decomposed_letters_are_the_same_word() -> None:
    assert marked("cafe\u0301") == marked("caf\u00e9")


@pytest.mark.parametrize("forged", ["xxpad", "XXBOS", "xxunk", "Xxmaj", "a-xxup", "x\u00adxrep"])
def test_a_text_cannot_claim_special_tokens(forged: str) -> None:
    tokens = marked(f"say {forged} now").split()
    assert tokens[0] == "xxbos"
    assert not set(tokens[1:]) & {"xxpad", "xxbos", "xxunk", "xxrep"}
    assert "xx" in " ".join(tokens)


def test_unknown_words_of_wikitext_are_unknown_words() -> None:
    assert marked("the <unk> of") == "xxbos the xxunk of"


@settings(deadline=None, max_examples=300)
@given(st.text(), st.sampled_from(OWN))
def test_rules_take_any_text(text: str, preset: str) -> None:
    chosen = rules(preset)
    ready = chosen.pre(text)
    assert "  " not in ready
    assert "\0" not in ready
    assert ready == ready.strip()
    assert all(len(word) <= MAX_CHUNK * 3 for word in ready.split())  # NFC may lengthen, at most threefold
    tokens = chosen.post(ready.split())
    assert tokens[0] == "xxbos"
    assert tokens == [token.lower() for token in tokens]


@settings(deadline=None, max_examples=200)
@given(st.text(alphabet="aAbÄ '.!x\n-3", max_size=60), st.sampled_from(OWN))
def test_rules_for_words_are_the_rules_for_texts(text: str, preset: str) -> None:
    chosen = rules(preset)
    by_word = [token for word in chosen.chunks(text) for token in chosen.post_chunk(chosen.pre_chunk(word).split())]
    assert ["xxbos", *by_word] == chosen.post(chosen.pre(text).split())


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "ab",
        "a!",
        "&#",
        "&",
        "<br ",
        "#1",
        "'a",
        "A'",
        "xx",
        " ",
        "\n ",
        " \n",
        "a ",
        "no ",
        "\u0301\u0327",
        "@ ",
        "/",
    ],
)
@pytest.mark.parametrize("preset", ["default", "fastai"])
def test_cost_is_linear(unit: str, preset: str) -> None:
    text = (unit * 200_000)[:200_000]
    start = time.process_time()
    rules(preset).pre(text)
    assert time.process_time() - start < 10  # seconds; quadratic cost would take many minutes


def test_json_and_fingerprint() -> None:
    for preset in PRESETS.values():
        again = rules_from_dict(json.loads(json.dumps(preset.to_dict())))
        assert again == preset
        assert again.fingerprint == preset.fingerprint
    assert len({preset.fingerprint for preset in PRESETS.values()}) == len(PRESETS)
    assert Rules("other name").fingerprint == DEFAULT.fingerprint


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="no rules called 'fast'; there are 'default', '2018', 'fastai'"):
        rules("fast")
    with pytest.raises(ValueError, match="rules have no parameter repeat; they have"):
        Rules.from_dict({"name": "x", "repeat": 3})
    with pytest.raises(ValueError, match="repeat_words=1 must be at least 2"):
        Rules("x", repeat_words=1)
    with pytest.raises(ValueError, match="min_upper=0 must be at least 1"):
        Rules("x", min_upper=0)


def test_fields() -> None:
    assert join_fields(["only"]) == "only"
    assert join_fields(["title", "body"]) == "xxfld 1 title xxfld 2 body"
    assert marked(join_fields(["A title", "Body"])) == "xxbos xxfld 1 xxmaj a title xxfld 2 xxmaj body"
