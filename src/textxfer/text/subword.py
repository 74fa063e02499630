"""A tokenizer of subword pieces, trained on the texts: a small vocabulary in which nothing is unknown."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

from textxfer.text.document import DataError
from textxfer.text.files import fingerprint
from textxfer.text.memory import Remembering
from textxfer.text.rule_sets import rules, rules_from_dict
from textxfer.text.spelling import BYTES, LINE_BREAKS, LITERAL, WORD, Form, Spelling, as_bytes
from textxfer.text.subword_train import UNKNOWN, Kind, count_words, library, train_model
from textxfer.text.text_rules import TextRules

_LITERALS = re.compile(f"({LITERAL})")
_UNUSABLE = re.compile("[\ud800-\udfff]")


class SubwordTokenizer(Remembering):
    """Pieces of words as tokens; `train` makes one from texts.

    Rules, case marks and line breaks are those of the other tokenizers; `textxfer.text.spelling` says how words are
    written as pieces. Every text can be written: characters that have no piece become bytes, so `xxunk` is there only
    where the text has it. Joined again (`join_pieces`), the pieces are the text up to case that the rules do not mark,
    the form of white space and normalization.

    Args:
        model: The model as JSON, from `train` or `to_dict`; it holds everything, no other file is needed.
        rules: Rules, or the name of ready-made ones: `default`, `2018`, `fastai`.
        normalize: Form of Unicode that texts are brought to before the rules: `NFC`, `NFKC` or None.

    Raises:
        DataError: The model is damaged.
        MissingPackageError: The package `tokenizers` is not installed.
    """

    kind = "subword"

    def __init__(self, model: str, rules: str | TextRules = "default", normalize: Form | None = "NFC") -> None:
        super().__init__()
        self._spelling = Spelling(_rules(rules), normalize)
        self._json = model
        self._digest = hashlib.sha256(model.encode("utf-8", "surrogatepass")).hexdigest()
        self._load()

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        size: int = 8000,
        kind: Kind = "bpe",
        rules: str | TextRules = "default",
        normalize: Form | None = "NFC",
        *,
        coverage: float = 0.9999,
    ) -> SubwordTokenizer:
        """Train a tokenizer; equal texts give an equal one, whatever their order.

        Args:
            texts: The texts, read once. Only their distinct words are held in memory.
            size: Largest number of tokens, special ones and the 256 bytes included. Few texts give fewer.
            kind: `bpe` (byte-pair encoding, Sennrich et al. 2016) or `unigram` (Kudo 2018).
            rules: Rules, or the name of ready-made ones.
            normalize: Form of Unicode that texts are brought to before the rules: `NFC`, `NFKC` or None.
            coverage: Share of the characters in the texts that get pieces of their own, in (0, 1]; the rarest others
                are written as bytes.

        Returns:
            The tokenizer.

        Raises:
            DataError: The texts hold no words.
            ValueError: `size` is too small for the characters of the texts, or an argument is out of its range.
            MissingPackageError: The package `tokenizers` is not installed.
        """
        library()  # before the texts are read
        spelling = Spelling(_rules(rules), normalize)
        counts = count_words(texts, spelling)
        model = train_model(counts, size, kind, coverage, len(spelling.rules.specials))
        return cls(model, spelling.rules, normalize)

    @property
    def rules(self) -> TextRules:
        """The rules that work on texts before they are cut into pieces."""
        return self._spelling.rules

    @property
    def normalize(self) -> Form | None:
        """The form of Unicode that texts are brought to before the rules."""
        return self._spelling.normalize

    @property
    def specials(self) -> tuple[str, ...]:
        """Special tokens in the order of their ids."""
        return self.rules.specials

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that decides the tokens (model, rules and normalization)."""
        parts = {"kind": self.kind, "rules": self.rules.fingerprint, "normalize": self.normalize, "model": self._digest}
        return fingerprint(parts)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON object, the model in it, from which `from_dict` builds this tokenizer again."""
        rules = self.rules.to_dict()
        return {"kind": self.kind, "rules": rules, "normalize": self.normalize, "model": self._json}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> SubwordTokenizer:
        """Build a tokenizer from what `to_dict` returned.

        Args:
            value: `rules`, `normalize` and `model`, as strings and JSON values.

        Returns:
            The tokenizer.

        Raises:
            DataError: Something is missing, or the model is damaged.
            ValueError: A parameter is wrong.
        """
        if missing := [key for key in ("rules", "normalize", "model") if key not in value]:
            raise DataError(f"subword tokenizer without {', '.join(missing)}: it is damaged, train it again")
        if not isinstance(value["model"], str):
            raise DataError(f"{_DAMAGED}: a string is needed, not a {type(value['model']).__name__}; train it again")
        return cls(value["model"], rules_from_dict(value["rules"]), value["normalize"])

    def chunks(self, text: str) -> list[str]:
        """Return the words of a text; line breaks are words of their own."""
        return self._spelling.chunks(text)

    def tokenize_chunks(self, chunks: Sequence[str]) -> list[tuple[str, ...]]:
        """Return the tokens of each word; unlike a call this remembers nothing."""
        spelled = [self._spelling.words(chunk) for chunk in chunks]
        words = [word for word in dict.fromkeys(chain.from_iterable(spelled)) if word not in self._whole]
        pieces = dict(zip(words, self.encode_words(words)))
        return [tuple([piece for word in parts for piece in pieces.get(word) or (word,)]) for parts in spelled]

    def encode_words(self, words: list[str]) -> list[list[str]]:
        """Return the pieces of each word.

        Args:
            words: Words as `Spelling.words` returns them: lower case, without white space, `▁` before those that begin
                one. Marks of the rules are not meant to be among them.
        """
        # One by one: the library's call for many starts threads and takes twice the time for words as short as these.
        return [self._encode(word) for word in words]

    def _encode(self, word: str) -> list[str]:
        if not word.isascii():
            word = _UNUSABLE.sub("\ufffd", word)
        if LITERAL in word:
            parts = [as_bytes(WORD) if part == LITERAL else self._encode(part) for part in _LITERALS.split(word)]
            return list(chain.from_iterable(parts))
        pieces = [token.value for token in self._model.tokenize(word)]
        if not self._marks.isdisjoint(pieces):  # a piece that only looks like a mark, from inside of a longer word
            pieces = [part for piece in pieces for part in (piece if piece in self._marks else (piece,))]
        return pieces

    def _load(self) -> None:
        self._model, learned = _read(self._json)
        fixed = (*self.specials, *LINE_BREAKS, *BYTES)
        self._marks, self._whole = frozenset(self.specials), frozenset(fixed)
        self.pieces: tuple[str, ...] = tuple(dict.fromkeys([*fixed, *learned]))
        """All tokens that there can be, the special ones first: the vocabulary."""

    def __getstate__(self) -> dict[str, Any]:
        """Leave the library's object and the memory behind: each process makes its own."""
        return {name: vars(self)[name] for name in ("_spelling", "_json", "_digest")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._load()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SubwordTokenizer) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        return f"SubwordTokenizer({len(self.pieces)} pieces, rules={self.rules.name!r}, normalize={self.normalize!r})"


_DAMAGED = "the model of the subword tokenizer is damaged"
_rules = rules


def _read(model: str) -> tuple[Any, list[str]]:
    """Return the library's model and its pieces in the order of their ids."""
    tokenizers = library()
    try:
        loaded = tokenizers.Tokenizer.from_str(model)
        found = json.loads(model)["model"]
    except Exception as error:  # the library raises nothing more special
        raise DataError(f"{_DAMAGED} ({error}); train it again") from None
    ids: dict[str, int] = loaded.get_vocab(with_added_tokens=False)
    if found.get("dropout") or not found.get("byte_fallback") or not {WORD, *BYTES} <= ids.keys():
        raise DataError(f"{_DAMAGED}: not one with bytes for unknown characters, as `train` makes it; train it again")
    return loaded.model, sorted((piece for piece in ids if piece != UNKNOWN), key=ids.__getitem__)
