"""The rules that turn text into something a word-level model can share across words.

A model that sees "GREAT", "Great" and "great" as three unrelated words learns each from a third of the evidence. The
rules write them as one word and a mark: `xxup great`, `xxmaj great`, `great`; "sooooo" becomes `s xxrep 5 o`, "no no
no no" becomes `xxwrep 4 no` (Howard & Ruder 2018, section 4.1; the token names are fastai's).

Rules are written twice. `pre` and `post` say plainly what happens to a whole text and to all of its tokens. The same
rules in pieces let a tokenizer look at each distinct word once: `chunks` cuts a text into words, `pre_chunk` sees one
of them, `post_chunk` the tokens of one; they depend on nothing else. Tests hold both to the same result.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from operator import eq
from typing import Any

from textxfer.text.cleaning import clean, collapse_words, tidy_spaces
from textxfer.text.files import fingerprint
from textxfer.text.specials import BOS, FLD, MAJ, PAD, REP, SPECIALS, UNK, UP, WREP

VERSION = 2
"""Goes up when the same parameters give other tokens than before, in the rules or in `split_word`.

Models and stores of another version are refused. A correction that leaves nearly every text as it was does not raise
it, or they would be lost for nothing: `clean` has since left "bug #1234;" and "&timestamp;" as they are.
"""
MAX_CHUNK = 256
"""Longer strings without white space are cut: they are no words, and spaCy takes quadratic time on them."""

_RESERVED = frozenset({PAD, BOS})
_SPACED = re.compile(r"([/#\\])")
_CONTRACTION = re.compile(r"(?<![^\W_])[^\W\d_]{1,64}(?:['\u2019][^\W\d_]{1,64}){1,4}(?![^\W_])")
_FORGED = re.compile(r"(?<![^\W_])(xx)(unk|pad|bos|rep|wrep|up|maj)(?![^\W_])", re.IGNORECASE)


@dataclass(frozen=True)
class Rules:
    """One set of rules; `rule_sets.rules(name)` returns the ready-made ones.

    Args:
        name: What the set is called.
        repeat_chars: From how many equal characters on a run is written `xxrep n c`.
        repeat_digits: Whether digits count as characters here; if so 10000 is a run.
        repeat_words: From how many equal words on a run is written `xxwrep n w`.
        min_upper: From how many letters on a word in capitals is marked `xxup`; others lose their case unmarked.
        mark_capitalised: Whether a capitalised word is marked `xxmaj`.
        mark_single: Whether that holds for single letters, too ("Plan B"); never for "I", which is no name in English.
        mark_fields: Whether a text of one field begins with `xxfld 1`.
        normalize: Whether to bring characters to one form: Unicode NFC, straight quotes, three dots for the ellipsis,
            Windows-1252 for C1 controls, no soft hyphens or zero-width spaces.

    Raises:
        ValueError: A number is below its least value: 2 for runs, 1 for `min_upper`.
    """

    name: str
    repeat_chars: int = 4
    repeat_digits: bool = False
    repeat_words: int = 4
    min_upper: int = 2
    mark_capitalised: bool = True
    mark_single: bool = True
    mark_fields: bool = False
    normalize: bool = True

    def __post_init__(self) -> None:
        for field in ("repeat_chars", "repeat_words"):
            if getattr(self, field) < 2:
                raise ValueError(f"{field}={getattr(self, field)} must be at least 2")
        if self.min_upper < 1:
            raise ValueError(f"min_upper={self.min_upper} must be at least 1")

    @property
    def specials(self) -> tuple[str, ...]:
        """The special tokens in the order of their ids; `xxunk` is 0, `xxpad` is 1."""
        return SPECIALS if self.mark_capitalised else tuple(token for token in SPECIALS if token != MAJ)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the parameters and of the version of the rules; the name does not matter."""
        parameters = {key: value for key, value in self.to_dict().items() if key != "name"}
        return fingerprint({"version": VERSION, **parameters})

    def pre(self, text: str) -> str:
        """Return the text as the tokenizer is to see it.

        Args: as `TextRules.pre`.
        """
        words = re.split(r"([ \n]+)", self.pre_document(text))
        return "".join([self.pre_chunk(word) if word.strip() else word for word in words])

    def post(self, tokens: Sequence[str]) -> list[str]:
        """Return the tokens of a text as the model is to see them.

        Args: as `TextRules.post`.
        """
        return [BOS, *self.post_chunk(tokens)]

    def pre_document(self, text: str) -> str:
        """Clean a text: entities, line breaks, spaces, repeated words, marks of fields.

        Args:
            text: A text as it came.

        Returns:
            Words with one space or line break between them; two line breaks stand for an empty line.
        """
        lines = tidy_spaces(self._clean(text)).split("\n")
        text = "\n".join([collapse_words(line, self.repeat_words, WREP) for line in lines])
        if self.mark_fields and not text.startswith(FLD):
            text = f"{FLD} 1 {text}".strip()
        return text

    def chunks(self, text: str) -> list[str]:
        """Return what `pre_document` leaves as a list: words, and a string of line breaks between lines.

        Args: as `TextRules.chunks`.
        """
        chunks: list[str] = []
        blank = 0
        for line in self._clean(text).split("\n"):
            if words := line.split():
                if chunks:
                    chunks.append("\n\n" if blank else "\n")
                blank = 0
                if True in map(eq, words, islice(words, 1, None)):
                    words = collapse_words(" ".join(words), self.repeat_words, WREP).split(" ")
                chunks += words
            else:
                blank += 1
        if self.mark_fields and not (chunks and chunks[0].startswith(FLD)):
            chunks = [FLD, "1", *chunks]
        return chunks

    def pre_chunk(self, chunk: str) -> str:
        """Rewrite one word; spaces in the result separate what is to be tokenized apart.

        Args and Returns: as `TextRules.pre_chunk`.
        """
        if chunk.isascii() and len(chunk) <= MAX_CHUNK and not self._odd.search(chunk):
            return chunk
        if self.repeat_chars <= 3:
            chunk = chunk.replace("...", "…")  # three dots are no elongation
        word = self._run.sub(_mark_run, chunk)
        if word != chunk and chunk.isupper() and _n_letters(chunk) >= self.min_upper:
            word = f"{UP} {word.lower()}"
        if len(word) > MAX_CHUNK:
            word = " ".join([word[i : i + MAX_CHUNK] for i in range(0, len(word), MAX_CHUNK)])
        if self.normalize and not word.isascii():
            # Part by part: normalization takes quadratic time on long sequences of combining marks.
            word = " ".join([unicodedata.normalize("NFC", part) for part in word.split(" ")])
        if "'" in word or "\u2019" in word:
            word = _CONTRACTION.sub(self._lower_contraction, word)
        word = _SPACED.sub(r" \1 ", word)
        return " ".join(word.split()) if " " in word else word

    def post_chunk(self, tokens: Sequence[str]) -> list[str]:
        """Lower the case of tokens and put marks before those that had one.

        Args:
            tokens: Tokens of one word or of a whole text.

        Returns:
            The tokens as the model is to see them.
        """
        marked: list[str] = []
        for token in tokens:
            lower = token.lower()
            if lower in _RESERVED:  # a text that claims to be padding, or two documents
                marked += [lower[:2], lower[2:]]
                continue
            if lower != token and (mark := self._case_mark(token)):
                marked.append(mark)
            marked.append(lower)
        return marked

    def to_dict(self) -> dict[str, Any]:
        """Return the parameters as a JSON object."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Rules:
        """Build rules from what `to_dict` returned.

        Args:
            value: Fields by name; those left out have their defaults.

        Returns:
            The rules.

        Raises:
            ValueError: A parameter is unknown.
        """
        known = set(cls.__dataclass_fields__)
        if unknown := sorted(set(value) - known):
            raise ValueError(f"rules have no parameter {', '.join(unknown)}; they have {', '.join(sorted(known))}")
        return cls(**value)

    def _clean(self, text: str) -> str:
        text = clean(text, self.normalize)
        if "xx" in text or "XX" in text or "Xx" in text or "xX" in text:
            text = _FORGED.sub(r"\1 \2", text)  # or a text could claim to be padding
        return text.replace("<unk>", UNK) if "<unk>" in text else text

    @cached_property
    def _run(self) -> re.Pattern[str]:
        character = r"\S" if self.repeat_digits else r"[^\s\d]"
        return re.compile(rf"({character})\1{{{self.repeat_chars - 1},}}")

    @cached_property
    def _odd(self) -> re.Pattern[str]:
        """What a word of ASCII characters must have for `pre_chunk` to change it."""
        return re.compile(rf"['/#\\]|{self._run.pattern}")

    def _lower_contraction(self, match: re.Match[str]) -> str:
        # Tokenizers know contractions in lower case only: "DON'T" would stay one rare word.
        word = match.group()
        if not word.isupper():
            return word
        return f" {UP} {word.lower()}" if _n_letters(word) >= self.min_upper else word.lower()

    def _case_mark(self, token: str) -> str | None:
        if token.isupper() and _n_letters(token) >= self.min_upper:
            return UP
        if not self.mark_capitalised or token[1:] != token[1:].lower():
            return None
        return MAJ if len(token) > 1 or (self.mark_single and token != "I") else None


def _mark_run(match: re.Match[str]) -> str:
    run = match.group()
    return f" {REP} {len(run)} {run[0].lower()} "


def _n_letters(word: str) -> int:
    return sum(map(str.isalpha, word))
