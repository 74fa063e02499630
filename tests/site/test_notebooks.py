"""The committed notebooks: run, normalised, public names only; and `make notebooks` notices what is broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nbs._tools import run
from tests.site import notebooks as check

NOTEBOOKS = sorted(check.NBS.glob("*.ipynb"))
PAGES = sorted(path for path in check.NBS.rglob("*.md") if not path.is_relative_to(check.NBS / "_ext"))
EXPECTED = (
    *("00_tour", "01_loop_and_callbacks", "02_schedules", "03_groups_and_unfreezing", "04_awd_lstm", "05_text"),
    *("06_precision_devices_speed", "07_save_resume_share", "08_ulmfit_paper", "09_generate_and_inspect"),
    "coming_from_fastai",
)
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
NORMALISE = "`make notebooks-update` puts this right"


def test_all_notebooks_are_there() -> None:
    assert {path.stem for path in NOTEBOOKS} == set(EXPECTED)


@each
def test_normalised(path: Path) -> None:
    assert check.volatile(path) == [], NORMALISE


@each
def test_run_without_errors_and_warnings(path: Path) -> None:
    assert check.not_run(path) == []
    assert any(cell["outputs"] for cell in check.cells(path, "code")), NORMALISE


@each
def test_nothing_of_the_machine_in_it(path: Path) -> None:
    assert check.paths(path) == []


@each
def test_imports_are_public(path: Path) -> None:
    assert [name for cell in check.cells(path, "code") for name in check.private_imports(cell["source"])] == []


@each
def test_it_has_a_title_and_an_end(path: Path) -> None:
    assert check.title(path)
    assert "where to go next" in check.cells(path, "markdown")[-1]["source"].lower()


@pytest.mark.parametrize("path", [*NOTEBOOKS, *PAGES], ids=lambda path: path.relative_to(check.NBS).as_posix())
def test_links_lead_somewhere(path: Path) -> None:
    assert check.broken_links(path) == []


def notebook(path: Path, source: str, **changes: object) -> Path:
    """Write a notebook with a title and one cell of code."""
    code = {"cell_type": "code", "execution_count": None, "id": "1", "metadata": {}, "outputs": [], "source": source}
    words = {"cell_type": "markdown", "id": "0", "metadata": {}, "source": "# A title"}
    metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    whole = {"cells": [words, {**code, **changes}], "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(whole), encoding="utf-8")
    return path


def test_each_check_finds_what_it_is_for(tmp_path: Path) -> None:
    good = notebook(tmp_path / "good.ipynb", "assert True")
    assert not [*check.volatile(good), *check.not_run(good), *check.paths(good), *check.broken_links(good)]
    counted = notebook(tmp_path / "counted.ipynb", "1", execution_count=3, metadata={"execution": {}})
    assert len(check.volatile(counted)) == 2
    warned = [{"output_type": "stream", "name": "stderr", "text": ["UserWarning"]}]
    assert check.not_run(notebook(tmp_path / "warned.ipynb", "1", outputs=warned))
    assert check.not_run(notebook(tmp_path / "silent.ipynb", "print(1)"))
    shown = [{"output_type": "stream", "name": "stdout", "text": ["/home/me/file"]}]
    assert check.paths(notebook(tmp_path / "path.ipynb", "1", outputs=shown)) == ["cell 1: /home/"]
    page = tmp_path / "page.md"
    page.write_text("[a](good.ipynb), [b](https://example.org), [c](missing.ipynb#d), `[e](f)`")
    assert check.broken_links(page) == ["missing.ipynb"]


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("from textxfer import Learner, ulmfit\nfrom textxfer.training import set_seed", []),
        ("import textxfer\nimport textxfer.plots as plots\nimport numpy as np", []),
        ("%matplotlib inline\nfrom textxfer.task import prepare", []),
        ("from textxfer.training.callback import EVENTS", ["textxfer.training.callback.EVENTS"]),
        ("from textxfer.task import _missing", ["textxfer.task._missing"]),
        ("from textxfer._tiny_training import Net", ["textxfer._tiny_training.Net"]),
        ("from textxfer.training import *", ["from textxfer.training import *"]),
        ("import textxfer.text.rules", ["textxfer.text.rules"]),
    ],
)
def test_private_imports_are_found(source: str, wrong: list[str]) -> None:
    assert check.private_imports(source) == wrong


def run_all(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run what `make notebooks` runs on the notebooks of a folder."""
    command = [sys.executable, run.__file__, *map(str, sorted(folder.glob("*.ipynb"))), "--stamps", folder / "stamps"]
    environment = {**os.environ, "IPYTHONDIR": str(folder / "ipython")}
    return subprocess.run(
        [*command, *options], capture_output=True, text=True, check=False, env=environment, cwd=check.NBS.parent
    )


@pytest.mark.site
def test_a_notebook_that_fails_makes_the_command_fail(tmp_path: Path) -> None:
    bad = notebook(tmp_path / "bad.ipynb", "assert 1 + 1 == 3, 'arithmetic'")
    before = bad.read_bytes()
    done = run_all(tmp_path, "--update")
    assert done.returncode == 1
    assert "bad.ipynb: FAILED" in done.stdout and "arithmetic" in done.stdout
    assert bad.read_bytes() == before


@pytest.mark.site
def test_what_passed_is_run_again_when_it_changes(tmp_path: Path) -> None:
    good = notebook(tmp_path / "good.ipynb", "print('once')")
    before = good.read_bytes()
    assert "good.ipynb: passed" in run_all(tmp_path).stdout
    assert "good.ipynb: unchanged" in run_all(tmp_path).stdout
    assert good.read_bytes() == before
    notebook(good, "print('twice')")
    done = run_all(tmp_path, "--update")
    assert "good.ipynb: passed" in done.stdout, done.stdout + done.stderr
    assert "twice" in str(check.cells(good, "code")[0]["outputs"])
    assert check.volatile(good) == [] and check.not_run(good) == []


@pytest.mark.site
def test_a_notebook_that_does_not_end_is_stopped(tmp_path: Path) -> None:
    slow = notebook(tmp_path / "slow.ipynb", "import time\ntime.sleep(60)")
    problem = run.run(slow, 4)
    assert "imeout" in problem or "was stopped after" in problem


def test_the_key_follows_notebook_and_library(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "package").mkdir(parents=True)
    (source / "package" / "module.py").write_text("a = 1")
    path = notebook(tmp_path / "one.ipynb", "1")
    first = run.key(path, source)
    assert run.key(path, source) == first
    (source / "package" / "module.py").write_text("a = 2")
    second = run.key(path, source)
    notebook(path, "2")
    assert len({first, second, run.key(path, source)}) == 3
