from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from textxfer.text.document import DataError
from textxfer.text.workers import workers


def scaled(factor: int, value: int) -> int:
    return factor * value


def failing(_: int, value: int) -> int:
    if value == 3:
        raise KeyError("three")
    return value


def dying(_: int, value: int) -> int:
    os._exit(1)


@pytest.mark.parametrize("n", [1, 2])
def test_results_come_in_order(n: int) -> None:
    with workers(10, n) as mapper:
        assert list(mapper(scaled, range(20))) == [10 * i for i in range(20)]
        assert list(mapper(scaled, [])) == []


@pytest.mark.parametrize("n", [1, 2])
def test_items_are_consumed_a_few_ahead(n: int) -> None:
    taken = []

    def items() -> Iterator[int]:
        for i in range(100):
            taken.append(i)
            yield i

    with workers(1, n) as mapper:
        next(iter(mapper(scaled, items())))
        assert len(taken) <= 2 * n + 1


@pytest.mark.parametrize("n", [1, 2])
def test_errors_come_through(n: int) -> None:
    with pytest.raises(KeyError, match="three"), workers(1, n) as mapper:
        list(mapper(failing, range(5)))


def test_a_process_that_dies_is_explained() -> None:
    with pytest.raises(DataError, match=r"a process that tokenizes died.*n_workers=1"), workers(1, 2) as mapper:
        list(mapper(dying, range(5)))


def test_workers_do_without_torch(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        """
import sys

def loaded(_, name):
    return name in sys.modules

if __name__ == "__main__":
    from textxfer.text.workers import workers
    with workers(None, 2) as mapper:
        print(list(mapper(loaded, ["textxfer.text.encode", "spacy", "torch", "pandas", "matplotlib"])))
"""
    )
    shown = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[True, True, False, False, False]"


def test_a_script_without_a_guard_is_told(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from textxfer import RulesTokenizer, TokenStore\n"
        "TokenStore.build(None, ['word ' * 300_000] * 8, RulesTokenizer(), n_workers=2)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode != 0
    assert "if __name__ == '__main__':" in done.stderr
