"""Commands that are stopped, by the clock or by a signal, and go on: they end as if they had not been."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.programs.toys import TINY, documents, write_csv
from textxfer import presets
from textxfer.cli import main
from textxfer.cli.signals import SIGNALS, Terminated, heeded
from textxfer.cli.states import has_states, unfinished

STOPPED, INTERRUPTED, TERMINATED = 75, 130, 143


@pytest.fixture(autouse=True)
def _tiny_and_plain(monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "small", TINY)  # type: ignore[arg-type]
    monkeypatch.setattr("textxfer.cli.output.find_spec", lambda name: None)  # no matplotlib, no plots: they take long
    monkeypatch.setattr("textxfer.cli.output.plots.save_figure", lambda *args: None)


@pytest.fixture
def table(tmp_path):
    return write_csv(tmp_path / "task.csv", documents(60))


def classify(table: Path, out: str, *more: str) -> int:
    options = ["--tokenizer", "rules", "--lm-epochs", "1", "--epochs", "2", "--direction", "both"]
    return main(["classify", str(table), "--out", str(table.parent / out), *options, *more])


def outcome(folder: Path) -> dict[str, Any]:
    """Return all that must not depend on stops: weights, and the figures of all seeds."""
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.safetensors")}
    return {**files, "runs": json.loads((folder / "run.json").read_text())["results"]["runs"]}


def test_a_classifier_in_pieces_ends_as_one_command_does(table, tmp_path, capsys):
    """Language models and classifiers of two directions and two seeds; each piece has time for one batch."""
    assert classify(table, "whole", "--repeat", "2") == 0
    codes = [classify(table, "parts", "--repeat", "2", "--stop-minutes", "1e-9")]
    assert "go on with the same command and --resume" in capsys.readouterr().err
    while codes[-1] == STOPPED and len(codes) < 100:
        codes.append(classify(table, "parts", "--repeat", "2", "--stop-minutes", "1e-9", "--resume"))
    assert codes[-1] == 0
    assert len(codes) > 20
    whole, parts = outcome(tmp_path / "whole"), outcome(tmp_path / "parts")
    assert len(whole) == 5  # two models of two directions, and the figures
    assert whole == parts
    assert not unfinished(tmp_path / "parts").exists()


def test_an_unfinished_classifier_is_not_begun_anew(table, tmp_path, capsys):
    assert classify(table, "out", "--stop-minutes", "1e-9") == STOPPED
    capsys.readouterr()
    assert classify(table, "out") == 2
    assert "holds an unfinished run: go on with --resume" in capsys.readouterr().err
    assert classify(table, "out", "--resume", "--epochs", "3") == 2
    assert "other options: epochs was 2, not 3" in capsys.readouterr().err
    assert classify(table, "new", "--resume") == 2
    assert "leave out --resume" in capsys.readouterr().err


def test_a_plan_by_minutes_keeps_no_states(table, tmp_path, capsys):
    for more in (["--resume"], ["--stop-minutes", "1"]):
        assert classify(table, "out", "--recipe", "laptop", "--minutes", "1", *more) == 2
        assert "keeps no states: leave out --resume and --stop-minutes" in capsys.readouterr().err
    assert not has_states(tmp_path / "out")


@pytest.mark.parametrize(
    ("number", "code", "says"),
    [(signal.SIGTERM, TERMINATED, "ended by SIGTERM"), (signal.SIGINT, INTERRUPTED, "interrupted")],
)
def test_a_signal_in_training_saves_and_ends(table, tmp_path, capfd, monkeypatch, number, code, says):
    assert classify(table, "whole") == 0
    capfd.readouterr()
    killer = kill_after(monkeypatch, 5, number)
    assert classify(table, "parts") == code
    assert killer == [5]
    printed = capfd.readouterr().err
    assert "the same signal again ends at once" in printed
    assert f"{says}; go on with the same command and --resume" in printed
    assert has_states(tmp_path / "parts")
    assert not (tmp_path / "parts").exists()
    assert classify(table, "parts", "--resume") == 0
    assert outcome(tmp_path / "whole") == outcome(tmp_path / "parts")


def kill_after(monkeypatch, n_batches: int, number: int) -> list[int]:
    """Send this process a signal in the forward pass of a later batch; return a list that then has its number."""
    from textxfer.training import loop

    seen, run_batch = [0], loop.run_batch
    killed: list[int] = []

    def counted(*args: Any) -> None:
        seen[0] += 1
        if seen[0] == n_batches:
            killed.append(seen[0])
            os.kill(os.getpid(), number)
        run_batch(*args)

    monkeypatch.setattr(loop, "run_batch", counted)
    return killed


def test_a_second_signal_ends_at_once():
    with pytest.raises(Terminated), heeded():
        SIGNALS.saves = True
        os.kill(os.getpid(), signal.SIGTERM)
        assert SIGNALS.asked == signal.SIGTERM
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_what_does_not_train_ends_at_once():
    with pytest.raises(KeyboardInterrupt), heeded():
        os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(Terminated), heeded():
        os.kill(os.getpid(), signal.SIGTERM)


def test_other_threads_leave_signals_alone():
    found = []

    def work() -> None:
        with heeded():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.SIG_DFL]


def test_the_exit_code_of_a_process(table, tmp_path):
    """A real process, ended while it trains."""
    sizes = ["--embed", "8", "--hidden", "8", "--layers", "1", "--batch-size", "8", "--epochs", "100000"]
    command = ["pretrain", str(table), "--tokenizer", "rules", "--out", str(tmp_path / "out"), *sizes]
    with subprocess.Popen(
        [sys.executable, "-m", "textxfer", *command, "--save-minutes", "1e-9"], stderr=subprocess.PIPE, text=True
    ) as process:
        while not has_states(tmp_path / "out") and process.poll() is None:
            time.sleep(0.05)
        process.terminate()
        _, printed = process.communicate(timeout=60)
    assert process.returncode == TERMINATED, printed
    assert "ended by SIGTERM; go on with the same command and --resume" in printed
