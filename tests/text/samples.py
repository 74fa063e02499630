"""Texts made from seeds, and small stores of them."""

from __future__ import annotations

import numpy as np

from textxfer.text.document import Document
from textxfer.text.specials import SPECIALS
from textxfer.text.store import TokenStore
from textxfer.text.tokenizer import RulesTokenizer
from textxfer.text.vocab import Vocab

SYLLABLES = ["ba", "ke", "li", "mo", "nu", "ra", "so", "ti", "vu", "zen", "stra", "ö", "ж"]
ODDITIES = [
    *(
        "DON'T",
        "can't",
        "It's",
        "U.S.A.",
        "e.g.",
        "10/10",
        "3.5%",
        "$5.99",
        "http://a.b/c?d=1&e=2",
        "me@here.org",
        ":-)",
    ),
    *("soooooo", "WOOOOW", "!!!!!!", "...", "....", "--", "(well-known)", '"Quoted"', "'tis", "“ÜBER”", "don\u2019t"),
    *("ПРИВЕТ", "Straße", "naïve", "👍🏽", "👨\u200d👩\u200d👧", "🇩🇪", "你好世界", "हिन्दी", "x_y_z", "#tag", "@user"),
    *("&amp;", "&lt;b&gt;", "camp;", "no no no no no", "<br />", "<br/><br />", "\n", "\n\n\n", "  ", "\t", "\u00a0"),
    *("\r\n", "\u2003", "I", "A", "iPhone"),
]


def words(rng: np.random.Generator, n: int) -> list[str]:
    """Made-up words with the frequencies of a language: few common, many rare."""
    ranks = np.minimum(rng.zipf(1.5, n), 400)
    return ["".join(SYLLABLES[(rank * k + rank) % len(SYLLABLES)] for k in range(1 + rank % 3)) for rank in ranks]


def odd_text(seed: int, n: int = 60) -> str:
    """A text with all that is hard about texts."""
    rng = np.random.default_rng(seed)
    parts = []
    for word in words(rng, n):
        kind = rng.random()
        if kind < 0.3:
            word = ODDITIES[rng.integers(len(ODDITIES))]
        elif kind < 0.4:
            word = word.upper()
        elif kind < 0.5:
            word = word.capitalize()
        parts.append(word + str(rng.choice(["", "", ",", ".", "!", "\n"])) + str(rng.choice([" ", " ", " ", "  ", ""])))
    return "".join(parts)


def documents(n: int, seed: int = 0, classes: int = 3, longest: int = 40) -> list[Document]:
    """Labelled documents of various lengths."""
    rng = np.random.default_rng(seed)
    return [
        Document(" ".join(words(rng, rng.integers(1, longest))), f"class {rng.integers(classes)}", row)
        for row in range(1, n + 1)
    ]


def toy_store(n: int = 50, seed: int = 0, classes: int = 3, longest: int = 40) -> TokenStore:
    """A store in memory, of the documents above."""
    return TokenStore.build(None, documents(n, seed, classes, longest), RulesTokenizer())


def numbered_store(lengths: list[int]) -> TokenStore:
    """A store in which every token but `xxbos` occurs once, so that each can be followed."""
    vocab = Vocab([*SPECIALS, *(f"w{i}" for i in range(sum(lengths)))])
    firsts = np.cumsum([0, *lengths[:-1]])
    texts = [" ".join(f"w{first + i}" for i in range(length)) for first, length in zip(firsts, lengths)]
    return TokenStore.build(None, texts, RulesTokenizer(), vocab=vocab)
