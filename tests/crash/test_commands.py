"""What crash testing found in the commands: an end between output and states, a disk that cannot be written."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from torch import Tensor

from tests.programs.toys import TINY, documents
from textxfer import presets
from textxfer.cli import main, pretrain
from textxfer.cli.states import forget_states, has_states, unfinished
from textxfer.training import checkpoint

TERMINATED = 143


@pytest.fixture(autouse=True)
def _tiny_and_plain(monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "small", TINY)  # type: ignore[arg-type]
    monkeypatch.setattr("textxfer.cli.output.find_spec", lambda name: None)  # no matplotlib, no plots: they take long


@pytest.fixture
def corpus(tmp_path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(document.text for document in documents(40)))
    return path


def train(corpus: Path, *more: str) -> int:
    sizes = ["--tokenizer", "rules", "--breaks", "line", "--epochs", "1", "--save-minutes", "1e-9"]
    return main(["pretrain", str(corpus), "--out", str(corpus.parent / "out"), *sizes, *more])


@pytest.fixture
def done_but_for_its_states(corpus, monkeypatch) -> Path:
    """The output of a run that was ended just before it removed its states."""

    def ended(config: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(pretrain, "forget_states", ended)
        assert train(corpus) == TERMINATED
    out = corpus.parent / "out"
    assert (out / "run.json").is_file() and has_states(out)
    return out


def test_a_complete_run_is_not_refused_when_it_goes_on(corpus, done_but_for_its_states, capsys):
    out = done_but_for_its_states
    before = (out / "run.json").read_bytes()
    assert train(corpus, "--resume") == 0
    assert "is complete: there was nothing more to do" in capsys.readouterr().out
    assert not unfinished(out).exists()
    assert (out / "run.json").read_bytes() == before


def test_a_complete_run_does_not_stand_in_the_way_of_a_new_one(corpus, done_but_for_its_states, capsys):
    out = done_but_for_its_states
    before = json.loads((out / "run.json").read_text())["run"]
    assert train(corpus) == 2
    assert "holds the output of an earlier run" in capsys.readouterr().err
    assert train(corpus, "--replace") == 0
    assert json.loads((out / "run.json").read_text())["run"] != before
    assert not unfinished(out).exists()


def test_an_earlier_output_is_not_taken_for_that_of_the_run(corpus, monkeypatch):
    """Equal options and text: only the names of the two runs differ."""
    assert train(corpus) == 0
    out = corpus.parent / "out"
    before = json.loads((out / "run.json").read_text())["run"]
    assert train(corpus, "--replace", "--stop-minutes", "1e-9") == 75
    assert train(corpus, "--replace", "--resume") == 0
    assert json.loads((out / "run.json").read_text())["run"] != before


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EROFS, "see to it that the folder may be read and written"),
        (errno.EACCES, "see to it that the folder may be read and written"),
    ],
)
def test_a_disk_that_cannot_be_written_is_named(corpus, monkeypatch, capsys, number, remedy):
    save, states = checkpoint.save_file, []

    def full(tensors: dict[str, Tensor], path: Path) -> None:
        if len(states) == 4:  # two files a state
            raise OSError(number, os.strerror(number), str(path))
        states.append(save(tensors, path))

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", full)
        assert train(corpus) == 2
    printed = capsys.readouterr().err
    assert f"model.safetensors: {os.strerror(number)}; {remedy}" in printed
    assert "go on with the same command and --resume" in printed
    assert train(corpus, "--resume") == 0


def test_other_errors_of_the_system_keep_their_traceback(corpus, monkeypatch):
    def broken(config: object, recipe: object) -> None:
        raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr(pretrain, "general_data", broken)
    with pytest.raises(OSError, match="I/O error"):
        train(corpus)


def test_states_half_removed_are_not_there(corpus, monkeypatch):
    """A process that dies while it removes states leaves them under another name, which the next one removes."""
    assert train(corpus, "--stop-minutes", "1e-9") == 75
    out = corpus.parent / "out"
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *args, **options: None)
        forget_states(pretrain_config(out))
    assert not has_states(out)
    assert train(corpus) == 0


def pretrain_config(out: Path):
    from textxfer.cli.config import PretrainConfig

    return PretrainConfig(out=out)
