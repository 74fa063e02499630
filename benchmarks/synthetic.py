"""Made-up text from fixed seeds: words as frequent as in running text, documents as long as reviews; no download."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from textxfer.presets import PAPER
from textxfer.recipe import Dropouts, Recipe, Training
from textxfer.task import TaskData
from textxfer.text import BOS, SPECIALS, RulesTokenizer, TokenStore, Vocab
from textxfer.text.store_files import Built, id_dtype
from textxfer.training import Optimizer

N_CLASSES, CLIP = 2, 0.25
# Reviews of IMDb have about 280 tokens; mean and deviation of the logarithm for that mean and a spread of 210.
_LOG_MEAN, _LOG_DEVIATION, _SHORTEST, _LONGEST = 5.41, 0.67, 10, 2500
_CONSONANTS, _VOWELS = "bcdfghjklmnpqrstvwxz", "aeiou"


def zipf(n: int, vocab: int, seed: int = 0) -> np.ndarray:
    """Return ids of ordinary words, the k-th most frequent one with a probability of about 1 / (k + 2.7)."""
    first = len(SPECIALS)
    weights = 1 / (np.arange(vocab - first) + 2.7)
    edges = np.cumsum(weights / weights.sum())
    drawn = np.searchsorted(edges, np.random.default_rng(seed).random(n), side="right")
    return (first + drawn.clip(max=vocab - first - 1)).astype(np.int64)


def lengths(n: int, seed: int = 0) -> np.ndarray:
    """Return the lengths of `n` documents in tokens: log-normal, mean about 280, at most 2,500."""
    drawn = np.random.default_rng(seed).lognormal(_LOG_MEAN, _LOG_DEVIATION, n)
    return drawn.round().astype(np.int64).clip(_SHORTEST, _LONGEST)


def filling(n_tokens: int, seed: int = 0) -> np.ndarray:
    """Return lengths of documents that have `n_tokens` tokens together."""
    drawn = lengths(n_tokens // _SHORTEST + 1, seed)
    count = int(np.searchsorted(drawn.cumsum(), n_tokens))
    rest = n_tokens - int(drawn[:count].sum())
    return np.append(drawn[:count], rest) if rest else drawn[:count]


@cache
def vocabulary(size: int) -> Vocab:
    """Return special tokens and made-up words, `size` in all."""
    return Vocab([*SPECIALS, *(_word(i) for i in range(size - len(SPECIALS)))])


def store(sizes: np.ndarray, vocab: int, seed: int = 0) -> TokenStore:
    """Return documents of the given sizes, with classes in turn, held in memory."""
    ids = zipf(int(sizes.sum()), vocab, seed)
    ids[np.cumsum(sizes) - sizes] = vocabulary(vocab).tokens.index(BOS)
    return store_of(ids.astype(id_dtype(vocabulary(vocab))), sizes, vocab)


def store_of(ids: np.ndarray, sizes: np.ndarray, vocab: int) -> TokenStore:
    """Return documents of the given sizes that have these ids, uint16 or uint32 as in a store.

    They are put together as ids: nothing has to be tokenized, and the number of tokens is exact.
    """
    numbers = np.arange(len(sizes))
    offsets = np.append(0, np.cumsum(sizes)).astype(np.int64)
    arrays = {"offsets": offsets, "rows": numbers + 1, "labels": numbers % N_CLASSES}
    meta = {"label_kind": "single", "classes": [f"class {i}" for i in range(N_CLASSES)], "types": vocab}
    return TokenStore(Built(None, ids, arrays, vocabulary(vocab), RulesTokenizer(), meta))


def texts(source: TokenStore) -> list[str]:
    """Return the documents of a store as text."""
    tokens = source.vocab.tokens
    return [" ".join(tokens[i] for i in source[row][1:]) for row in range(len(source))]


def task(sizes: np.ndarray, vocab: int) -> TaskData:
    """Return the documents as what `textxfer.ulmfit` trains on."""
    return TaskData(store(sizes, vocab))


def recipe(embed: int, hidden: int, layers: int, training: Training) -> Recipe:
    """Return a recipe with these sizes and one way of training for all models."""
    sizes = replace(PAPER, embed=embed, hidden=hidden, layers=layers, max_tokens=1400)
    return replace(sizes, pretrain=training, finetune=training, classify=training)


def training(batch_size: int, dropout: float = 1.0, classifier: bool = False) -> Training:
    """Return the paper's dropouts times a factor, AR 2, TAR 1, clipping and AdamW."""
    base = PAPER.classify if classifier else PAPER.finetune
    dropouts: Dropouts = base.dropouts.scaled(dropout)
    optimizer = Optimizer("adamw", betas=(0.8, 0.99), weight_decay=0.01)
    return Training(base.stages, dropouts, batch_size=batch_size, bptt=70, optimizer=optimizer, clip=CLIP)


def _word(number: int) -> str:
    """Return a pronounceable word; letters never stand twice in a row, so no text rule changes it."""
    syllables = len(_CONSONANTS) * len(_VOWELS)
    word = ""
    for _ in range(3):
        number, syllable = divmod(number, syllables)
        word += _CONSONANTS[syllable // len(_VOWELS)] + _VOWELS[syllable % len(_VOWELS)]
    return word
