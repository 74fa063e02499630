"""Training a model of subword pieces with the package `tokenizers`, so that equal texts give equal models.

References: byte-pair encoding, Sennrich et al. 2016; unigram models, Kudo 2018; both cut words only at places that
they have learned, so the number of tokens stays small and every text can be written.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import accumulate
from typing import Any, Literal, get_args

from textxfer.text.document import DataError, MissingPackageError
from textxfer.text.spelling import BYTES, LINE_BREAKS, LITERAL, WORD, Spelling

Kind = Literal["bpe", "unigram"]

UNKNOWN = "<unk>"
"""A name that the library asks for; bytes stand for unknown characters, so no text ever gives it."""

_FLUSH = 1 << 18
_BLOCK = 1 << 10
_DIGITS = 6


def library() -> Any:
    """Return the package `tokenizers`.

    Raises:
        MissingPackageError: It is not installed.
    """
    try:
        import tokenizers
    except ImportError as error:
        raise MissingPackageError("SubwordTokenizer needs the package tokenizers (pip install tokenizers)") from error
    return tokenizers


def count_words(texts: Iterable[str], spelling: Spelling) -> Counter[str]:
    """Count the strings that are to be cut into pieces.

    Args:
        texts: The texts, read once; memory grows with the number of distinct words, not of texts.
        spelling: How texts become words.

    Raises:
        TypeError: `texts` is one string.
        DataError: There are no words in the texts.
    """
    if isinstance(texts, str):
        raise TypeError("texts must be several texts, not one string")
    counts: Counter[str] = Counter()
    chunks: Counter[str] = Counter()  # texts repeat their words: each is spelled once
    for text in texts:
        chunks.update(spelling.chunks(text))
        if len(chunks) > _FLUSH:
            _spell(chunks, spelling, counts)
    _spell(chunks, spelling, counts)
    if not counts:
        raise DataError("there are no words in the texts to train a subword tokenizer on; pass texts that have some")
    return counts


def train_model(counts: Mapping[str, int], size: int, kind: Kind, coverage: float, n_marks: int) -> str:
    """Train a model of pieces.

    Args:
        counts: How often each word occurs.
        size: Largest number of pieces, at least one more than those that must be there.
        kind: `bpe` or `unigram`.
        coverage: Share of the characters of all words that have pieces of their own, in (0, 1].
        n_marks: How many of the pieces are special tokens of the rules.

    Returns:
        The model as JSON, as `tokenizers.Tokenizer.from_str` reads it.

    Raises:
        ValueError: An argument is out of its range, or `size` too small for the characters of the words.
    """
    if kind not in get_args(Kind):
        raise ValueError(f"kind must be 'bpe' or 'unigram', not {kind!r}")
    if not 0 < coverage <= 1:
        raise ValueError(f"coverage={coverage} must be a share in (0, 1]")
    alphabet = _alphabet(counts, coverage)
    fixed = n_marks + len(LINE_BREAKS) + len(BYTES)
    if size <= fixed + len(alphabet):
        raise ValueError(
            f"size={size} is too small: special tokens, line breaks and bytes are {fixed} pieces, the characters of "
            f"the texts {len(alphabet)}; take at least {fixed + len(alphabet) + 1}, or a coverage below {coverage}"
        )
    words = _within(counts, alphabet)
    make = _bpe if kind == "bpe" else _unigram
    model = make(words, alphabet, size - fixed)
    rest = ("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder")
    return json.dumps({"version": "1.0", **dict.fromkeys(rest), "added_tokens": [], "model": model})


def _spell(chunks: Counter[str], spelling: Spelling, counts: Counter[str]) -> None:
    """Move the counts of chunks to those of their words; marks and line breaks are no words."""
    whole = {*spelling.rules.specials, *LINE_BREAKS, *BYTES}
    for chunk, n in chunks.items():
        for word in spelling.words(chunk):
            if word not in whole:
                counts[word] += n
    chunks.clear()


def _alphabet(counts: Mapping[str, int], coverage: float) -> list[str]:
    """Return the characters that get pieces, the mark of words first; ties are broken by the character."""
    characters: Counter[str] = Counter()
    for word, n in counts.items():
        for character in word.removeprefix(WORD):
            characters[character] += n
    characters.pop(LITERAL, None)
    ranked = sorted(characters, key=lambda character: (-characters[character], character))
    needed = coverage * characters.total()
    before = accumulate((characters[character] for character in ranked), initial=0)
    return [WORD, *sorted(character for character, n in zip(ranked, before) if n < needed)]


def _within(counts: Mapping[str, int], alphabet: list[str]) -> dict[str, int]:
    """Cut words where a character is not in the alphabet; sorted, so that the order of texts makes no difference."""
    other = re.compile(f"[^{''.join(map(re.escape, alphabet))}]+")
    words: Counter[str] = Counter()
    for word, n in counts.items():
        for part in other.split(word):
            if part:
                words[part] += n
    return dict(sorted(words.items()))


def _bpe(words: Mapping[str, int], alphabet: list[str], size: int) -> dict[str, Any]:
    tokenizers = library()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    model = _train(tokenizers.models.BPE(), trainer, words)
    for piece in BYTES:
        model["vocab"][piece] = len(model["vocab"])
    return {**model, "byte_fallback": True}


def _unigram(words: Mapping[str, int], alphabet: list[str], size: int) -> dict[str, Any]:
    """Train, and take out of the scores what depends on the order of the library's hash tables.

    Sums come in an order that differs from run to run, which shows in the last digits. Single characters that the
    training would have dropped get the lowest score of all plus a little that counts them in that order.
    """
    tokenizers = library()
    trainer = tokenizers.trainers.UnigramTrainer(
        vocab_size=size + 1,  # with UNKNOWN
        initial_alphabet=alphabet,
        special_tokens=[UNKNOWN],
        unk_token=UNKNOWN,
        show_progress=False,
    )
    model = _train(tokenizers.models.Unigram(), trainer, words)
    scores = {piece: score for piece, score in model["vocab"] if piece != UNKNOWN}
    lowest = min(scores.values())
    dropped = lowest + 1e-4 * len(alphabet)
    scores = {
        piece: round(lowest if len(piece) == 1 and score < dropped else score, _DIGITS)
        for piece, score in scores.items()
    }
    ranked = sorted(scores, key=lambda piece: (len(piece) > 1, -scores[piece] if len(piece) > 1 else 0, piece))
    vocab = [[UNKNOWN, 0.0], *([piece, scores[piece]] for piece in ranked)]
    vocab += [[piece, round(lowest, _DIGITS)] for piece in BYTES]
    return {"type": "Unigram", "unk_id": 0, "vocab": vocab, "byte_fallback": True}


def _train(model: Any, trainer: Any, words: Mapping[str, int]) -> dict[str, Any]:
    tokenizers = library()
    whole = tokenizers.Tokenizer(model)
    whole.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    with _one_thread():
        whole.train_from_iterator(_blocks(words), trainer)
    return json.loads(whole.to_str())["model"]


def _blocks(words: Mapping[str, int]) -> Iterator[str]:
    """Yield each word as often as it occurs, since the library counts itself; in strings of moderate length."""
    for word, n in words.items():
        for start in range(0, n, _BLOCK):
            yield " ".join([word] * min(_BLOCK, n - start))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep the library from starting threads: sums depend on their number, and it warns of every later fork."""
    name = "TOKENIZERS_PARALLELISM"
    before = os.environ.get(name)
    os.environ[name] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
