"""Files with all kinds of damage are read, or refused with an error of ours that names them; nothing else happens."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.hostile.damage import damaged
from tests.hostile.guard import Harm, outcome
from tests.hostile.readers import READERS, attempt
from textxfer.text.document import DataError

CASES = Path(__file__).parent / "cases"
"""Files that did harm once: `KIND@NAME` is the content that file NAME of the reader's sample had."""
SLOW = {"weights": 30, "weights-2018": 30, "state": 80, "run": 20}
"""Examples of those readers that take longer than a few milliseconds."""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder in memory if there is one: new folders are flushed to the disk, which takes its time."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as made:
        yield Path(made)


def _needs(name: str) -> None:
    if name == "parquet":
        pytest.importorskip("pyarrow")


@pytest.mark.parametrize("name", READERS)
def test_the_samples_are_sound(name: str, folder: Path) -> None:
    _needs(name)
    reader = READERS[name]
    for each, content in reader.sample().items():
        assert attempt(reader, folder, each, content) is None, each


@pytest.mark.parametrize("name", READERS)
def test_damage(name: str, folder: Path) -> None:
    _needs(name)
    reader = READERS[name]
    refused = 0

    @settings(
        max_examples=SLOW.get(name, 150),
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(st.binary(min_size=2, max_size=40))
    def run(program: bytes) -> None:
        nonlocal refused
        refused += attempt(reader, folder, *damaged(reader.sample(), reader.names, program)) is not None

    run()
    assert refused, "nothing was damaged"


@pytest.mark.parametrize("case", sorted(CASES.rglob("*@*")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_found_cases(case: Path, folder: Path) -> None:
    reader, name = READERS[case.parent.name], case.name.rpartition("@")[2]
    _needs(case.parent.name)
    attempt(reader, folder, name, case.read_bytes())


def test_the_guard_notices_harm(tmp_path: Path) -> None:
    def spins() -> None:
        while True:
            pass

    def refuses() -> None:
        raise DataError("something is wrong somewhere")

    def takes() -> None:
        bytearray(300 << 20)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.hostile.guard.SECONDS", 0.2)
        with pytest.raises(Harm, match="not done"):
            outcome(spins, tmp_path, "name")
    with pytest.raises(Harm, match="does not name"):
        outcome(refuses, tmp_path, "name")
    with pytest.raises(Harm, match="MiB of memory"):
        outcome(takes, tmp_path, "name")
    with pytest.raises(Harm, match="ZeroDivisionError"):
        outcome(lambda: 1 // 0, tmp_path, "name")
