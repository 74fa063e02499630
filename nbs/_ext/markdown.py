"""Tables as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]], right: int = 0) -> str:
    """Return a table.

    Args:
        head: Titles of the columns.
        rows: The cells.
        right: How many of the last columns are numbers, which stand at the right.
    """
    align = ["---"] * (len(head) - right) + ["---:"] * right
    lines = [_line(row) for row in (head, *rows)]
    return "\n".join([lines[0], f"| {' | '.join(align)} |", *lines[1:]])


def _line(cells: Sequence[str]) -> str:
    escaped = [cell.replace("|", r"\|") for cell in cells]
    return f"| {' | '.join(escaped)} |"
