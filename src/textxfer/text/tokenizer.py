"""Tokenizers: text in, tokens out, each word looked at once.

No tokenizer here looks across white space, and of the rules only `chunks` does, so what became of a word can be
remembered. Running text repeats its words: with a warm memory a text costs one look-up per word. The plain way, rule
by rule over the whole text, is `reference`; tests hold both to the same tokens.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import chain, islice, pairwise
from typing import Any, Protocol, runtime_checkable

import numpy as np

from textxfer.text.files import fingerprint
from textxfer.text.rules import BOS, Rules, TextRules, rules
from textxfer.text.words import split_word

MEMO_SIZE = 1 << 18
"""Words in one generation of the memory; at most two generations live at a time."""
_LONGEST_REMEMBERED = 48
_RENEW_SPACY = 1 << 18


@runtime_checkable
class Tokenizer(Protocol):
    """What the rest of the package needs of a tokenizer."""

    @property
    def specials(self) -> tuple[str, ...]:
        """Special tokens in the order of their ids."""
        ...

    @property
    def fingerprint(self) -> str:
        """Equal if and only if two tokenizers do the same."""
        ...

    def __call__(self, text: str) -> list[str]:
        """Return the tokens of a text, `xxbos` first."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Return what `tokenizer_from_dict` needs."""
        ...


@runtime_checkable
class ChunkTokenizer(Tokenizer, Protocol):
    """A tokenizer that can be asked in two steps, so that a corpus costs one look at each distinct word.

    `[BOS, *tokens of all chunks]` must be what a call with the text returns.
    """

    def chunks(self, text: str) -> list[str]:
        """Return the text as pieces whose tokens depend on nothing but the piece."""
        ...

    def tokenize_chunks(self, chunks: Sequence[str]) -> list[tuple[str, ...]]:
        """Return the tokens of each chunk."""
        ...


