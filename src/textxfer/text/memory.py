"""Tokenizers that remember the words they have seen."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import chain
from typing import Any

from textxfer.text.specials import BOS

MEMO_SIZE = 1 << 18
"""Words in one generation of the memory; at most two generations live at a time."""
_LONGEST_REMEMBERED = 48


class Remembering(ABC):
    """Calls that look each distinct chunk up, and remember its tokens."""

    def __init__(self) -> None:
        self._forget()

    @abstractmethod
    def chunks(self, text: str) -> list[str]:
        """Return the text as pieces whose tokens depend on nothing but the piece.

        Args:
            text: Any text, also an empty one.
        """

    @abstractmethod
    def tokenize_chunks(self, chunks: Sequence[str]) -> list[tuple[str, ...]]:
        """Return the tokens of each chunk; unlike a call this remembers nothing.

        Args:
            chunks: Some of what `chunks` returned.
        """

    def __call__(self, text: str) -> list[str]:
        """Return the tokens of a text, `xxbos` first.

        Args:
            text: Any text, also an empty one.
        """
        chunks = self.chunks(text)
        memo = self._young
        missing = [chunk for chunk in dict.fromkeys(chunks) if chunk not in memo]
        if missing:
            memo = {**self._learn(missing), **{chunk: memo[chunk] for chunk in chunks if chunk in memo}}
        return [BOS, *chain.from_iterable(map(memo.__getitem__, chunks))]

    def _learn(self, chunks: list[str]) -> dict[str, tuple[str, ...]]:
        """Return the tokens of chunks that the young generation does not know, and remember them."""
        old = self._old
        known = {chunk: old[chunk] for chunk in chunks if chunk in old}
        new = [chunk for chunk in chunks if chunk not in known]
        known |= zip(new, self.tokenize_chunks(new))
        if len(self._young) + len(known) > MEMO_SIZE:
            self._old, self._young = self._young, {}  # words still in use will be taken over
        self._young.update(item for item in known.items() if len(item[0]) <= _LONGEST_REMEMBERED)
        return known

    def _forget(self) -> None:
        self._old: dict[str, tuple[str, ...]] = {}
        self._young: dict[str, tuple[str, ...]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave the memory behind: each process builds its own."""
        return {key: value for key, value in vars(self).items() if key not in ("_young", "_old")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._forget()
