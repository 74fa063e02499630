"""Ten processes are ended at random moments, and what the tool would say if something were lost."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.__main__ import main
from tests.crash.checks import leftovers, outcome, unreadable
from tests.crash.ends import End, unexpected
from tests.crash.processes import Running, Server, finish
from tests.crash.rounds import Lab, Round, Tally

MINUTES = float(os.environ.get("TEXTXFER_CRASH_MINUTES", "20"))
NAMES = ("pretrain", "prepare", "release")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    memory = Path("/dev/shm")  # there nobody waits for a disk
    folder = Path(tempfile.mkdtemp(prefix="textxfer-crash-", dir=memory if memory.is_dir() else None))
    with Server() as server:
        yield Lab(folder, server, 5, NAMES)
    shutil.rmtree(folder)


def test_ten_ends_lose_nothing(lab):
    tally, number = Tally(), 0
    while tally.ends.total() < 10 and not tally.failures:
        Round(lab, number, tally).run()
        number += 1
    assert not tally.failures, "\n".join(tally.failures)
    assert "10 ends" in str(tally) or tally.ends.total() > 10
    assert tally.states > 0


def spoil_after_the_end(monkeypatch, spoil) -> None:
    """Let the command end well, put back the states that it has removed in the end, and do some harm to its folder.

    No signal and no moment is in it, for what the checks find must not depend on how fast the machine is.
    """

    def spoilt(self: Round, process: Running, limit: float) -> tuple[int, list[str]]:
        code = finish(process)
        shutil.copytree(self.place.seen, self._unfinished())
        spoil(self.place.folder)
        return code, []

    monkeypatch.setattr(Round, "_end", spoilt)


def failures_of(lab: Lab, number: int = 0) -> str:
    """Run a round, one of pretraining, and return what it finds wrong."""
    tally = Tally()
    round_ = Round(lab, number, tally)
    round_.run()
    shutil.rmtree(round_.place.base, ignore_errors=True)
    return "\n".join(tally.failures)


def test_an_unequal_state_is_reported(lab, monkeypatch):
    """Its checksums are right: only the comparison with the unbroken run can tell."""

    def spoil(folder: Path) -> None:
        values = sorted(folder.glob("**/step-*/trainer.json"))[-1]
        state = json.loads(values.read_text())
        state["epochs_done"] += 5
        values.write_text(json.dumps(state))
        sums = values.with_name("SHA256SUMS")
        lines = [line for line in sums.read_text().splitlines() if not line.endswith(values.name)]
        digest = hashlib.sha256(values.read_bytes()).hexdigest()
        sums.write_text("\n".join([*lines, f"{digest}  {values.name}"]) + "\n")

    spoil_after_the_end(monkeypatch, spoil)
    reported = failures_of(lab)
    assert "differs in value epochs_done" in reported
    assert "repeat: --seed 5 --first-round 0" in reported


def test_a_half_written_file_is_reported(lab, monkeypatch):
    def spoil(folder: Path) -> None:
        weights = sorted(folder.glob("**/step-*/model.safetensors"))[-1]
        weights.write_bytes(weights.read_bytes()[:-1])

    spoil_after_the_end(monkeypatch, spoil)
    assert "half written: out.unfinished/" in failures_of(lab)


def test_a_lost_output_is_reported(lab, monkeypatch):
    def spoil(folder: Path) -> None:
        if (folder / "out").exists():
            shutil.rmtree(folder / "out")

    spoil_after_the_end(monkeypatch, spoil)
    number = next(n for n in range(0, 300, len(NAMES)) if Round(lab, n, Tally()).replaces)
    assert "the earlier output is gone" in failures_of(lab, number)


def test_what_is_left_and_what_cannot_be_read(tmp_path):
    (tmp_path / "run.json").write_text('{"seconds": 1, "loss": 2}')
    (tmp_path / ".run.json.host-1.part").write_text("{")
    (tmp_path / "latest").write_text("step-00000001\n")
    assert leftovers(tmp_path) == [".run.json.host-1.part"]
    assert [text.split(":")[0] for text in unreadable(tmp_path)] == ["latest"]
    (tmp_path / "latest").unlink()
    before = outcome(tmp_path)
    (tmp_path / "run.json").write_text('{"seconds": 5, "loss": 2}')
    assert outcome(tmp_path) == before
    (tmp_path / "run.json").write_text('{"seconds": 5, "loss": 3}')
    assert outcome(tmp_path) != before


def test_exit_codes_and_last_words():
    end = End("SIGTERM", 0.0, 0, 0)
    assert unexpected(end, 143, "textxfer pretrain: ended by SIGTERM; go on") == ""
    assert unexpected(end, -15, "") == ""
    assert "code 1" in unexpected(end, 1, "")
    assert "did not say so" in unexpected(end, 143, "")
    full = End("full disk", 0.0, 0, 0)
    assert unexpected(full, 2, "textxfer pretrain: error: no room") == ""
    assert "traceback" in unexpected(full, 2, "Traceback\n textxfer pretrain: error: no room")


@pytest.mark.slow
def test_as_many_ends_as_fit_the_time(capsys):
    code = main(["--minutes", str(MINUTES), "--seed", "1"])
    printed = capsys.readouterr().out
    assert code == 0, printed
    assert " 0 losses" in printed