class _RememberingTokenizer(ABC):
    """Rules and memory around a function that splits words."""

    kind = ""

    def __init__(self, preset: str | TextRules) -> None:
        self.rules = rules(preset)
        self._forget()

    @property
    def specials(self) -> tuple[str, ...]:
        """Special tokens in the order of their ids."""
        return self.rules.specials

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that decides the tokens."""
        return fingerprint({**self.to_dict(), "rules": self.rules.fingerprint})

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON object from which `tokenizer_from_dict` builds this tokenizer again."""
        return {"kind": self.kind, "rules": self.rules.to_dict()}

    def __call__(self, text: str) -> list[str]:
        """Return the tokens of a text, `xxbos` first.

        Args:
            text: Any text, also an empty one.
        """
        chunks = self.chunks(text)
        memo = self._young
        missing = set(chunks).difference(memo)
        if missing:
            memo = {**self._learn(missing), **{chunk: memo[chunk] for chunk in chunks if chunk in memo}}
        return [BOS, *chain.from_iterable(map(memo.__getitem__, chunks))]

    def reference(self, text: str) -> list[str]:
        """Return the same tokens the plain way: all rules, the tokenizer and all rules again over the whole text."""
        return self.rules.post(self._split_text(self.rules.pre(text)))

    def chunks(self, text: str) -> list[str]:
        """Return the words of a text; line breaks are words of their own."""
        return self.rules.chunks(text)

    def tokenize_chunks(self, chunks: Sequence[str]) -> list[tuple[str, ...]]:
        """Return the tokens of each word; unlike a call this remembers nothing."""
        rules = self.rules
        parts = [[] if chunk.isspace() else rules.pre_chunk(chunk).split() for chunk in chunks]
        split = iter(self._split(list(chain.from_iterable(parts))))
        tokens = [
            list(chain.from_iterable(islice(split, len(words)))) if words else [chunk]
            for chunk, words in zip(chunks, parts)
        ]
        return [tuple(rules.post_chunk(each)) for each in tokens]

    def _learn(self, chunks: set[str]) -> dict[str, tuple[str, ...]]:
        """Return the tokens of words that the young generation does not know, and remember them."""
        old = self._old
        known = {chunk: old[chunk] for chunk in chunks if chunk in old}
        new = [chunk for chunk in chunks if chunk not in known]
        known |= zip(new, self.tokenize_chunks(new))
        if len(self._young) + len(known) > MEMO_SIZE:
            self._old, self._young = self._young, {}  # words still in use will be taken over
        self._young.update(item for item in known.items() if len(item[0]) <= _LONGEST_REMEMBERED)
        return known

    @abstractmethod
    def _split(self, words: list[str]) -> list[list[str]]:
        """Split each word, a string without white space, into tokens."""

    @abstractmethod
    def _split_text(self, text: str) -> list[str]:
        """Split a whole text into tokens, white space that is a token included."""

    def _forget(self) -> None:
        self._old: dict[str, tuple[str, ...]] = {}
        self._young: dict[str, tuple[str, ...]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave the memory behind: each process builds its own."""
        return {key: value for key, value in vars(self).items() if key not in ("_young", "_old")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._forget()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _RememberingTokenizer) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)


class SpacyTokenizer(_RememberingTokenizer):
    """spaCy's tokenizer of a language, without any model.

    Args:
        language: spaCy's code of the language, such as `en`.
        rules: Rules, or the name of ready-made ones: `default`, `2018`, `fastai`.
    """

    kind = "spacy"

    def __init__(self, language: str = "en", rules: str | TextRules = "default") -> None:
        super().__init__(rules)
        self.language = language
        self._forget_spacy()

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON object from which `tokenizer_from_dict` builds this tokenizer again."""
        return {**super().to_dict(), "language": self.language}

    def _split(self, words: list[str]) -> list[list[str]]:
        if not words:
            return []
        spacy_tokenizer = self._load_spacy(len(words))
        # One call for all words, since making spaCy's Doc costs more than tokenizing a word. A token followed by a
        # space is the last one of its word.
        doc = spacy_tokenizer(" ".join(words))
        orths, spaces = doc.to_array(["ORTH", "SPACY"]).T if len(doc) else (np.zeros(0), np.zeros(0))
        ends = np.flatnonzero(spaces) + 1
        if len(ends) != len(words) - 1:  # white space among the words, or a language that treats it in its own way
            return [[token.text for token in spacy_tokenizer(word)] for word in words]
        tokens = list(map(doc.vocab.strings.__getitem__, orths.tolist()))
        bounds = [0, *ends.tolist(), len(tokens)]
        return [tokens[start:stop] for start, stop in pairwise(bounds)]

    def _split_text(self, text: str) -> list[str]:
        return [token.text for token in self._load_spacy(text.count(" "))(text)]

    def _load_spacy(self, n_words: int) -> Any:
        """Return spaCy's tokenizer; now and then a new one, since it keeps every word that it ever saw."""
        self._seen += n_words
        if self._spacy is None or self._seen > _RENEW_SPACY:
            self._spacy, self._seen = _blank(self.language), n_words
        return self._spacy

    def _forget_spacy(self) -> None:
        self._spacy: Any = None
        self._seen = 0

    def __getstate__(self) -> dict[str, Any]:
        """Leave spaCy behind, too."""
        return {key: value for key, value in super().__getstate__().items() if key not in ("_spacy", "_seen")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._forget_spacy()

    def __repr__(self) -> str:
        return f"SpacyTokenizer(language={self.language!r}, rules={self.rules.name!r})"


class RulesTokenizer(_RememberingTokenizer):
    """A tokenizer of regular expressions only: no spaCy, any language that puts spaces between words.

    Words, numbers and punctuation come apart, English contractions in two ("do", "n't"); ideographs stand alone.

    Args:
        rules: Rules, or the name of ready-made ones: `default`, `2018`, `fastai`.
    """

    kind = "rules"

    def __init__(self, rules: str | TextRules = "default") -> None:
        super().__init__(rules)

    def _split(self, words: list[str]) -> list[list[str]]:
        return [split_word(word) for word in words]

    def _split_text(self, text: str) -> list[str]:
        words = re.findall(r"\n+|[^ \n]+", text)
        return [token for word in words for token in ([word] if word[0] == "\n" else split_word(word))]

    def __repr__(self) -> str:
        return f"RulesTokenizer(rules={self.rules.name!r})"


def tokenizer_from_dict(value: dict[str, Any]) -> Tokenizer:
    """Build a tokenizer from what its `to_dict` returned.

    Raises:
        ValueError: It is a kind of tokenizer that this version does not know, or a parameter is wrong.
    """
    kind = value.get("kind")
    if kind == SpacyTokenizer.kind:
        return SpacyTokenizer(value["language"], Rules.from_dict(value["rules"]))
    if kind == RulesTokenizer.kind:
        return RulesTokenizer(Rules.from_dict(value["rules"]))
    raise ValueError(f"unknown kind of tokenizer {kind!r}; this version knows 'spacy' and 'rules'")


def _blank(language: str) -> Any:
    try:
        import spacy
    except ImportError as error:
        raise ImportError("SpacyTokenizer needs spaCy (pip install spacy); RulesTokenizer does without") from error
    try:
        return spacy.blank(language).tokenizer
    except ImportError as error:
        raise ValueError(f"spaCy cannot tokenize {language!r}: {error}") from error
