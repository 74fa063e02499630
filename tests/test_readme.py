"""The README's examples: they compile, their imports exist, and the commands and options that they name do too."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
OPTIONS = (ROOT / "tests" / "golden" / "options.txt").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL))
def test_python_examples_import_what_exists(block: str) -> None:
    tree = ast.parse(block)
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert imports
    exec(compile(ast.Module(imports, []), "README.md", "exec"), {})


def test_commands_and_their_options_exist() -> None:
    text = README.replace("\\\n", " ")
    commands = re.findall(r"^textxfer (\w+)(.*)$", text, flags=re.MULTILINE)
    assert {name for name, _ in commands} == {"classify", "predict", "pretrain"}
    for name, rest in commands:
        for option in re.findall(r"--[a-z-]+", rest):
            assert f"{name} {option}" in OPTIONS, f"textxfer {name} has no {option}"


def test_relative_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)]+)\)", README)
    assert all((ROOT / target).exists() for target in targets if not target.startswith("http"))
