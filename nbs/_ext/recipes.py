"""Every number of the recipes, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nbs._ext.markdown import table
from textxfer.presets import PRESETS

_PARTS = {
    "": "Sizes, vocabulary and head",
    "pretrain": "The general language model (`pretrain`)",
    "finetune": "The language model on the task's text (`finetune`)",
    "classify": "The classifier (`classify`)",
}


def table_of_recipes() -> str:
    """Return a table for each part of a recipe; the columns are the recipes."""
    values = {name: dict(_flat(recipe.to_dict())) for name, recipe in PRESETS.items()}
    keys = list(dict.fromkeys(key for flat in values.values() for key in flat if key != "name"))
    parts = []
    for prefix, title in _PARTS.items():
        own = [key for key in keys if _part(key) == prefix]
        rows = [
            (f"`{key.removeprefix(f'{prefix}.')}`", *(_shown(flat.get(key, "")) for flat in values.values()))
            for key in own
        ]
        parts += [f"## {title}", table(("", *(f"`{name}`" for name in values)), rows, right=len(values))]
    return "\n\n".join(parts)


def _part(key: str) -> str:
    first = key.partition(".")[0]
    return first if first in _PARTS else ""


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each number with its path; stages count from 1."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list | tuple) and value and isinstance(value[0], Mapping):
        for number, item in enumerate(value, 1):
            yield from _flat(item, f"{path}.{number}")
    else:
        yield path, value


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value))
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
