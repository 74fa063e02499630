"""A pretraining in pieces: the ids first, then commands that stop in time; the end is that of one command."""

from __future__ import annotations

import json

import pytest

from tests.programs.toys import TINY, documents
from textxfer import presets
from textxfer.cli import main, pieces
from textxfer.cli.pieces import StopSaved
from textxfer.cli.states import unfinished
from textxfer.testing import check_callback
from textxfer.training import checkpoints

STOPPED = 75
OPTIONS = ["--tokenizer", "rules", "--breaks", "line", "--epochs", "2", "--batch-size", "12"]


@pytest.fixture(autouse=True)
def _tiny_and_plain(monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "small", TINY)  # type: ignore[arg-type]
    monkeypatch.setattr("textxfer.cli.output.find_spec", lambda name: None)  # no matplotlib, no plots: they take long


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(document.text for document in documents(60)))
    return path


def weights(out, direction="forward"):
    return (out / "model" / direction / "model.safetensors").read_bytes()


def test_the_callback_keeps_the_contract():
    check_callback(StopSaved(1e300))


def test_pieces_end_as_one_command_does(tmp_path, corpus, capsys):
    """Each piece has time for one batch; both directions are trained."""

    def pretrain(out, *more):
        return main(["pretrain", str(corpus), "--out", str(tmp_path / out), "--direction", "both", *OPTIONS, *more])

    assert pretrain("whole") == 0
    codes = [pretrain("parts", "--store", str(tmp_path / "ids"), "--stop-minutes", "1e-9")]
    assert "go on with the same command and --resume" in capsys.readouterr().err
    corpus.unlink()  # from here on the ids are enough
    minutes = 1
    while codes[-1] == STOPPED and len(codes) < 40:
        minutes += 1  # may differ from piece to piece
        short = ["--store", str(tmp_path / "ids"), "--stop-minutes", f"{minutes}e-9", "--resume"]
        codes.append(pretrain("parts", *short))
        assert all(len(checkpoints(folder)) <= 3 for folder in unfinished(tmp_path / "parts").glob("*/"))
    assert codes[-1] == 0 and len(codes) > 6
    for direction in ("forward", "backward"):
        assert weights(tmp_path / "parts", direction) == weights(tmp_path / "whole", direction)
    assert not unfinished(tmp_path / "parts").exists()
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == [
        *("model", "model-backward-history.json", "model-forward-history.json", "run.json")
    ]
    whole, parts = (json.loads((tmp_path / out / "run.json").read_text()) for out in ("whole", "parts"))
    assert parts["source"] == whole["source"]
    assert parts["results"]["forward"]["epochs"] == 2


def test_three_commands_and_their_time(tmp_path, corpus, monkeypatch):
    arguments = ["pretrain", str(corpus), *OPTIONS, "--epochs", "5", "--precision", "fp32"]
    assert main([*arguments, "--out", str(tmp_path / "whole")]) == 0
    now = [0.0]

    def clock() -> float:
        now[0] += 1.0
        return now[0]

    monkeypatch.setattr(pieces, "monotonic", clock)
    monkeypatch.setattr(pieces, "perf_counter", lambda: now[0])
    short = [*arguments, "--out", str(tmp_path / "parts"), "--stop-minutes", "0.2"]  # twelve ticks
    assert [main(short), main([*short, "--resume"]), main([*short, "--resume"])] == [STOPPED, STOPPED, 0]
    models = [(tmp_path / out / "model" / "model.safetensors").read_bytes() for out in ("whole", "parts")]
    assert models[0] == models[1]
    result = json.loads((tmp_path / "parts" / "run.json").read_text())["results"]["forward"]
    n_batches = len(json.loads((tmp_path / "parts" / "model-history.json").read_text())["steps"]["fit"])
    assert result["seconds"] == n_batches + 5 > 24  # one tick for each batch and epoch, over all three commands


def test_finetuning_stops_as_well(tmp_path, corpus):
    assert main(["pretrain", str(corpus), "--out", str(tmp_path / "base"), *OPTIONS]) == 0
    arguments = ["finetune", str(corpus), "--breaks", "line", "--base", str(tmp_path / "base" / "model")]
    assert main([*arguments, "--out", str(tmp_path / "a")]) == 0
    short = [*arguments, "--out", str(tmp_path / "b"), "--stop-minutes", "1e-9"]
    assert main(short) == STOPPED
    assert main([*arguments, "--out", str(tmp_path / "b"), "--resume"]) == 0
    models = [(tmp_path / out / "model" / "model.safetensors").read_bytes() for out in "ab"]
    assert models[0] == models[1]


