"""Numbers, devices and encodings on the command line that cannot be: a sentence, never a traceback."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from experiments.tables import Options
from tests.programs.toys import TINY, documents, task, write_csv
from textxfer import ulmfit
from textxfer.cli import config as configs
from textxfer.cli import main
from textxfer.cli.config import ClassifyConfig
from textxfer.cli.task import read_task
from textxfer.options import ABOVE_0, AT_LEAST_0, AT_LEAST_1, SHARE, SHARE_OR_ALL, add_options, option, parse

CONFIGS = [*(value for name, value in vars(configs).items() if name.endswith("Config")), Options]


def numbers_of(config: type[Any]) -> list[dataclasses.Field[Any]]:
    """Return the fields of a configuration that are numbers."""
    hints = get_type_hints(config)
    kinds = {name: {hint, *get_args(hint)} for name, hint in hints.items()}
    return [field for field in dataclasses.fields(config) if {int, float} & kinds[field.name]]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.__name__)
def test_every_number_has_a_range_that_holds_its_default(config: type[Any]) -> None:
    for field in numbers_of(config):
        within = field.metadata["within"]
        assert within is not None, f"{config.__name__}.{field.name} takes any number"
        defaults = field.default if isinstance(field.default, tuple) else (field.default,)
        assert all(default is None or within.holds(default) for default in defaults), field.name


def test_the_configurations_have_numbers() -> None:
    assert sum(len(numbers_of(config)) for config in CONFIGS) > 40


@pytest.mark.parametrize(
    "within, inside, outside",
    [
        (AT_LEAST_0, "0 7", "-1"),
        (AT_LEAST_1, "1 7", "0 -1"),
        (ABOVE_0, "1e-9 7", "0 -1 inf"),
        (SHARE, "0.001 0.999", "0 1 -0.1 1.1 inf"),
        (SHARE_OR_ALL, "0.001 1", "0 1.001 -1"),
    ],
    ids=lambda value: getattr(value, "words", value),
)
def test_ranges(within: Any, inside: str, outside: str, capsys: pytest.CaptureFixture[str]) -> None:
    config = dataclasses.make_dataclass("Config", [("x", float, option(1.0, help="a number", within=within))])
    parser = argparse.ArgumentParser()
    add_options(parser, config)
    for text in inside.split():
        assert parse(config, parser.parse_args([f"--x={text}"])).x == float(text)
    for text in [*outside.split(), "nan"]:
        with pytest.raises(SystemExit):
            parser.parse_args([f"--x={text}"])
        assert f"argument --x: must be {within.words}" in capsys.readouterr().err
    assert f"a number, {within.words}" in parser.format_help()


@pytest.mark.parametrize(
    "wrong, message",
    [
        (["--max-rows", "-1"], "argument --max-rows: must be 1 or more, not -1"),
        (["--epochs", "0"], "argument --epochs: must be 1 or more, not 0"),
        (["--epochs", "2.5"], "argument --epochs: invalid int value: '2.5'"),
        (["--valid", "1"], "argument --valid: must be between 0 and 1, not 1"),
        (["--minutes", "inf"], "argument --minutes: must be above 0 and finite, not inf"),
        (["--seed", "-3"], "argument --seed: must be 0 or more, below 2 to the 62, not -3"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_numbers_out_of_range(wrong: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["classify", "reviews.csv", "--out", "runs", *wrong])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong, message",
    [
        (["--device", "toaster"], "--device toaster cannot be used: "),
        (["--device", "meta"], "--device meta cannot be used: "),
        (["--device", "cuda:99"], "--device cuda:99 cannot be used: "),
        (["--encoding", "utf8000"], "encoding='utf8000' is not known; usual ones are"),
    ],
    ids=lambda value: value[1] if isinstance(value, list) else "",
)
def test_names_that_nobody_knows(
    wrong: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_csv(tmp_path / "data.csv", documents(30))
    assert main(["classify", str(table), "--from-scratch", "--out", str(tmp_path / "out"), *wrong]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert not printed.out


def test_unlabelled_files_are_read_as_far_as_asked(tmp_path: Path) -> None:
    table, more = (write_csv(tmp_path / name, documents(20, seed)) for seed, name in enumerate(("a.csv", "b.csv")))
    with more.open("ab") as file:
        file.write(b"\xff\xfe no text,world\n")
    config = ClassifyConfig(
        data=table, out=tmp_path / "out", unlabelled=(table, more), max_unlabelled=25, tokenizer="rules"
    )
    data, held_out = read_task(config, TINY, None)
    assert len(data.train) + len(held_out) == 20 + 25


@pytest.mark.parametrize(
    "options, message",
    [
        (["--base", "en-small", "--tokenizer", "bpe"], "--base brings its own tokenizer"),
        (["--base", "en-small", "--language", "de"], "--base brings its own tokenizer"),
        (["--from-scratch", "--lm-epochs", "3"], "--from-scratch trains no language model"),
        (["--test", "test.csv", "--valid", "0.2"], "leave out --valid"),
        (["--split-column", "part", "--valid", "0.2"], "leave out --valid"),
        (
            ["--base", "en-small", "--recipe", "scripts2018"],
            "are for 3 LSTM layers, and this model has 2; --recipe small",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_without_effect_are_refused(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_csv(tmp_path / "data.csv", documents(30))
    assert main(["classify", str(table), "--out", str(tmp_path / "out"), *options]) == 2
    assert message in capsys.readouterr().err


def test_vocabularies_without_room(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write_csv(tmp_path / "data.csv", documents(30))
    pretrain = ["pretrain", str(table), "--out", str(tmp_path / "out"), "--max-vocab"]
    assert main([*pretrain, "8", "--tokenizer", "rules"]) == 2
    assert "--max-vocab must be above 8" in capsys.readouterr().err
    pytest.importorskip("tokenizers", reason="the package tokenizers is not installed")
    assert main([*pretrain, "99", "--tokenizer", "bpe"]) == 2
    assert "--tokenizer bpe: size=99 is too small" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", ["finetune data.csv --base en-small --recipe scripts2018", "pretrain data.csv --recipe paper --layers 2"]
)
def test_rates_for_another_number_of_layers(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write_csv(tmp_path / "data.csv", documents(30))
    arguments = [str(table) if word == "data.csv" else word for word in command.split()]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 2
    assert "are for 3 LSTM layers, and this model has 2" in capsys.readouterr().err


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model folder of a tiny classifier."""
    folder = tmp_path_factory.mktemp("classifier")
    ulmfit.save(folder / "model", ulmfit.classify(task(60), recipe=TINY), task(60))
    return folder / "model"


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_what_is_read_is_not_written_over(
    command: str, classifier: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_csv(tmp_path / "data.csv", documents(20))
    before = table.read_bytes()
    data = ["--data", str(table)] if command == "predict" else [str(table)]
    there = tmp_path / "." / "data.csv"
    assert main([command, str(classifier), *data, "--out", str(there)]) == 2
    assert "is the file that is read, and would be lost" in capsys.readouterr().err
    assert table.read_bytes() == before
    assert main([command, str(classifier), *data, "--out", str(tmp_path)]) == 2
    told = capsys.readouterr()
    assert f"--out {tmp_path} is a folder; name a file in it" in told.err and not told.out
    for _ in range(2):  # another file is written, and written anew
        assert main([command, str(classifier), *data, "--out", str(tmp_path / "out")]) == 0


def test_empty_texts_are_left_out_if_asked(classifier: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(classifier), "", "a red cat", " "]) == 2
    assert "pass --skip-empty" in capsys.readouterr().err
    assert main(["predict", str(classifier), "", "a red cat", " ", "two dogs", "--skip-empty"]) == 0
    assert [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()] == ["2", "4"]


def test_what_is_left_out_is_chosen_where_it_counts() -> None:
    out = Path("out")
    plain = ClassifyConfig(data=out, out=out)
    assert (plain.tokenizer, plain.language, plain.valid) == ("spacy", "en", 0.1)
    based = ClassifyConfig(data=out, out=out, base=out, test=out)
    assert (based.tokenizer, based.language, based.valid) == (None, None, None)
    assert configs.PretrainConfig(out=out).tokenizer == "spacy"
    assert not hasattr(configs.FinetuneConfig(data=out, out=out, base=out), "tokenizer")


@pytest.mark.parametrize("command", ["classify", "generate"])
def test_help_shows_a_default_of_zero_and_none_that_is_empty(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert ("below 2 to the 62 (default: 0)" in shown) == (command == "classify")  # that of generate is none
    assert "(default: )" not in shown
