"""Tokenizers: text in, tokens out, each word looked at once.

No rule and no tokenizer here looks across white space (`Rules.pre_document` has done so before), so what became of a
word can be remembered. Running text repeats its words: with a warm memory a text costs one look-up per word.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import chain
from typing import Any, Protocol, runtime_checkable

from textxfer.text.files import fingerprint
from textxfer.text.rules import BOS, Rules, rules
from textxfer.text.words import split_word

MEMO_SIZE = 1 << 18
"""Words in one generation of the memory; at most two generations live at a time."""
_LONGEST_REMEMBERED = 48
_LINE_BREAKS: dict[str, tuple[str, ...]] = {"": (), "\n": ("\n",), "\n\n": ("\n\n",)}


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


class _RememberingTokenizer(ABC):
    """Rules and memory around a function that splits words."""

    kind = ""

    def __init__(self, preset: str | Rules) -> None:
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
        text = self.rules.pre_document(text)
        if "\n" in text:  # a line break is a word of its own
            text = text.replace("\n", " \n ").replace(" \n  \n ", " \n\n ")
        chunks = text.split(" ")
        memo = self._young
        missing = set(chunks).difference(memo)
        if not missing:
            return [BOS, *chain.from_iterable(map(memo.__getitem__, chunks))]
        new = self._learn(missing)
        return [BOS, *chain.from_iterable([new[chunk] if chunk in new else memo[chunk] for chunk in chunks])]

    def _learn(self, chunks: set[str]) -> dict[str, tuple[str, ...]]:
        """Return the tokens of words that the young generation does not know, and remember them."""
        old = self._old
        known = {chunk: old[chunk] for chunk in chunks if chunk in old}
        known |= self._tokenize([chunk for chunk in chunks if chunk not in known])
        if len(self._young) + len(known) > MEMO_SIZE:
            self._age()
        self._young.update(item for item in known.items() if len(item[0]) <= _LONGEST_REMEMBERED)
        return known

    def _tokenize(self, chunks: list[str]) -> dict[str, tuple[str, ...]]:
        parts = [self.rules.pre_chunk(chunk).split() for chunk in chunks]
        tokens = iter(self._split(list(chain.from_iterable(parts))))
        return {
            chunk: tuple(self.rules.post_chunk([token for _ in words for token in next(tokens)]))
            for chunk, words in zip(chunks, parts)
        }

    @abstractmethod
    def _split(self, words: list[str]) -> list[list[str]]:
        """Split each word, a string without white space, into tokens."""

    def _age(self) -> None:
        """Begin a new generation; words still in use will be taken over from the old one."""
        self._old, self._young = self._young, dict(_LINE_BREAKS)

    def _forget(self) -> None:
        self._old: dict[str, tuple[str, ...]] = {}
        self._young: dict[str, tuple[str, ...]] = dict(_LINE_BREAKS)

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

    def __init__(self, language: str = "en", rules: str | Rules = "default") -> None:
        super().__init__(rules)
        self.language = language
        self._spacy: Any = None

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON object from which `tokenizer_from_dict` builds this tokenizer again."""
        return {**super().to_dict(), "language": self.language}

    def _split(self, words: list[str]) -> list[list[str]]:
        if not words:
            return []
        spacy_tokenizer = self._spacy or _blank(self.language)
        self._spacy = spacy_tokenizer
        # One call for all words, since making spaCy's Doc costs more than tokenizing a word. A line break between them
        # keeps words apart that spaCy would look at together: ":" and ")" with a space between.
        split: list[list[str]] = [[]]
        for token in spacy_tokenizer("\n".join(words)):
            if token.text == "\n":
                split.append([])
            else:
                split[-1].append(token.text)
        if len(split) != len(words):  # a language whose tokenizer treats white space in a way of its own
            split = [[token.text for token in spacy_tokenizer(word)] for word in words]
        return split

    def _age(self) -> None:
        super()._age()
        self._spacy = None  # spaCy keeps every word it ever saw

    def __getstate__(self) -> dict[str, Any]:
        """Leave spaCy behind, too."""
        return {**super().__getstate__(), "_spacy": None}

    def __repr__(self) -> str:
        return f"SpacyTokenizer(language={self.language!r}, rules={self.rules.name!r})"


class RulesTokenizer(_RememberingTokenizer):
    """A tokenizer of regular expressions only: no spaCy, any language that puts spaces between words.

    Words, numbers and punctuation come apart, English contractions in two ("do", "n't"); ideographs stand alone.

    Args:
        rules: Rules, or the name of ready-made ones: `default`, `2018`, `fastai`.
    """

    kind = "rules"

    def __init__(self, rules: str | Rules = "default") -> None:
        super().__init__(rules)

    def _split(self, words: list[str]) -> list[list[str]]:
        return [split_word(word) for word in words]

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