def test_the_ids_alone(tmp_path, corpus, capsys):
    out, store = tmp_path / "out", tmp_path / "ids"
    arguments = ["pretrain", str(corpus), "--out", str(out), *OPTIONS, "--store", str(store)]
    assert main([*arguments, "--prepare-only"]) == 0
    assert sorted(path.name for path in store.iterdir()) == ["prepared.json", "train", "valid"]
    assert not out.exists() and "train: 59 documents" in capsys.readouterr().out
    before = (store / "train" / "ids.bin").stat().st_mtime_ns
    assert main([*arguments, "--prepare-only"]) == 0
    assert (store / "train" / "ids.bin").stat().st_mtime_ns == before
    assert str(tmp_path) not in (store / "prepared.json").read_text()
    assert main(["pretrain", "--out", str(out), *OPTIONS, "--store", str(store)]) == 0
    assert (out / "run.json").is_file()


def test_ids_that_do_not_fit_the_command(tmp_path, corpus, capsys):
    def refused(*arguments, data=corpus) -> str:
        named = [] if data is None else [str(data)]
        assert main(["pretrain", *named, "--out", str(tmp_path / "out"), *OPTIONS, *arguments]) == 2
        assert not (tmp_path / "out").exists()
        return capsys.readouterr().err

    store = ["--store", str(tmp_path / "ids")]
    assert "give DATA" in refused(data=None)
    assert "is no folder that was prepared" in refused(*store, data=None)
    assert "give --store" in refused("--prepare-only")
    assert "is no folder of prepared ids" in refused("--store", str(tmp_path))
    assert main(["pretrain", str(corpus), "--out", str(tmp_path / "out"), *OPTIONS, *store, "--prepare-only"]) == 0
    error = refused(*store, "--valid", "0.2", "--max-vocab", "30")
    assert "valid was 0.01, not 0.2; max_vocab was 15000, not 30" in error
    corpus.write_text(corpus.read_text() + "\none more")
    assert "was not prepared from corpus.txt as it is now" in refused(*store)
    (tmp_path / "ids" / "valid" / "ids.bin").unlink()
    assert "ids.bin" in refused(*store, data=None)
    (tmp_path / "ids" / "prepared.json").write_text("{}")
    assert "is damaged or of another version" in refused(*store, data=None)


def test_a_dry_run_writes_no_ids(tmp_path, corpus):
    arguments = ["pretrain", str(corpus), "--out", str(tmp_path / "out"), *OPTIONS, "--store", str(tmp_path / "ids")]
    assert main([*arguments, "--dry-run"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus.txt"]


def test_from_text_to_a_release_in_pieces(tmp_path, corpus, monkeypatch):
    """What `make pretrain-gpu` does, at toy size."""
    base = ["--direction", "both", "--embed", "8", "--hidden", "12", "--layers", "3", "--lr", "3e-3"]
    run = ["pretrain", str(corpus), "--store", str(tmp_path / "ids"), "--out", str(tmp_path / "run"), *OPTIONS, *base]
    assert main([*run, "--prepare-only"]) == 0
    corpus.unlink()
    done = main([*run, "--stop-minutes", "1e-9"])
    while done == STOPPED:
        done = main([*run, "--stop-minutes", "9", "--resume"])
    assert done == 0
    arguments = ["release", str(tmp_path / "run"), "--name", "en-base", "--out", str(tmp_path / "models" / "en-base")]
    assert main([*arguments, "--shard-mb", "0.002"]) == 0
    card = json.loads((tmp_path / "models" / "en-base" / "card.json").read_text())
    command = card["directions"]["backward"]["command"]
    assert command.startswith("textxfer pretrain corpus.txt --breaks line --out run ")
    assert "--tokenizer rules" in command and "--hidden 12" in command
    assert "--store" not in command and "--stop-minutes" not in command
    monkeypatch.setenv("TEXTXFER_MODELS", str(tmp_path / "models"))
    (tmp_path / "task.csv").write_text("text,label\n" + "\n".join(f"{d.text},{d.label}" for d in documents(30)))
    arguments = ["classify", str(tmp_path / "task.csv"), "--base", "en-base", "--out", str(tmp_path / "done")]
    assert main([*arguments, "--dry-run"]) == 0
