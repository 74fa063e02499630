"""The command line from CSV to predictions, and what it says of bad input."""

from __future__ import annotations

import csv
import gzip
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.programs.toys import TINY, documents, write_csv
from textxfer import __version__, presets
from textxfer.callbacks import SaveEvery
from textxfer.cli import main
from textxfer.text import Vocab

GOLDEN = Path(__file__).parents[1] / "golden" / "options.txt"


@pytest.fixture(autouse=True)
def _small_is_tiny(monkeypatch):
    """Let the default recipe be a tiny one: these tests are about the commands, not about learning."""
    monkeypatch.setitem(presets.PRESETS, "small", TINY)  # type: ignore[arg-type]


@pytest.fixture
def table(tmp_path):
    return write_csv(tmp_path / "data.csv", documents(60))


@pytest.fixture
def base(tmp_path, table):
    assert main(["pretrain", str(table), "--out", str(tmp_path / "base"), "--tokenizer", "rules"]) == 0
    return tmp_path / "base" / "model"


def test_from_csv_to_predictions(tmp_path, table, base, capsys):
    out, test = tmp_path / "out", write_csv(tmp_path / "test.csv", documents(30, seed=3))
    arguments = ["classify", str(table), "--base", str(base), "--test", str(test), "--out", str(out)]
    assert main([*arguments, "--unlabelled", str(test)]) == 0
    printed = capsys.readouterr().out
    assert "30 documents: error" in printed
    card = json.loads((out / "run.json").read_text())
    assert card["command"] == "classify"
    assert card["config"]["base"] == str(base)
    assert card["versions"]["torch"]
    assert card["results"]["runs"][0]["n"] == 30
    for name in ("model-losses.png", "model-rates.png", "language-model-losses.png", "confusion.png"):
        assert (out / name).stat().st_size > 5000

    assert main(["evaluate", str(out / "model"), str(test), "--out", str(tmp_path / "report.json")]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["error_rate"] == pytest.approx(card["results"]["error_rate"])

    target = tmp_path / "predictions.csv"
    assert main(["predict", str(out / "model"), "--data", str(test), "--out", str(target)]) == 0
    with target.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["row"]) for row in rows] == list(range(1, 31))
    wrong = sum(row["label"] != document.label for row, document in zip(rows, documents(30, seed=3)))
    assert wrong / 30 == pytest.approx(report["error_rate"])
    assert all(abs(sum(float(row[name]) for name in ("animal", "colour", "number")) - 1) < 1e-4 for row in rows)

    capsys.readouterr()
    assert main(["predict", str(out / "model"), "a red cat", "two", "--dtype", "fp32"]) == 0
    assert [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()] == ["1", "2"]


def test_show_knows_each_kind_of_folder(tmp_path, table, base, capsys):
    capsys.readouterr()
    assert main(["show", str(base)]) == 0
    assert "language model: " in capsys.readouterr().out
    assert main(["show", str(base.parent)]) == 0
    assert '"command": "pretrain"' in capsys.readouterr().out
    assert main(["show", str(tmp_path)]) == 2
    assert "holds no model, run, token store or training state" in capsys.readouterr().err


def test_generate(base, capsys):
    capsys.readouterr()
    arguments = ["generate", str(base), "--prompt", "red", "--tokens", "5", "--seed", "1", "--count", "2"]
    assert main(arguments) == 0
    first = capsys.readouterr().out
    assert main(arguments) == 0
    assert capsys.readouterr().out == first
    assert first.lower().startswith("red")


def test_finetune(tmp_path, table, base):
    out = tmp_path / "tuned"
    assert main(["finetune", str(table), "--base", str(base), "--out", str(out)]) == 0
    assert json.loads((out / "model" / "config.json").read_text())["kind"] == "language model"


