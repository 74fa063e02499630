from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.text.samples import odd_text
from textxfer.text import encode
from textxfer.text.encode import START, Numbering, expand, pieces, slices, split_piece, tokenize_slice
from textxfer.text.specials import BOS, SPECIALS
from textxfer.text.tokenizer import ChunkTokenizer, RulesTokenizer, SpacyTokenizer, Tokenizer


class WhiteSpace:
    """The least that a tokenizer of one's own must have."""

    specials = SPECIALS
    fingerprint = "white space"

    def __call__(self, text: str) -> list[str]:
        return [BOS, *text.split()]

    def to_dict(self) -> dict[str, str]:
        return {"kind": "white space"}


TOKENIZERS = [SpacyTokenizer(), SpacyTokenizer(rules="2018"), RulesTokenizer(), WhiteSpace()]


def tokens(tokenizer: Tokenizer, texts: list[str]) -> list[list[str]]:
    """The tokens of texts by way of chunks."""
    piece = split_piece(tokenizer, texts)
    assert piece.chunks[0] == START
    after = tokenize_slice(tokenizer, piece.chunks[1:])
    ids = np.concatenate([[len(after.types)], after.ids])
    lengths = np.concatenate([[1], after.lengths])
    names = [*after.types, BOS]
    found = []
    for numbers in np.split(piece.numbers, np.cumsum(piece.lengths)[:-1]):
        found.append([names[i] for i in expand(numbers, ids, lengths)])
    return found


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=lambda t: type(t).__name__)
def test_chunks_lead_to_the_tokens(tokenizer: Tokenizer) -> None:
    texts = [odd_text(seed) for seed in range(30)] + ["", " \n ", "one"]
    assert tokens(tokenizer, texts) == [tokenizer(text) for text in texts]


@settings(deadline=None, max_examples=150)
@given(st.lists(st.text(), min_size=1, max_size=5))
def test_chunks_and_the_plain_reference_agree(texts: list[str]) -> None:
    for tokenizer in (TOKENIZERS[0], TOKENIZERS[2]):
        assert isinstance(tokenizer, SpacyTokenizer | RulesTokenizer)
        assert tokens(tokenizer, texts) == [tokenizer.reference(text) for text in texts]


def test_what_is_a_chunk_tokenizer() -> None:
    assert [isinstance(tokenizer, ChunkTokenizer) for tokenizer in TOKENIZERS] == [True, True, True, False]


def test_numbering() -> None:
    numbering = Numbering()
    assert numbering.of(["b", "a", "b"]).tolist() == [0, 1, 0]
    assert numbering.of(["c", "a"]).tolist() == [2, 1]
    assert list(numbering) == ["b", "a", "c"]


def test_pieces_and_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "PIECE_CHARACTERS", 5)
    monkeypatch.setattr(encode, "SLICE_CHUNKS", 2)
    assert list(pieces(["abc", "", "de", "fghijkl", "m"])) == [["abc", "", "de"], ["fghijkl"], ["m"]]
    assert list(pieces([])) == []
    assert list(slices(["a", "b", "c"])) == [["a", "b"], ["c"]]
    assert list(slices([])) == []


def test_slices_of_long_chunks_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "SLICE_CHARACTERS", 5)
    assert list(slices(["abc", "de", "f", "ghijklmn", "o"])) == [["abc", "de"], ["f"], ["ghijklmn"], ["o"]]


def test_expanding_chunks_without_tokens() -> None:
    ids, lengths = np.array([7, 8, 9]), np.array([2, 0, 1])
    assert expand(np.array([2, 1, 0, 1, 0]), ids, lengths).tolist() == [9, 7, 8, 7, 8]
    assert expand(np.array([], np.int64), ids, lengths).tolist() == []
