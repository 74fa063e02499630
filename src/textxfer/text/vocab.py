"""The vocabulary: which token has which id. Made once, deterministic, and it never grows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from heapq import nsmallest
from itertools import chain, repeat
from pathlib import Path
from typing import cast

import numpy as np

from textxfer.files import write_json
from textxfer.text.document import DataError
from textxfer.text.files import fingerprint, read_json
from textxfer.text.specials import BOS, PAD, UNK

FORMAT = 1


class Vocab:
    """A fixed list of tokens; the position of a token is its id.

    Args:
        tokens: The tokens, without repeats; must contain `xxunk` and `xxpad`.
        counts: How often each was seen in the text the vocabulary comes from. The count of `xxunk` is that of all
            tokens left out, so shares of the text can be told. None: not known.

    Raises:
        ValueError: Repeated tokens, a special token missing, or counts that do not fit.
    """

    def __init__(self, tokens: Sequence[str], counts: Sequence[int] | None = None) -> None:
        self.tokens: tuple[str, ...] = tuple(tokens)
        self.counts: list[int] | None = None if counts is None else [int(count) for count in counts]
        self._index = {token: i for i, token in enumerate(self.tokens)}
        if len(self._index) != len(self.tokens):
            raise ValueError(f"a vocabulary cannot hold a token twice: {_repeated(self.tokens)}")
        for special in (UNK, PAD):
            if special not in self._index:
                raise ValueError(f"a vocabulary needs the token {special!r}")
        if self.counts is not None and len(self.counts) != len(self.tokens):
            raise ValueError(f"{len(self.counts)} counts for {len(self.tokens)} tokens")
        self.unk_id = self._index[UNK]
        self.pad_id = self._index[PAD]

    @classmethod
    def from_counts(
        cls,
        counts: Mapping[str, int] | Iterable[tuple[str, int]],
        specials: Iterable[str],
        max_size: int = 60_000,
        min_count: int = 2,
        keep: Sequence[str] = (),
    ) -> Vocab:
        """Choose the most frequent tokens; ties are broken by the token, so the result has no accidents.

        Args:
            counts: Number of occurrences of each token; pairs, each token once, are read one by one and not kept.
            specials: Tokens that come first whatever their counts.
            max_size: Largest number of tokens, special ones included; exact, never rounded.
            min_count: Tokens seen less often are left out.
            keep: Tokens to have in any case, such as those of a pretrained model; the others of them follow the
                chosen tokens, on top of `max_size`.

        Returns:
            The vocabulary; its unknown token has the counts of all tokens left out.

        Raises:
            ValueError: `max_size` leaves no room for anything but special tokens, or `min_count` is below 1.
        """
        first = list(specials)
        if max_size <= len(first):
            raise ValueError(f"max_size={max_size} must be greater than the number of special tokens, {len(first)}")
        if min_count < 1:
            raise ValueError(f"min_count={min_count} must be at least 1")
        pairs = cast("Iterable[tuple[str, int]]", counts.items() if isinstance(counts, Mapping) else counts)
        special, found, total = set(first), dict.fromkeys([*first, *keep], 0), 0

        def candidates() -> Iterator[tuple[int, str]]:
            nonlocal total
            for token, n in pairs:
                total += n
                if token in found:
                    found[token] = int(n)
                if n >= min_count and token not in special:
                    yield -int(n), token

        chosen = {token: -n for n, token in nsmallest(max_size - len(first), candidates())}
        taken = special | chosen.keys()
        tokens = [*first, *chosen, *(token for token in dict.fromkeys(keep) if token not in taken)]
        kept = [chosen[token] if token in chosen else found[token] for token in tokens]
        kept[tokens.index(UNK)] += total - sum(kept)
        return cls(tokens, kept)

    @property
    def bos_id(self) -> int:
        """Id of `xxbos`, with which every document starts; KeyError if the vocabulary has none."""
        return self[BOS]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the tokens in their order, equal if and only if ids mean the same."""
        return fingerprint(self.tokens)

    def ids(self, tokens: Sequence[str]) -> np.ndarray:
        """Return the ids of tokens (int64, (N,)); those not in the vocabulary become `xxunk`.

        Args:
            tokens: N tokens.
        """
        return np.fromiter(map(self._index.get, tokens, repeat(self.unk_id)), np.int64, len(tokens))

    def to_tokens(self, ids: Iterable[int]) -> list[str]:
        """Return the tokens of ids.

        Args:
            ids: The ids, each below the size of the vocabulary.
        """
        tokens = self.tokens
        return [tokens[i] for i in ids]

    def save(self, path: str | Path) -> None:
        """Write the vocabulary as JSON, atomically.

        Args:
            path: The file; an existing one is replaced.
        """
        value = {"format": FORMAT, "fingerprint": self.fingerprint, "tokens": self.tokens, "counts": self.counts}
        write_json(Path(path), value)

    @classmethod
    def load(cls, path: str | Path) -> Vocab:
        """Read a vocabulary.

        Args:
            path: A file that `save` wrote.

        Returns:
            The vocabulary.

        Raises:
            FileNotFoundError: There is no such file.
            DataError: The file is damaged or of another format.
        """
        path = Path(path)
        value = read_json(path, "a vocabulary")
        if value.get("format") != FORMAT:
            raise DataError(f"{path}: vocabulary format {value.get('format')!r}, this version reads {FORMAT}")
        tokens, counts = value.get("tokens"), value.get("counts")
        if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
            raise DataError(f"{path}: 'tokens' is not a list of strings; the vocabulary is damaged")
        if counts is not None and not (isinstance(counts, list) and all(map(_is_count, counts))):
            raise DataError(f"{path}: 'counts' is not a list of whole numbers; the vocabulary is damaged")
        try:
            vocab = cls(tokens, counts)
        except ValueError as error:
            raise DataError(f"{path}: {error}") from None
        if vocab.fingerprint != value.get("fingerprint"):
            raise DataError(f"{path}: the tokens do not match their fingerprint; the file was edited or is damaged")
        return vocab

    def __getitem__(self, token: str) -> int:
        try:
            return self._index[token]
        except KeyError:
            raise KeyError(f"{token!r} is not in the vocabulary of {len(self)} tokens") from None

    def __contains__(self, token: object) -> bool:
        return token in self._index

    def __len__(self) -> int:
        return len(self.tokens)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocab) and self.tokens == other.tokens

    def __hash__(self) -> int:
        return hash(self.tokens)

    def __repr__(self) -> str:
        return f"<Vocab of {len(self):,} tokens, {self.fingerprint[:8]}>"


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 63  # what int64 holds


def _repeated(tokens: Sequence[str]) -> str:
    seen: set[str] = set()
    repeats = sorted({token for token in tokens if token in seen or seen.add(token)})
    return ", ".join(chain((repr(token) for token in repeats[:5]), ["..."] if len(repeats) > 5 else []))