def test_without_a_pretrained_model_and_from_scratch(tmp_path, table):
    assert main(["classify", str(table), "--out", str(tmp_path / "a"), "--tokenizer", "rules"]) == 0
    assert (tmp_path / "a" / "language-model").is_dir()
    scratch = ["classify", str(table), "--out", str(tmp_path / "b"), "--tokenizer", "rules", "--from-scratch"]
    assert main([*scratch, "--repeat", "2"]) == 0
    assert not (tmp_path / "b" / "language-model").exists()
    results = json.loads((tmp_path / "b" / "run.json").read_text())["results"]
    assert [run["seed"] for run in results["runs"]] == [0, 1]
    assert results["error_rate"] == pytest.approx(sum(run["error_rate"] for run in results["runs"]) / 2)


def test_backward(tmp_path, table):
    arguments = [
        "classify",
        str(table),
        "--out",
        str(tmp_path / "a"),
        "--tokenizer",
        "rules",
        "--direction",
        "backward",
    ]
    assert main(arguments) == 0
    assert json.loads((tmp_path / "a" / "model" / "config.json").read_text())["backward"] is True


def test_dry_run_prints_the_plan_and_writes_nothing(tmp_path, table, base, capsys):
    before = sorted(tmp_path.rglob("*"))
    capsys.readouterr()
    arguments = ["classify", str(table), "--base", str(base), "--out", str(tmp_path / "out"), "--dry-run"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "language model: about" in printed
    assert "classifier: about" in printed
    assert "8 epochs, 16 steps, one-cycle" in printed  # 54 of 60 rows train, in batches of 32
    assert "highest rates: embedding" in printed
    assert " MB" in printed
    assert sorted(tmp_path.rglob("*")) == before


def test_the_plan_of_gradual_unfreezing_does_not_promise_groups_their_turn(tmp_path, table, base, capsys, monkeypatch):
    gradual = replace(TINY, classify=replace(TINY.classify, unfreeze="gradual"))
    monkeypatch.setitem(presets.PRESETS, "small", gradual)
    arguments = ["classify", str(table), "--base", str(base), "--out", str(tmp_path / "out"), "--dry-run"]
    found = {}
    for epochs in (2, 9):
        capsys.readouterr()
        assert main([*arguments, "--epochs", str(epochs)]) == 0
        found[epochs] = capsys.readouterr().out.partition("\nclassifier")[2].partition("highest rates: ")[2]
    assert found[2].startswith("embedding frozen") and "head 0." in found[2]
    assert "frozen" not in found[9]


def test_a_dry_run_of_both_directions_says_which_is_which(tmp_path, table, capsys):
    capsys.readouterr()
    options = ["--direction", "both", "--from-scratch", "--dry-run", "--tokenizer", "rules"]
    assert main(["classify", str(table), "--out", str(tmp_path / "out"), *options]) == 0
    printed = capsys.readouterr().out
    assert printed.index("reading forward") < printed.index("reading backward")


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"textxfer {__version__}\n"


def test_nobody_reads_what_is_printed(base):
    """As with `textxfer show ... | head -0`: no traceback, and the code that shells give to such an end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "textxfer", "show", str(base)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.close()
    _, told = process.communicate()
    assert (process.returncode, told) == (141, "")


def run_badly(capsys, *arguments) -> str:
    """Run a command that must fail with exit code 2 and return what it says."""
    capsys.readouterr()
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as stop:  # argparse
        code = stop.code
    assert code == 2
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return captured.err


def _text(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


ROWS = "text,label\nred cat,a\nblue dog,b\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        ("body,label\nx,a\n", "no column 'text'"),
        ("body,label\nx,a\n", "body', 'label'; pass --text with the name"),
        ("text;label\nx;a\n", "pass --delimiter ';'"),
        ("", "the file is empty"),
        ("text,label\n", "no documents"),
        ("text,label\nred,a\nblue,a\n", "only the class 'a'"),
        ("text,label\nred,a\nblue,a\ngreen,b\n", "or give a file of held-out documents with --test"),
        (ROWS + ",a\n", "row 3 (line 4): the text is empty; fill it in, remove the row or pass --skip-empty to"),
        (ROWS + "green fish,\n", "row 3"),
        (b"text,label\nred,a\nbl\xfce,b\n", "line 3"),
        (b"text,label\nred,a\nbl\xfce,b\n", "pass --encoding, often 'cp1252'"),
    ],
)
def test_bad_tables(tmp_path, capsys, content, message):
    path = tmp_path / "data.csv"
    if content is not None:
        _text(path, content)
    before = sorted(tmp_path.iterdir())
    assert message in run_badly(capsys, "classify", path, "--out", tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == before


def test_a_delimiter_can_be_a_tab_by_name(tmp_path, capsys):
    path = _text(tmp_path / "data.csv", ROWS.replace(",", "\t"))
    out = tmp_path / "out"
    assert "pass --delimiter '\\t'" in run_badly(capsys, "classify", path, "--out", out)
    error = run_badly(capsys, "classify", path, "--out", out, "--delimiter", r"\t", "--label", "tag")
    assert "no column 'tag'; there are 'text', 'label'" in error
    assert "must be one character" in run_badly(capsys, "classify", path, "--out", out, "--delimiter", ";;")


def test_damaged_archive(tmp_path, capsys):
    packed = gzip.compress(ROWS.encode() * 50)
    path = _text(tmp_path / "data.csv.gz", packed[: len(packed) // 2])
    assert "data.csv.gz" in run_badly(capsys, "classify", path, "--out", tmp_path / "out")


def test_a_test_file_with_an_unknown_label(tmp_path, table, capsys):
    test = _text(tmp_path / "test.csv", "text,label\nred cat,mineral\n")
    error = run_badly(capsys, "classify", table, "--test", test, "--out", tmp_path / "out", "--tokenizer", "rules")
    assert "unknown label 'mineral'" in error


def test_model_folders_that_do_not_fit(tmp_path, table, base, capsys):
    out = tmp_path / "out"
    assert "is no model folder" in run_badly(capsys, "classify", table, "--base", tmp_path / "x", "--out", out)
    tokens = Vocab.load(base / "vocab.json").tokens
    Vocab([*tokens[:-2], tokens[-1], tokens[-2]]).save(base / "vocab.json")
    error = run_badly(capsys, "classify", table, "--base", base, "--out", out)
    assert "this vocabulary is not the one that the model was trained with" in error
    (base / "vocab.json").write_text((base / "vocab.json").read_text()[:100])
    assert "damaged" in run_badly(capsys, "classify", table, "--base", base, "--out", out)
    assert not out.exists()


def test_an_output_folder_is_not_overwritten_unasked(tmp_path, table, base, capsys):
    arguments = ["pretrain", table, "--out", base.parent, "--tokenizer", "rules"]
    assert "pass --replace" in run_badly(capsys, *arguments)
    assert main([*map(str, arguments), "--replace"]) == 0
    (tmp_path / "mine").mkdir()
    _text(tmp_path / "mine" / "thesis.txt", "precious")
    error = run_badly(capsys, "pretrain", table, "--out", tmp_path / "mine", "--replace")
    assert "no textxfer command wrote it" in error
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"


def test_both_directions_from_pretraining_to_predictions(tmp_path, table, base, capsys):
    pair, out = tmp_path / "pair", tmp_path / "both"
    assert main(["pretrain", str(table), "--out", str(pair), "--tokenizer", "rules", "--direction", "both"]) == 0
    assert sorted(path.name for path in (pair / "model").iterdir()) == ["backward", "forward", "pair.json"]
    arguments = ["classify", str(table), "--base", str(pair / "model"), "--test", str(table)]
    assert main([*arguments, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "forward alone: error" in printed and "backward alone: error" in printed
    assert (out / "model-backward-losses.png").is_file() and (out / "language-model" / "pair.json").is_file()
    assert main(["evaluate", str(out / "model"), str(table), "--out", str(tmp_path / "report.json")]) == 0
    card, report = json.loads((out / "run.json").read_text()), json.loads((tmp_path / "report.json").read_text())
    assert report["error_rate"] == card["results"]["error_rate"]
    assert main([*arguments, "--out", str(tmp_path / "one"), "--direction", "backward", "--dry-run"]) == 0
    wrong = ["classify", table, "--base", base, "--out", tmp_path / "none", "--direction", "both"]
    assert "no model that reads backward" in run_badly(capsys, *wrong)


def test_an_interrupted_pretraining_goes_on_and_ends_as_if_it_had_not_been(tmp_path, table, capsys, monkeypatch):
    def pretrain(out, *more):
        options = ["--tokenizer", "rules", "--precision", "fp32", "--save-minutes", "0.00001", "--epochs", "8"]
        return main(["pretrain", str(table), "--out", str(tmp_path / out), *options, *more])

    assert pretrain("whole") == 0
    assert not (tmp_path / "whole.unfinished").exists()
    batches, after_batch = iter(range(7)), SaveEvery.after_batch

    def interrupted(self, learn):
        after_batch(self, learn)
        if next(batches, None) is None:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(SaveEvery, "after_batch", interrupted)
        assert pretrain("parted") == 130
    assert "--resume" in capsys.readouterr().err
    assert pretrain("parted") == 2 and "holds an unfinished run: go on with --resume" in capsys.readouterr().err
    assert pretrain("parted", "--resume", "--seed", "9") == 2
    assert "other options: seed was 0, not 9" in capsys.readouterr().err
    assert pretrain("other", "--resume") == 2 and "leave out --resume" in capsys.readouterr().err
    assert pretrain("parted", "--resume") == 0
    assert not (tmp_path / "parted.unfinished").exists()
    weights = [(tmp_path / out / "model" / "model.safetensors").read_bytes() for out in ("whole", "parted")]
    assert weights[0] == weights[1]


def test_a_run_is_not_resumed_on_other_text(tmp_path, table, capsys, monkeypatch):
    arguments = ["pretrain", str(table), "--out", str(tmp_path / "out"), "--tokenizer", "rules"]

    def stop(self, learn):
        self.save(learn)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(SaveEvery, "after_batch", stop)
        assert main(arguments) == 130
    write_csv(table, documents(61))
    capsys.readouterr()
    assert main([*arguments, "--resume"]) == 2
    assert "the data has changed" in capsys.readouterr().err


def test_options_that_exclude_each_other(tmp_path, table, capsys):
    error = run_badly(capsys, "classify", table, "--base", table, "--from-scratch", "--out", tmp_path / "out")
    assert "exclude each other" in error
    assert "and not both" in run_badly(capsys, "predict", tmp_path)
    assert "unrecognized arguments: --epoch-count" in run_badly(
        capsys, "classify", table, "--out", tmp_path / "out", "--epoch-count", "3"
    )


def test_options_change_on_purpose_only():
    """All options of all commands against a golden file; TEXTXFER_UPDATE_GOLDEN=1 writes it anew."""
    commands = (
        *("pretrain", "finetune", "classify", "evaluate", "predict", "generate", "show"),
        *("release", "import"),
    )
    environment = os.environ | {"COLUMNS": "100", "NO_COLOR": "1"}
    texts = []
    for command in commands:
        run = [sys.executable, "-m", "textxfer", command, "--help"]
        texts.append(subprocess.run(run, capture_output=True, text=True, check=True, env=environment).stdout)
    names = sorted({f"{c} {w.strip(',')}" for c, t in zip(commands, texts) for w in t.split() if w.startswith("--")})
    if os.environ.get("TEXTXFER_UPDATE_GOLDEN"):
        GOLDEN.write_text("\n".join(names) + "\n")
    assert names == GOLDEN.read_text().splitlines()


def test_float16_needs_a_gpu(tmp_path, table, capsys):
    arguments = ["classify", str(table), "--out", str(tmp_path / "out"), "--from-scratch", "--precision", "fp16"]
    assert main([*arguments, "--device", "cpu"]) == 2
    assert "--precision fp16 needs a CUDA GPU, and this is to run on cpu: leave it out" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
