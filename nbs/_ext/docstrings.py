"""The Markdown that docstrings use, as the reStructuredText that autodoc reads: tables, blocks and spans of code."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby

_RULE = re.compile(r"\|[\s:|-]+\|")
_CELLS = re.compile(r"(?<!\\)\|")
_CODE = re.compile(r"(?<![`:\w])`([^`\n]+)`(?![`_])")
_NAME = re.compile(r"[\w.]+(\(\))?")
_FENCE = re.compile(r"(\s*)```(\w*)")
_RESULT = re.compile(r"\s*(Returns|Yields):")
COLON = "\ue000"
"""Stands for a colon that napoleon must not take for the end of a type; `whole` puts it back."""


def to_rest(lines: Sequence[str]) -> list[str]:
    """Return the lines of a docstring with Markdown tables and blocks of code as directives.

    Code in single backticks stays if it is a name, which the default role makes a link; other code becomes a literal,
    in which a backslash is a backslash.
    """
    found, prose = [], []
    fence: str | None = None
    for line in lines:
        if mark := _FENCE.fullmatch(line):
            found += (
                [*_prose(prose), "", f"{mark[1]}.. code-block:: {mark[2] or 'text'}", ""] if fence is None else [""]
            )
            fence, prose = (mark[1] if fence is None else None), []
        elif fence is None:
            prose.append(line)
        else:
            found.append(f"   {line}" if line.strip() else "")
    return [*found, *_prose(prose)]


def _prose(lines: Sequence[str]) -> list[str]:
    """Return text between blocks of code."""
    lines = [_CODE.sub(_literal, line) for line in lines]
    found: list[str] = []
    for is_row, group in groupby(lines, key=lambda line: line.lstrip().startswith("|")):
        rows = list(group)
        if is_row and len(rows) > 1 and _RULE.fullmatch(rows[1].strip()):
            found += ["", *_list_table(rows), ""]
        else:
            found += rows
    return found


def untyped_results(lines: Sequence[str]) -> list[str]:
    """Hide the colons of what a function returns: the type comes from its hint, the text is all description."""
    found, inside = [], False
    for line in lines:
        found.append(line.replace(":", COLON) if inside else line)
        inside = _RESULT.fullmatch(line) is not None or (inside and bool(line.strip()))
    return found


def whole(lines: Sequence[str]) -> list[str]:
    """Put hidden colons back."""
    return [line.replace(COLON, ":") for line in lines]


def _literal(code: re.Match[str]) -> str:
    return code.group() if _NAME.fullmatch(code.group(1)) else f"``{code.group(1).strip()}``"


def _list_table(rows: Sequence[str]) -> Iterator[str]:
    """Write a table; its indentation is that of its first line."""
    margin = rows[0][: len(rows[0]) - len(rows[0].lstrip())]
    yield f"{margin}.. list-table::"
    yield f"{margin}   :header-rows: 1"
    yield ""
    for number, row in enumerate(rows):
        if number == 1:
            continue
        for place, cell in enumerate(_CELLS.split(row.strip())[1:-1]):
            yield f"{margin}   {'*' if place == 0 else ' '} - {cell.strip()}".rstrip()


def summary(doc: str | None) -> str:
    """Return the first sentence of a docstring."""
    first = " ".join((doc or "").strip().partition("\n\n")[0].split())
    sentence = re.match(r"(.+?[.:!?])(?=\s+[A-Z`]|$)", first)
    return (sentence.group(1) if sentence else first).replace("::", ":")
