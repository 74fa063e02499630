"""The README: its Python runs, its commands, options and links exist, its results are the measured ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nbs._ext.results import table_of_results
from tests.programs.toys import documents

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
OPTIONS = (ROOT / "tests" / "golden" / "options.txt").read_text(encoding="utf-8").splitlines()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = re.findall(r"^textxfer (\w+)(.*)$", README.replace("\\\n", " "), flags=re.MULTILINE)


def test_python_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    """One after the other, as they are read, on a small file."""
    rows = ["review,stars", *(f"{document.text},{document.label}" for document in documents(60))]
    (tmp_path / "reviews.csv").write_text("\n".join(rows), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "readme"}
    for number, example in enumerate(EXAMPLES):
        exec(compile(example, f"README.md, example {number}", "exec"), names)
    printed = capsys.readouterr().out
    assert "Prediction(" in printed
    assert "GradualUnfreeze" in printed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["models", "reviews.csv", "states"]


def test_commands_and_their_options_exist() -> None:
    assert {name for name, _ in COMMANDS} == {"classify", "predict", "show"}
    for name, rest in COMMANDS:
        for option in re.findall(r"--[a-z-]+", rest):
            assert f"{name} {option}" in OPTIONS, f"textxfer {name} has no {option}"


def test_results_are_those_of_the_files() -> None:
    assert table_of_results() in README, "write the table of `nbs/_ext/results.py` into README.md"


def test_relative_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    assert targets
    assert all((ROOT / target).exists() for target in targets if not target.startswith("http"))
