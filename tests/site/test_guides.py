"""The guides: their commands and options exist, and what their Python imports is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = (ROOT / "tests" / "golden" / "options.txt").read_text(encoding="utf-8").splitlines()
COMMANDS = {line.partition(" ")[0] for line in OPTIONS}
PAGES = [ROOT / "nbs" / "index.md", *sorted((ROOT / "nbs" / "guides").glob("*.md"))]


def blocks(text: str, language: str = "") -> list[str]:
    """Return the blocks of code of a page that are in this language, or name none."""
    found = re.findall(r"^ *```(\S*)[^\n]*\n(.*?)^ *```$", text, flags=re.DOTALL | re.MULTILINE)
    return [code for name, code in found if name == language]


def commands(text: str) -> list[tuple[str, list[str]]]:
    """Return each command in the blocks of a page, with its options."""
    lines = [line for code in blocks(text) for line in code.replace("\\\n", " ").splitlines() if ": error:" not in line]
    calls = [re.search(r"(?:^|[ /])textxfer +([a-z]+)(.*)", line) for line in lines]
    return [(call[1], re.findall(r"(?<!\S)--[a-z-]+", call[2])) for call in calls if call]


def unknown(text: str) -> list[str]:
    """Return the commands and options that do not exist."""
    called = [(name, option) for name, options in commands(text) for option in ["", *options]]
    return [
        f"{name} {option}".rstrip()
        for name, option in called
        if (f"{name} {option}" not in OPTIONS if option else name not in COMMANDS)
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}-{page.stem}")
def test_commands_and_their_options_exist(page: Path) -> None:
    assert unknown(page.read_text(encoding="utf-8")) == []


def test_unknown_commands_and_options_are_found() -> None:
    lines = ("textxfer classify a.csv \\\n    --lable x", ".venv/bin/textxfer sing")
    page = "```python\nx = 1\n```\n\n  ```\n  {}\n  {}\n  ```\n".format(*lines)
    assert unknown(page) == ["classify --lable", "sing"]
    assert sum(len(commands(each.read_text(encoding="utf-8"))) for each in PAGES) > 30


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}-{page.stem}")
def test_imports_of_the_examples_are_there(page: Path) -> None:
    for example in blocks(page.read_text(encoding="utf-8"), "python"):
        for node in ast.walk(ast.parse(example)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "textxfer":
                exec(compile(ast.Module([node], []), str(page), "exec"), {})
