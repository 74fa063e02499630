"""Tokenizers: text in, tokens out, each word looked at once.

A word's tokens depend on nothing but the word (`neighbours` has spaCy's exceptions), so what became of it can be
remembered. Running text repeats its words: with a warm memory a text costs one look-up per word. The plain way, rule
by rule over the whole text, is `reference`; tests hold both to the same tokens.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import numpy as np

from textxfer.text.document import DataError, MissingPackageError
from textxfer.text.files import fingerprint
from textxfer.text.memory import Remembering
from textxfer.text.neighbours import Neighbours
from textxfer.text.rule_sets import rules
from textxfer.text.text_rules import TextRules
from textxfer.text.words import split_word

_RENEW_SPACY = 1 << 18  # words; a hundred bytes are kept of each


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
        """Return the tokens of a text, `xxbos` first.

        Args:
            text: Any text, also an empty one.
        """
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


class _WordTokenizer(Remembering):
    """Rules around a function that splits words."""

    kind = ""

    def __init__(self, preset: str | TextRules) -> None:
        super().__init__()
        self.rules = rules(preset)

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

    def reference(self, text: str) -> list[str]:
        """Return the same tokens the plain way: all rules, the tokenizer and all rules again over the whole text.

        Args:
            text: Any text, also an empty one.
        """
        return self.rules.post(self._split_text(self.rules.pre(text)))

    def chunks(self, text: str) -> list[str]:
        """Return the words of a text; line breaks are words of their own."""
        return self.rules.chunks(text)

    def tokenize_chunks(self, chunks: Sequence[str]) -> list[tuple[str, ...]]:
        """Return the tokens of each word; unlike a call this remembers nothing."""
        rules = self.rules
        units = ["" if chunk.isspace() else " ".join(map(rules.pre_chunk, chunk.split(" "))) for chunk in chunks]
        split = iter(self._split([unit for unit in units if unit]))
        spaces = [[chunk] if chunk.isspace() else [] for chunk in chunks]
        return [tuple(rules.post_chunk(next(split) if unit else space)) for unit, space in zip(units, spaces)]

    @abstractmethod
    def _split(self, units: list[str]) -> list[list[str]]:
        """Split each unit, words with single spaces between them, into tokens."""

    @abstractmethod
    def _split_text(self, text: str) -> list[str]:
        """Split a whole text into tokens, white space that is a token included."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _WordTokenizer) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)


class SpacyTokenizer(_WordTokenizer):
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

    def chunks(self, text: str) -> list[str]:
        """Return the words of a text; words that spaCy may look at together, with spaces, and line breaks as words."""
        chunks = super().chunks(text)
        self._load_spacy(0)
        return self._neighbours.join(chunks) if self._neighbours else _lines(chunks)

    def _split(self, units: list[str]) -> list[list[str]]:
        if not units:
            return []
        spacy_tokenizer = self._load_spacy(len(units))
        # One call for all, since making spaCy's Doc costs more than tokenizing a word. Nothing is looked at across a
        # line break.
        doc = spacy_tokenizer("\n".join(units))
        orths = doc.to_array("ORTH")
        breaks = np.flatnonzero(orths == doc.vocab.strings["\n"])
        if len(breaks) != len(units) - 1:  # a language that treats white space in its own way
            return [[token.text for token in spacy_tokenizer(unit)] for unit in units]
        tokens = list(map(doc.vocab.strings.__getitem__, orths.tolist()))
        return [tokens[start + 1 : stop] for start, stop in pairwise([-1, *breaks.tolist(), len(tokens)])]

    def _split_text(self, text: str) -> list[str]:
        return [token.text for token in self._load_spacy(text.count(" "))(text)]

    def _load_spacy(self, n_words: int) -> Any:
        """Return spaCy's tokenizer; now and then a new one, since it keeps every word that it ever saw."""
        self._seen += n_words
        if self._spacy is None or self._seen > _RENEW_SPACY:
            self._spacy, self._seen = _blank(self.language), n_words
            if isinstance(getattr(self._spacy, "rules", None), dict):
                # Attributes of words (shape, norm, "like a number") cost more than the tokens, and nobody reads them.
                self._spacy.vocab.lex_attr_getters = {}
                self._neighbours = self._neighbours or Neighbours(self._spacy)
        return self._spacy

    def _forget_spacy(self) -> None:
        self._spacy: Any = None
        self._seen = 0
        self._neighbours: Neighbours | None = None  # stays None where a language's tokenizer is not spaCy's usual one

    def __getstate__(self) -> dict[str, Any]:
        """Leave spaCy behind, too."""
        return {
            key: value for key, value in super().__getstate__().items() if key not in ("_spacy", "_seen", "_neighbours")
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._forget_spacy()

    def __repr__(self) -> str:
        return f"SpacyTokenizer(language={self.language!r}, rules={self.rules.name!r})"


class RulesTokenizer(_WordTokenizer):
    """A tokenizer of regular expressions only: no spaCy, any language that puts spaces between words.

    Words, numbers and punctuation come apart, English contractions in two ("do", "n't"); ideographs stand alone.

    Args:
        rules: Rules, or the name of ready-made ones: `default`, `2018`, `fastai`.
    """

    kind = "rules"

    def __init__(self, rules: str | TextRules = "default") -> None:
        super().__init__(rules)

    def _split(self, units: list[str]) -> list[list[str]]:
        return [[token for word in unit.split() for token in split_word(word)] for unit in units]

    def _split_text(self, text: str) -> list[str]:
        words = re.findall(r"\n+|[^ \n]+", text)
        return [token for word in words for token in ([word] if word[0] == "\n" else split_word(word))]

    def __repr__(self) -> str:
        return f"RulesTokenizer(rules={self.rules.name!r})"


def _lines(chunks: Sequence[str]) -> list[str]:
    """Join the words of each line: for tokenizers that look at words in their context."""
    lines: list[str] = []
    after_word = False
    for chunk in chunks:
        if after_word and not chunk.isspace():
            lines[-1] += f" {chunk}"
        else:
            lines.append(chunk)
        after_word = not chunk.isspace()
    return lines


def _blank(language: str) -> Any:
    try:
        import spacy
    except ImportError as error:
        raise MissingPackageError(
            "SpacyTokenizer needs spaCy (pip install spacy); RulesTokenizer does without"
        ) from error
    try:
        return spacy.blank(language).tokenizer
    except ImportError as error:
        reason = str(error).rstrip(".")
        raise DataError(
            f"spaCy cannot tokenize {language!r}: {reason}. RulesTokenizer (--tokenizer rules) needs no language; "
            "--tokenizer unigram suits languages without spaces"
        ) from error
