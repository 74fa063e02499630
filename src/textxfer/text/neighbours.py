"""Words that spaCy may look at together although there is a space between them.

spaCy's tokenizer cuts at spaces and looks at each word alone, with one exception: its special cases (":-)", "EE. UU.")
are searched for among the finished tokens, across spaces too. Two words next to each other can be part of the same
match only if one ends and the other begins with tokens that follow one another in some special case. Such words are
kept together; all others can be tokenized one by one with the same result.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from textxfer.text.fastai_rules import DONE


class Neighbours:
    """Finds such words.

    Args:
        tokenizer: spaCy's tokenizer.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._before: dict[str, set[str]] = defaultdict(set)  # the tokens before each token that is not the first
        for before, token in _pairs(tokenizer):
            self._before[token].add(before)
        self._by_first: dict[str, list[str]] = defaultdict(list)
        for token in self._before:
            self._by_first[token[0]].append(token)
        self._possible = _pattern(self._before)

    def join(self, chunks: Sequence[str]) -> list[str]:
        """Put a space between words that belong together, and leave the others apart."""
        if self._possible is None:
            return list(chunks)
        text = " ".join(chunks).lower()
        if text.count(" ") != len(chunks) - 1:  # white space that is a chunk has spaces, too
            text = " ".join([chunk.replace(" ", "\n") for chunk in chunks]).lower()
        text = text.replace(DONE, "")
        joined, first, number, position = [], 0, 0, 0
        for match in self._possible.finditer(text):
            number += text.count(" ", position, match.start()) + 1  # of the chunk behind the space
            position = match.start() + 1
            if not self._together(*(chunk.removeprefix(DONE).lower() for chunk in chunks[number - 1 : number + 1])):
                joined += chunks[first:number]
                first = number
            elif number - 1 >= first:
                joined += chunks[first : number - 1]
                joined.append(f"{chunks[number - 1]} {chunks[number]}")
                first = number + 1
            else:  # the chunk before is the end of such words already
                joined[-1] += f" {chunks[number]}"
                first = number + 1
        return [*joined, *chunks[first:]]

    def _together(self, left: str, right: str) -> bool:
        if left.isspace() or right.isspace():
            return False
        return any(
            _ends_with(left, before)
            for token in self._by_first[right[0]]
            if _starts_with(right, token)
            for before in self._before[token]
        )


def _pairs(tokenizer: Any) -> set[tuple[str, str]]:
    """Return the tokens, in lower case, that follow one another in special cases before these are applied."""
    searches = ("prefix_search", "suffix_search", "infix_finditer", "token_match", "url_match")
    plain = type(tokenizer)(tokenizer.vocab, rules={}, **{name: getattr(tokenizer, name) for name in searches})
    found: set[tuple[str, str]] = set()
    for string in tokenizer.rules:
        found.update(pairwise(token.text.lower() for token in plain(string) if not token.is_space))
    return found


def _pattern(before: dict[str, set[str]]) -> re.Pattern[str] | None:
    """Return what a text must contain for two of its words to belong together; more may contain it."""
    groups: dict[bool, tuple[set[str], set[str]]] = {True: (set(), set()), False: (set(), set())}
    for token, all_before in before.items():
        for each in all_before:
            ends, tokens = groups[each[-1].isalnum()]
            ends.add(each[-1])
            tokens.add(token)
    parts = [
        f"(?<=[{re.escape(''.join(sorted(ends)))}] )(?:{'|'.join(map(re.escape, sorted(tokens)))})"
        for ends, tokens in groups.values()
        if ends
    ]
    return re.compile(f" (?:{'|'.join(parts)})") if parts else None


def _starts_with(word: str, token: str) -> bool:
    # Letters next to letters are never cut apart: "david" does not begin with the token "d".
    return word.startswith(token) and not (token[-1].isalpha() and word[len(token) : len(token) + 1].isalpha())


def _ends_with(word: str, token: str) -> bool:
    return word.endswith(token) and not (token[0].isalpha() and word[: -len(token)][-1:].isalpha())
