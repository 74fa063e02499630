"""What a set of rules is to a tokenizer; `rules` has the own ones, `fastai_rules` those of fastai."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class TextRules(Protocol):
    """What a tokenizer needs of a set of rules."""

    @property
    def name(self) -> str:
        """What the set is called."""
        ...

    @property
    def specials(self) -> tuple[str, ...]:
        """Special tokens in the order of their ids."""
        ...

    @property
    def fingerprint(self) -> str:
        """Equal if and only if two sets do the same."""
        ...

    def pre(self, text: str) -> str:
        """Return the text as the tokenizer is to see it.

        Args:
            text: A text as it came.
        """
        ...

    def post(self, tokens: Sequence[str]) -> list[str]:
        """Return the tokens of a text as the model is to see them, `xxbos` first.

        Args:
            tokens: What the tokenizer made of the text that `pre` returned.
        """
        ...

    def chunks(self, text: str) -> list[str]:
        """Return the words of a text before `pre_chunk`; white space that is a token stands between them.

        Args:
            text: A text as it came.
        """
        ...

    def pre_chunk(self, chunk: str) -> str:
        """Rewrite one word; spaces in the result separate what is to be tokenized apart.

        Args:
            chunk: One of `chunks`.

        Returns:
            The word as the tokenizer is to see it.
        """
        ...

    def post_chunk(self, tokens: Sequence[str]) -> list[str]:
        """Return the tokens of one word as the model is to see them.

        Args:
            tokens: What the tokenizer made of the word.
        """
        ...

    def to_dict(self) -> dict[str, Any]:
        """Return the parameters as a JSON object."""
        ...
