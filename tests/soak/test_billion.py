"""Nothing on the way from a store to a batch loads the corpus: a billion tokens in a sparse file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.soak.billion import TOKENS
from textxfer.text import TokenStore

MOST = {"opening": 20.0, "one of 64": 80.0, "alone": 80.0, "alone, windows that vary": 250.0}
"""MiB by which a process may grow; the ids have 2,000."""

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="figures of a process are from /proc")


def run(*arguments: str) -> str:
    command = [sys.executable, "-m", "tests.soak.billion", *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("options", [(), pytest.param(("--verify",), marks=pytest.mark.slow)])
def test_a_billion_tokens_take_little_memory(options: tuple[str, ...], tmp_path: Path) -> None:
    folder = tmp_path / "store"
    run(str(folder))
    used = sum(path.stat().st_blocks * 512 for path in folder.iterdir())
    if used > 100e6:
        pytest.skip("this file system has no sparse files")
    assert TokenStore.open(folder, verify=False).n_tokens == TOKENS
    found = {line["what"]: line["mib"] for line in map(json.loads, run(str(folder), *options).splitlines())}
    assert found.keys() == MOST.keys()
    assert {name: grown for name, grown in found.items() if grown > MOST[name]} == {}
