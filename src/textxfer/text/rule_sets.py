"""Ready-made rules by name, and rules from what was saved of them."""

from __future__ import annotations

from typing import Any

from textxfer.text.fastai_rules import KIND, FastaiRules
from textxfer.text.rules import Rules
from textxfer.text.text_rules import TextRules

PRESETS: dict[str, TextRules] = {
    "default": Rules("default"),
    "2018": Rules("2018", repeat_digits=True, min_upper=3, mark_capitalised=False, mark_fields=True, normalize=False),
    "fastai": FastaiRules("fastai"),
    "fastai-exact": FastaiRules("fastai-exact", defects=True),
}
"""Ours; those of the paper's scripts; fastai 2.8's without its two defects; and with them."""


def rules(preset: str | TextRules) -> TextRules:
    """Return ready-made rules by name: `default`, `2018`, `fastai` or `fastai-exact`.

    Args:
        preset: The name; rules are returned as they are.

    Raises:
        ValueError: There are none of this name.
    """
    if not isinstance(preset, str):
        return preset
    if preset not in PRESETS:
        raise ValueError(f"no rules called {preset!r}; there are {', '.join(map(repr, PRESETS))}")
    return PRESETS[preset]


def rules_from_dict(value: dict[str, Any]) -> TextRules:
    """Build rules from what their `to_dict` returned.

    Raises:
        ValueError: A parameter is unknown.
    """
    return FastaiRules.from_dict(value) if value.get("kind") == KIND else Rules.from_dict(value)
