"""The rules of fastai 2.8's text tokenizer, token for token, so that models and habits can be carried over.

Case is marked before the text is cut into tokens, at words between white space: "GREAT!" becomes `xxup great !`,
"Hello," `xxmaj hello ,`; three equal characters are a run, numbers included; line breaks stay as they are. Two defects
are repaired unless asked for: the remains of HTML entities were replaced inside words too ("camp;" became "c&", "&amp;"
"&&"), and only ASCII capitals at the very start of a word were seen ("ÜBER" and a quoted "GREAT" lost their mark). In
any case words of more than 8,192 characters are cut, since spaCy takes quadratic time on them.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from operator import eq
from typing import Any

from textxfer.text.files import fingerprint
from textxfer.text.specials import BOS, MAJ, REP, SPECIALS, UNK, UP, WREP

KIND = "fastai"
DONE = "\0"
"""Begins a chunk that all rules have seen already and `pre_chunk` must leave alone."""

_VERSION = 1
_LONGEST = 1 << 13
_REMAINS = {"#39;": "'", "amp;": "&", "#146;": "'", "nbsp;": " ", "#36;": "$", "quot;": "'"}
_WHOLE_REMAINS = re.compile(r"(?<!&)(?:#39|#146|#36|(?<![^\W_])(?:amp|nbsp|quot));")
_ESCAPES = {"\\n": "\n", "<br />": "\n", '\\"': '"', "<unk>": UNK, " @.@ ": ".", " @-@ ": "-", "...": " …"}
_ENDS_IN_SEMICOLON = re.compile("amp;|quot;|nbsp;|#39;|#146;|#36;")
_UNUSABLE = re.compile("[\0\ud800-\udfff]")
_RUN = re.compile(r"(\S)\1\1+")
_WORD_RUN = re.compile(r"(\w)\1\1")
_REPEATED = re.compile(r"(?:^|\s)(\w+)\s+(?:\1\s+)+\1(\s|\W|$)")
_SPACED = re.compile(r"[/#\\]")
_SPACES = re.compile("  +")
_WORDS = re.compile(r"\S+|[^\S ]\s*")
_SPACE_AFTER_BREAK = re.compile(r"[^\S ] ?(?:[/#\\]|(\S)\1\1)")
_ASCII_CAPITALS = re.compile("[A-Z]+[^a-z]*")
_ASCII_CAPITALISED = re.compile("[A-Z][^A-Z]*")
_LEAD = re.compile(r"^[\W_]+")


@dataclass(frozen=True)
class FastaiRules:
    """The rules; `rules("fastai")` is the repaired set.

    Args:
        name: What the set is called.
        defects: Whether to have the two defects, too.
    """

    name: str = "fastai"
    defects: bool = False

    @property
    def specials(self) -> tuple[str, ...]:
        """The special tokens in the order of their ids."""
        return SPECIALS

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what decides the tokens."""
        return fingerprint({"kind": KIND, "version": _VERSION, "defects": self.defects})

    def pre(self, text: str) -> str:
        """Return the text as spaCy is to see it.

        Args:
            text: A text as it came.
        """
        text = _RUN.sub(_mark_run, self._unescape(text))
        text = _REPEATED.sub(_mark_repeat, text)
        text = _SPACES.sub(" ", _SPACED.sub(r" \g<0> ", text))
        return "".join([self._mark_case(part) for part in re.split(r"(\s+)", text)]).strip()

    def post(self, tokens: Sequence[str]) -> list[str]:
        """Return the tokens of a text as the model is to see them.

        Args:
            tokens: What the tokenizer made of the text that `pre` returned.
        """
        return [BOS, *self.post_chunk(tokens)]

    def chunks(self, text: str) -> list[str]:
        """Return the words of a text as it is, and between them the white space that spaCy makes tokens of.

        A text in which words act on each other goes through `pre` as a whole.

        Args:
            text: A text as it came.
        """
        plain = self._unescape(text)
        words = plain.split()
        if (
            True in map(eq, words, islice(words, 1, None))  # may be a repeated word
            or _WORD_RUN.search(plain)  # may become one, once the run is marked
            or _SPACE_AFTER_BREAK.search(plain)  # the rules add a space to what is white space already
        ):
            return [self._done(word) for word in _WORDS.findall(self.pre(text))]
        return _WORDS.findall(_SPACES.sub(" ", plain).strip())

    def pre_chunk(self, chunk: str) -> str:
        """Rewrite one word; spaces in the result separate what is to be tokenized apart.

        Args:
            chunk: One of `chunks`.

        Returns:
            The word as the tokenizer is to see it.
        """
        if chunk.startswith(DONE):
            return chunk.removeprefix(DONE)
        chunk = _SPACED.sub(r" \g<0> ", _RUN.sub(_mark_run, chunk))
        return " ".join([self._mark_case(word) for word in chunk.split()])

    def post_chunk(self, tokens: Sequence[str]) -> list[str]:
        """Return tokens with the spaces in them made visible.

        Args:
            tokens: Tokens of one word.
        """
        return [token.replace(" ", "▁") for token in tokens]

    def to_dict(self) -> dict[str, Any]:
        """Return the parameters as a JSON object."""
        return {"kind": KIND, **asdict(self)}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> FastaiRules:
        """Build rules from what `to_dict` returned.

        Args:
            value: Fields by name; those left out have their defaults.

        Returns:
            The rules.

        Raises:
            ValueError: A parameter is unknown.
        """
        if unknown := sorted(set(value) - {"kind", "name", "defects"}):
            raise ValueError(f"the rules of kind {KIND!r} have no parameter {', '.join(unknown)}")
        return cls(value.get("name", "fastai"), bool(value.get("defects", False)))

    def _unescape(self, text: str) -> str:
        if "\0" in text or not text.isascii():
            text = _UNUSABLE.sub("\ufffd", text)  # what no encoding can hold, and DONE
        if ";" in text and _ENDS_IN_SEMICOLON.search(text):
            if self.defects:
                for remains, character in _REMAINS.items():
                    text = text.replace(remains, character)
            else:
                text = _WHOLE_REMAINS.sub(lambda match: _REMAINS[match.group()], text)
        for written, meant in _ESCAPES.items():
            if written in text:
                text = text.replace(written, meant)
        return html.unescape(text) if "&" in text else text

    def _mark_case(self, word: str) -> str:
        """Return a word, or white space, in lower case and with its mark."""
        lower = word.lower()
        if len(lower) > _LONGEST and not lower.isspace():
            return " ".join([lower[i : i + _LONGEST] for i in range(0, len(lower), _LONGEST)])
        if lower == word:
            return word
        core = word if self.defects else _LEAD.sub("", word, count=1)
        mark = self._mark(core) if len(core) > 1 else None
        return f"{mark} {lower}" if mark else lower

    def _mark(self, word: str) -> str | None:
        if self.defects or word.isascii():
            capitals, capitalised = _ASCII_CAPITALS.fullmatch(word), _ASCII_CAPITALISED.fullmatch(word)
        else:
            capital = word[:1].isupper()
            capitals = capital and not any(map(str.islower, word))
            capitalised = capital and not any(map(str.isupper, word[1:]))
        return UP if capitals else MAJ if capitalised else None

    def _done(self, word: str) -> str:
        return word if word.isspace() or self.pre_chunk(word) == word else DONE + word


def _mark_run(match: re.Match[str]) -> str:
    return f" {REP} {len(match.group())} {match.group(1)} "


def _mark_repeat(match: re.Match[str]) -> str:
    word, behind = match.groups()
    n = len(match.group()[: match.end(2) - match.start() - len(behind)].split())
    return f" {WREP} {n} {word} {behind}"
