from __future__ import annotations

import json
import os
import pickle
import random
import subprocess
import sys
import time
import unicodedata
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.text.samples import odd_text
from textxfer.text.detokenize import MAX_REPEATS, detokenize
from textxfer.text.document import DataError
from textxfer.text.rule_sets import rules
from textxfer.text.rules import Rules
from textxfer.text.specials import SPECIALS
from textxfer.text.spelling import BYTES, WORD, Form, Spelling, join_pieces, segments
from textxfer.text.subword import SubwordTokenizer
from textxfer.text.subword_train import Kind, count_words
from textxfer.text.tokenizer import Tokenizer
from textxfer.text.vocab import Vocab

KINDS: tuple[Kind, ...] = get_args(Kind)
TEXTS = [odd_text(seed) for seed in range(120)]
TRAINED = {kind: SubwordTokenizer.train(TEXTS, 900, kind) for kind in KINDS}
# So few words that each becomes one piece.
WORDS = SubwordTokenizer.train(["hello (hello) hello über don't o neil and or s n no wow 4 5 6 ! / '"] * 50, 2000)


def same_case(text: str) -> str:
    """Texts that differ in case only become equal."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hello and über", ["▁hello", "▁and", "▁über"]),
        ("Hello ÜBER wow", ["xxmaj", "▁hello", "xxup", "▁über", "▁wow"]),
        ("(Hello)", ["▁(", "xxmaj", "hello", ")"]),
        ("and/or", ["▁and", "/", "or"]),
        ("don't DON'T", ["▁don't", "xxup", "▁don't"]),
        ("O'Neil", ["xxmaj", "▁o", "'", "xxmaj", "neil"]),
        ("WOW!!!!!", ["xxup", "▁wow", "xxrep", "5", "▁!"]),
        ("!!!! SOOOOOON", ["xxrep", "▁4", "▁!", "xxup", "▁s", "xxrep", "6", "▁o", "n"]),
        ("no no no no\nor\n\nand", ["xxwrep", "▁4", "▁no", "\n", "▁or", "\n\n", "▁and"]),
        ("", []),
    ],
)
def test_how_words_are_written(text: str, expected: list[str]) -> None:
    # Pieces of one character more or less are no matter here: glue what belongs to one segment.
    tokens = WORDS(text)
    assert tokens[0] == "xxbos"
    assert glued(tokens[1:]) == glued(expected)
    assert [token for token in tokens if token in SPECIALS] == [
        "xxbos",
        *(token for token in expected if token in SPECIALS),
    ]


def glued(tokens: list[str]) -> str:
    return "".join(f" {token} " if token in SPECIALS else token for token in tokens)


def test_frequent_words_are_one_piece() -> None:
    assert WORDS("Hello and hello")[1:] == ["xxmaj", "▁hello", "▁and", "▁hello"]


@pytest.mark.parametrize("kind", KINDS)
def test_few_tokens_a_word(kind: Kind) -> None:
    texts = TEXTS[:40]
    words = sum(len(TRAINED[kind].chunks(text)) for text in texts)
    marks = sum(token in SPECIALS for text in texts for token in TRAINED[kind](text))
    tokens = sum(len(TRAINED[kind](text)) for text in texts) - marks
    characters = sum(len(chunk) for text in texts for chunk in TRAINED[kind].chunks(text))
    assert words < tokens < 0.6 * characters


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "text",
    [
        "Hello (World), and/or ÜBER-mut? Don't O'Neil L'ÎLE l'heure, SOOOOON!!!!!! e.g. 3.5% of $5.",
        "First line.\nSecond ONE.\n\nNew paragraph",
        "👍🏽 👨\u200d👩\u200d👧 🇩🇪🇫🇷 ❤\ufe0f",
        "你好世界 Привет МИР हिन्दी Ελλάδα ΟΔΌΣ",
        "▁ a▁b ▁▁▁▁▁ <0x41> <unk_> \ue000 \ufffd",
    ],
)
def test_text_comes_back(kind: Kind, text: str) -> None:
    tokens = TRAINED[kind](text)
    assert "xxunk" not in tokens
    assert set(tokens) <= set(TRAINED[kind].pieces)
    assert " ".join(join_pieces(tokens)[1:]).replace(" \n", "\n").replace("\n ", "\n") == text


@settings(deadline=None, max_examples=300)
@given(st.text(), st.sampled_from(KINDS))
def test_any_text_comes_back_but_for_its_case(text: str, kind: Kind) -> None:
    chosen = Rules("all words", repeat_words=1000)
    trained = SubwordTokenizer(TRAINED[kind].to_dict()["model"], chosen)
    tokens = trained(text)
    assert tokens[0] == "xxbos"
    assert set(tokens) <= set(trained.pieces)
    expected = chosen.chunks(unicodedata.normalize("NFC", text))
    assert same_case(" ".join(join_pieces(tokens)[1:])) == same_case(" ".join(expected))


def test_odd_texts_come_back_but_for_their_case() -> None:
    for text in TEXTS:
        chunks = rules("default").chunks(text)
        if "xxwrep" not in chunks:
            assert same_case(" ".join(join_pieces(TRAINED["bpe"](text))[1:])) == same_case(" ".join(chunks))


@pytest.mark.parametrize("preset", ["default", "2018"])
def test_runs_of_digits_come_back(preset: str) -> None:
    trained = SubwordTokenizer(TRAINED["bpe"].to_dict()["model"], preset)
    words = join_pieces(trained("cost 100000 22222222222 aaaaa99999x 5!!!!!!!!!!!!"))
    assert words[-4:] == ["100000", "22222222222", "aaaaa99999x", "5!!!!!!!!!!!!"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_never_seen_becomes_bytes(kind: Kind) -> None:
    tokens = TRAINED[kind]("🦕")
    assert tokens[:2] == ["xxbos", "▁"]
    assert tokens[2:] == ["<0xF0>", "<0x9F>", "<0xA6>", "<0x95>"]
    assert join_pieces(tokens) == ["xxbos", "🦕"]


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_are_a_vocabulary_in_which_nothing_is_unknown(kind: Kind) -> None:
    trained = TRAINED[kind]
    assert trained.pieces[: len(SPECIALS)] == trained.specials == SPECIALS
    assert len(trained.pieces) <= 900
    vocab = Vocab(trained.pieces)
    for text in [*TEXTS, *(odd_text(seed) for seed in range(500, 520))]:
        assert vocab.unk_id not in vocab.ids(trained(text))
    assert not any(any(map(str.isspace, piece)) for piece in trained.pieces if piece not in ("\n", "\n\n"))


@pytest.mark.parametrize("kind", KINDS)
def test_no_text_can_claim_to_hold_a_mark(kind: Kind) -> None:
    texts = ["axxupb cxxupd exxup xxupf (xxup) xxpad \uff58\uff58\uff55\uff50 <0x41> a\0b <unk>"] * 30
    for form in (None, *get_args(Form)):
        trained = SubwordTokenizer.train(texts, 400, kind, normalize=form)
        tokens = trained(texts[0])
        assert not {"xxpad", "<0x41>", "<unk>"} & set(tokens)
        assert [token for token in tokens if token in SPECIALS] == ["xxbos", "xxunk"]  # the latter is what <unk> is
        joined = "".join(join_pieces(tokens))
        assert "axxupb" in joined
        assert len(set(trained.pieces)) == len(trained.pieces)
        assert kind == "unigram" or '"xxup"' in trained.to_dict()["model"]  # there is such a piece, and it is not used


@pytest.mark.parametrize("kind", KINDS)
def test_equal_texts_give_an_equal_tokenizer(kind: Kind) -> None:
    code = (
        "import random, sys; from tests.text.samples import odd_text; from textxfer.text.subword import *\n"
        "texts = [odd_text(seed) for seed in range(60)]; random.Random(int(sys.argv[1])).shuffle(texts)\n"
        f"print(SubwordTokenizer.train(iter(texts), 700, {kind!r}).fingerprint)"
    )
    found = set()
    for seed, threads in (("1", "1"), ("2", "2"), ("3", "2")):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "RAYON_NUM_THREADS": threads}
        done = subprocess.run(
            [sys.executable, "-c", code, seed], capture_output=True, text=True, check=True, env=environment
        )
        found.add(done.stdout.strip())
    assert len(found) == 1
    assert all(found)


@pytest.mark.parametrize("kind", KINDS)
def test_round_trips(kind: Kind) -> None:
    trained = TRAINED[kind]
    again = SubwordTokenizer.from_dict(json.loads(json.dumps(trained.to_dict())))
    pickled = pickle.loads(pickle.dumps(trained))
    assert isinstance(trained, Tokenizer)
    assert again == trained == pickled
    assert len({again, trained, pickled}) == 1
    assert again.pieces == trained.pieces == pickled.pieces
    assert again(TEXTS[3]) == trained(TEXTS[3]) == pickled(TEXTS[3])


def test_fingerprints_differ() -> None:
    model = TRAINED["bpe"].to_dict()["model"]
    different = [
        *TRAINED.values(),
        SubwordTokenizer(model, "fastai"),
        SubwordTokenizer(model, normalize=None),
        SubwordTokenizer(model, normalize="NFKC"),
    ]
    assert len({trained.fingerprint for trained in different}) == len(different)


def test_rules_decide_the_specials() -> None:
    trained = SubwordTokenizer.train(TEXTS, 900, rules="2018")
    assert trained.specials == trained.pieces[: len(trained.specials)] == rules("2018").specials
    assert "xxmaj" not in trained("Hello World")
    assert glued(trained("hello")) == " xxbos  xxfld ▁1▁hello"


@pytest.mark.parametrize(
    ("form", "text", "equal"),
    [
        ("NFC", "cafe\u0301", "café"),
        ("NFKC", "cafe\u0301", "café"),
        ("NFKC", "ﬁne ＡＢ ①", "fine AB 1"),  # noqa: RUF001
    ],
)
def test_normalization(form: Form, text: str, equal: str) -> None:
    plain = replace(rules("default"), normalize=False)
    model = TRAINED["bpe"].to_dict()["model"]
    assert SubwordTokenizer(model, plain, form)(text) == SubwordTokenizer(model, plain, None)(equal)
    assert SubwordTokenizer(model, plain, None)(text) != SubwordTokenizer(model, plain, None)(equal)


def test_remembering_changes_nothing_and_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("textxfer.text.memory.MEMO_SIZE", 40)
    trained = SubwordTokenizer.from_dict(TRAINED["bpe"].to_dict())
    for _ in range(2):
        for text in TEXTS[:20]:
            alone = [token for tokens in trained.tokenize_chunks(trained.chunks(text)) for token in tokens]
            assert trained(text) == ["xxbos", *alone] == TRAINED["bpe"](text)
            assert len(trained._young) <= 40 + len(set(trained.chunks(text)))
            assert len(trained._old) <= 40 + len(set(trained.chunks(text)))


def test_words_can_be_encoded_without_a_text() -> None:
    assert WORDS.encode_words(["▁hello", "hello", "", "▁", "\ud800"]) == [
        ["▁hello"],
        *WORDS.encode_words(["hello"]),
        [],
        ["▁"],
        ["<0xEF>", "<0xBF>", "<0xBD>"],
    ]
    assert "".join(WORDS.encode_words(["hello"])[0]) == "hello"


def test_rare_characters_can_be_left_to_bytes() -> None:
    texts = ["aaa bbb ab ba"] * 100 + ["ж"]
    assert "ж" in SubwordTokenizer.train(texts, 400, coverage=1.0).pieces
    trained = SubwordTokenizer.train(texts, 400, coverage=0.99)
    assert {"a", "b"} <= set(trained.pieces)
    assert "ж" not in trained.pieces
    assert join_pieces(trained("aж"))[1:] == ["aж"]


def test_equal_words_are_counted_together() -> None:
    counts = count_words(["Hello hello (HELLO)", "hello!!!!"], Spelling(rules("default")))
    assert counts == {"▁hello": 3, "▁(": 1, "hello": 1, ")": 1, "4": 1, "▁!": 1}


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("hello", ["hello"]),
        ("(hello),", ["(", "hello", "),"]),
        ("don't", ["don't"]),
        ("O'Neil", ["O", "'", "Neil"]),
        ("dogs'", ["dogs", "'"]),
        ("a_b-c", ["a", "_", "b", "-", "c"]),
        ("cafe\u0301!", ["cafe\u0301", "!"]),
        ("हिन्दी।", ["हिन्दी", "।"]),
        ("می\u200cروم", ["می\u200cروم"]),
        ("👨\u200d👩\u200d👧🏽x", ["👨\u200d👩\u200d👧🏽", "x"]),
        ("\u0301a", ["\u0301", "a"]),
        ("你好，世界", ["你好", "，", "世界"]),  # noqa: RUF001
    ],
)
def test_segments(word: str, expected: list[str]) -> None:
    assert segments(word) == expected


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ([], []),
        (["xxbos", "xxpad"], ["xxbos", "xxpad"]),
        (["lo", "▁hel", "lo"], ["lo", "hello"]),
        (["xxmaj", "▁über", "mut", "xxup", "-", "xxup", "a"], ["Übermut-A"]),
        (["▁a", "xxmaj", "▁b"], ["a", "B"]),
        (["▁a", "xxup"], ["a"]),
        (["xxrep"], []),
        (["▁a", "xxrep", "many", "▁b"], ["amany", "b"]),
        (["▁a", "xxrep", "1", "2", "▁b"], ["a" + "b" * 12]),
        (["xxrep", "▁", "3", "▁", "<0xC3>", "<0xA9>"], ["ééé"]),
        (["xxrep", "9" * 9, "▁a"], ["a" * MAX_REPEATS]),
        (["xxrep", "9" * 5000, "▁a"], ["9" * 5000, "a"]),
        (["▁a", "<0xC3>", "▁b"], ["a\ufffd", "b"]),
        (["▁a", "\n", "▁b", "\n\n", "c"], ["a", "\n", "b", "\n\n", "c"]),
        (["xxunk", "▁a", "xxunk"], ["xxunk", "a", "xxunk"]),
        (["xxwrep", "▁4", "xxup", "▁no", "▁!"], ["xxwrep", "4", "NO", "!"]),
        (["xxfld", "▁1", "▁a"], ["xxfld", "1", "a"]),
    ],
)
def test_joining_pieces(tokens: list[str], expected: list[str]) -> None:
    assert join_pieces(tokens) == expected


@settings(deadline=None, max_examples=300)
@given(st.lists(st.sampled_from([*SPECIALS, "\n", WORD, "▁3", "4", "▁a", "ß", "'", "x", "<0xE2>", "<0x96>", "<0x81>"])))
def test_any_pieces_give_text(tokens: list[str]) -> None:
    words = join_pieces(tokens)
    assert all(words)
    assert not {"xxup", "xxmaj", "xxrep"} & set(words)
    assert detokenize(words) == detokenize(words).strip()


def test_detokenizing_after_joining() -> None:
    text = "It was GREAT, wasn't it? NO NO NO NO! (Really), sooooo good.\n\nPlan B and/or $5."
    assert detokenize(join_pieces(TRAINED["bpe"](text))) == text


@pytest.mark.parametrize(("unit", "length"), [("ab", 1_000_000), ("!?", 200_000), ("\u0301\u0327", 200_000)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_long_word_does_not_hang(unit: str, length: int, kind: Kind) -> None:
    start = time.process_time()
    tokens = TRAINED[kind](unit * (length // len(unit)))
    assert tokens[0] == "xxbos"
    assert time.process_time() - start < 20  # seconds; quadratic cost would take many minutes


def test_training_reads_texts_once_and_leaves_the_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    order = random.Random(1).sample(TEXTS, len(TEXTS))
    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    assert SubwordTokenizer.train(iter(order), 900) == TRAINED["bpe"]
    assert "TOKENIZERS_PARALLELISM" not in os.environ
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")
    SubwordTokenizer.train(order, 900)
    assert os.environ["TOKENIZERS_PARALLELISM"] == "true"


def test_bad_arguments() -> None:
    with pytest.raises(DataError, match="no words in the texts"):
        SubwordTokenizer.train([])
    with pytest.raises(DataError, match="no words in the texts"):
        SubwordTokenizer.train(["", " \n "])
    with pytest.raises(TypeError, match="not one string"):
        SubwordTokenizer.train("text")
    with pytest.raises(ValueError, match="kind must be 'bpe' or 'unigram', not 'wordpiece'"):
        SubwordTokenizer.train(TEXTS, kind="wordpiece")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="normalize must be 'NFC', 'NFKC' or None, not 'NFD'"):
        SubwordTokenizer.train(TEXTS, normalize="NFD")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"coverage=0 must be a share in \(0, 1\]"):
        SubwordTokenizer.train(TEXTS, coverage=0)
    with pytest.raises(ValueError, match="no rules called 'mine'"):
        SubwordTokenizer.train(TEXTS, rules="mine")


@pytest.mark.parametrize("kind", KINDS)
def test_the_smallest_size_is_said_and_works(kind: Kind) -> None:
    with pytest.raises(ValueError, match=r"size=100 is too small: .* 266 pieces, .* texts 4; take at least 271"):
        SubwordTokenizer.train(["abc abc"], 100, kind)
    trained = SubwordTokenizer.train(["abc abc"], 271, kind)
    assert 270 <= len(trained.pieces) <= 271
    assert join_pieces(trained("cab b"))[1:] == ["cab", "b"]


@pytest.mark.parametrize("cut", [0, 1, 1000, -1])
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_model_is_refused(kind: Kind, cut: int) -> None:
    value = TRAINED[kind].to_dict()
    with pytest.raises(DataError, match=r"model of the subword tokenizer is damaged .*train it again"):
        SubwordTokenizer.from_dict({**value, "model": value["model"][:cut]})


def test_a_foreign_model_is_refused() -> None:
    value = TRAINED["bpe"].to_dict()
    words = {"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}, "version": "1.0", "added_tokens": []}
    without = json.loads(value["model"])
    del without["model"]["vocab"][BYTES[-1]]
    random_cuts = json.loads(value["model"])
    random_cuts["model"]["dropout"] = 0.1
    for foreign in (words, without, random_cuts):
        with pytest.raises(DataError, match="damaged: not one with bytes"):
            SubwordTokenizer(json.dumps(foreign))
    with pytest.raises(DataError, match="without rules, model"):
        SubwordTokenizer.from_dict({"normalize": None})
    with pytest.raises(DataError, match="a string is needed, not a dict"):
        SubwordTokenizer.from_dict({**value, "model": {}})


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    for attempt in (lambda: SubwordTokenizer.train(TEXTS), lambda: SubwordTokenizer("{}")):
        with pytest.raises(ImportError, match="pip install tokenizers"):
            attempt()


def test_the_package_is_imported_only_when_it_is_used() -> None:
    code = "import sys; from textxfer.text import subword; print({'tokenizers'} & {*sys.modules})"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "set()"
