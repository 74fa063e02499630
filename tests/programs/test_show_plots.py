"""`textxfer show --plot`: which pictures each kind of folder has, where they are written, and what is said if none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.programs.toys import TINY, documents, write_csv
from textxfer import presets
from textxfer._tiny_training import tiny_learner
from textxfer.cli import main
from textxfer.cli.pictures import of_model, of_run, of_states, of_store
from textxfer.text import Document, RulesTokenizer, TokenStore


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Output folders of `pretrain` and, in both directions, of `classify`."""
    folder = tmp_path_factory.mktemp("runs")
    table = write_csv(folder / "data.csv", documents(60))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(presets.PRESETS, "small", TINY)  # type: ignore[arg-type]
        patch.setattr("textxfer.cli.output.find_spec", lambda name: None)  # its own plots take long
        for command, *more in (["pretrain"], ["classify", "--direction", "both"]):
            arguments = [command, str(table), "--out", str(folder / command), "--tokenizer", "rules", *more]
            assert main(arguments) == 0
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("stores") / "toys"
    TokenStore.build(path, [*documents(40), Document("no label", None, 41)], RulesTokenizer(), min_count=1)
    return path


def size_of(png: Path) -> tuple[int, int]:
    data = png.read_bytes()
    assert data.startswith(b"\x89PNG")
    return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])


CLASSIFY = [
    f"{model}-{way}-{what}"
    for model in ("language-model", "model")
    for way in ("forward", "backward")
    for what in ("losses", "rates")
]


class TestRun:
    def test_of_a_classifier(self, runs):
        pictures = of_run(runs / "classify")
        assert [each.name for each in pictures] == [*CLASSIFY, "confusion"]
        titles = [each.title for each in pictures]
        assert titles[0] == "language model, forward: losses"
        assert titles[5] == "classifier, forward: learning rates"
        report = json.loads((runs / "classify" / "run.json").read_text())["results"]["runs"][0]
        ax = pictures[-1].draw(None)
        assert [text.get_text() for text in ax.texts] == [str(n) for n in np.ravel(report["confusion"])]
        assert [text.get_text() for text in ax.get_yticklabels()] == ["animal", "colour", "number"]

    def test_the_losses_are_those_of_the_history(self, runs):
        saved = json.loads((runs / "classify" / "model-backward-history.json").read_text())
        names = [each.name for each in of_run(runs / "classify")]
        ax = of_run(runs / "classify")[names.index("model-backward-losses")].draw(None)
        assert list(ax.lines[0].get_ydata()) == saved["steps"]["loss"]

    def test_in_one_file(self, runs, tmp_path, capsys):
        target = tmp_path / "new" / "run.png"
        assert main(["show", str(runs / "classify"), "--plot", str(target)]) == 0
        printed = capsys.readouterr().out
        assert printed.endswith(f"drawn: {target}\n")
        assert "model/forward\nclassifier: " in printed and "model/backward\nclassifier, backward: " in printed
        assert size_of(target) == (1200, round(100 * (4 * 4.2 + 4.3)))

    def test_in_a_folder(self, runs, tmp_path, capsys):
        paths = [tmp_path / "new" / name for name in ("model-losses.png", "model-rates.png")]
        for _ in range(2):  # a folder that is there is used, and what it holds replaced
            assert main(["show", str(runs / "pretrain"), "--plot", str(tmp_path / "new")]) == 0
            assert capsys.readouterr().out.endswith(f"drawn: {paths[0]}, {paths[1]}\n")
            assert sorted((tmp_path / "new").iterdir()) == paths
        assert all(size_of(path) == (800, 450) for path in paths)

    def test_other_formats(self, runs, tmp_path):
        assert main(["show", str(runs / "pretrain"), "--plot", str(tmp_path / "run.svg")]) == 0
        text = (tmp_path / "run.svg").read_text(encoding="utf-8")
        assert text.startswith("<?xml") and "<!-- language model: losses -->" in text

    def test_of_a_run_that_goes_on(self, runs, tmp_path):
        folder = tmp_path / "out.unfinished"
        folder.mkdir()
        shutil.copy(runs / "pretrain" / "run.json", folder)
        learn = tiny_learner([])
        learn.fit(1, 1e-3)
        learn.save(folder / "backward")
        (losses, rates) = of_run(folder)
        assert (losses.name, rates.name) == ("backward-losses", "backward-rates")
        assert losses.title.endswith(", backward: losses")
        assert list(losses.draw(None).lines[0].get_ydata()) == learn.history.steps["loss"]

    def test_without_what_is_needed(self, runs, tmp_path, capsys):
        run = tmp_path / "run"
        run.mkdir()
        shutil.copy(runs / "pretrain" / "run.json", run)
        assert main(["show", str(run), "--plot", str(tmp_path / "a.png")]) == 2
        printed = capsys.readouterr()
        assert f"nothing to draw: {run} has no *-history.json, and its run.json no confusion matrix" in printed.err
        assert not printed.out and not (tmp_path / "a.png").exists()

    @pytest.mark.parametrize("text", ['{"format": 1}', '{"format": 9}', "[]", "{", '{"format": 1, "steps": []}'])
    def test_a_damaged_history(self, runs, tmp_path, capsys, text):
        shutil.copytree(runs / "pretrain", tmp_path / "run")
        (tmp_path / "run" / "model-history.json").write_text(text)
        assert main(["show", str(tmp_path / "run"), "--plot", str(tmp_path / "a.png")]) == 2
        error = capsys.readouterr().err
        assert str(tmp_path / "run" / "model-history.json") in error and "Traceback" not in error


class TestModel:
    def test_its_epochs(self, runs, tmp_path):
        (picture,) = of_model(runs / "pretrain" / "model")
        assert (picture.name, picture.title) == ("model-losses", "language model: losses")
        lines = {line.get_label(): line for line in picture.draw(None).lines}
        saved = json.loads((runs / "pretrain" / "model-history.json").read_text())["epochs"]
        for label, column in (("training, mean of the epoch", "train_loss"), ("validation", "valid_loss")):
            assert list(lines[label].get_ydata()) == [row[column] for row in saved]
        assert main(["show", str(runs / "pretrain" / "model"), "--plot", str(tmp_path / "a.png")]) == 0
        assert size_of(tmp_path / "a.png") == (800, 450)

    def test_of_a_pair_both(self, runs, tmp_path):
        pair = runs / "classify" / "model"
        assert [each.name for each in of_model(pair / "backward")] == ["model-backward-losses"]
        assert main(["show", str(pair), "--plot", str(tmp_path / "pair.png")]) == 0
        assert size_of(tmp_path / "pair.png") == (1200, 420)

    def test_a_pretrained_one(self, tmp_path):
        assert main(["show", "en-small", "--plot", str(tmp_path)]) == 0
        names = [path.name for path in sorted(tmp_path.iterdir())]
        assert names == ["en-small-backward-losses.png", "en-small-forward-losses.png"]

    def test_without_a_history(self, runs, tmp_path, capsys):
        model = shutil.copytree(runs / "pretrain" / "model", tmp_path / "model")
        config = json.loads((model / "config.json").read_text())
        (model / "config.json").write_text(json.dumps(config | {"card": {}}))
        assert main(["show", str(model), "--plot", str(tmp_path / "a.png")]) == 2
        assert f"nothing to draw: {model / 'config.json'} has no history" in capsys.readouterr().err


def test_of_states_the_last_one(tmp_path, capsys):
    learn = tiny_learner([])
    for _ in range(2):
        learn.fit(1, 1e-3)
        learn.save(tmp_path / "states")
    losses, rates = of_states(tmp_path / "states")
    assert losses.draw(None).lines[0].get_ydata().tolist() == learn.history.steps["loss"]
    assert (losses.name, rates.name) == ("states-losses", "states-rates")
    assert main(["show", str(tmp_path / "states"), "--plot", str(tmp_path / "a.pdf")]) == 0
    assert capsys.readouterr().out.startswith("training states, oldest first:")
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")


class TestStore:
    def test_lengths_and_classes(self, store):
        lengths, classes = of_store(store)
        assert (lengths.name, classes.name) == ("toys-lengths", "toys-classes")
        assert sum(bar.get_height() for bar in lengths.draw(None).patches) == 41
        labels = [document.label for document in documents(40)]
        counts = [labels.count(name) for name in ("animal", "colour", "number")]
        assert [bar.get_width() for bar in classes.draw(None).patches] == [*counts, 1]

    def test_numbers(self, tmp_path):
        docs = [Document(f"text {row}", row / 2, row) for row in range(1, 9)]
        store = TokenStore.build(
            tmp_path / "numbers", [*docs, Document("none", None, 9)], RulesTokenizer(), min_count=1
        )
        _, numbers = of_store(store.path)
        ax = numbers.draw(None)
        assert ax.get_xlabel() == "label" and sum(bar.get_height() for bar in ax.patches) == 8

    def test_several_beside_json(self, store, tmp_path, capsys):
        TokenStore.build(tmp_path / "test", documents(9, seed=1), like=TokenStore.open(store))
        assert main(["show", str(store), str(tmp_path / "test"), "--json", "--plot", str(tmp_path / "a.png")]) == 0
        printed = capsys.readouterr()
        assert json.loads(printed.out)["documents"] == 41
        assert printed.err == f"\ndrawn: {tmp_path / 'a.png'}\n"
        assert size_of(tmp_path / "a.png") == (1200, 840)

    def test_stores_that_are_called_alike(self, store, tmp_path, capsys):
        TokenStore.build(tmp_path / store.name, documents(9, seed=1), like=TokenStore.open(store))
        folder = tmp_path / "pictures"
        assert main(["show", str(store), str(tmp_path / store.name), "--plot", str(folder)]) == 0
        files = [folder / f"toys-{name}.png" for name in ("lengths", "classes", "lengths-2", "classes-2")]
        assert capsys.readouterr().out.endswith(f"drawn: {', '.join(map(str, files))}\n")
        assert sorted(folder.iterdir()) == sorted(files)
        assert files[0].read_bytes() != files[2].read_bytes()


def test_what_the_place_must_be(store, tmp_path, monkeypatch, capsys):
    for name in ("a.xyz", "a.jpeg"):
        assert main(["show", str(store), "--plot", str(tmp_path / name)]) == 2
        printed = capsys.readouterr()
        assert f"--plot {tmp_path / name}: name a file that ends in .png, .svg or .pdf, or a folder" in printed.err
        assert not printed.out
    (tmp_path / "runs.v2").mkdir()
    assert main(["show", str(store), "--plot", str(tmp_path / "runs.v2")]) == 0
    assert len(list((tmp_path / "runs.v2").iterdir())) == 2
    capsys.readouterr()
    monkeypatch.setattr("textxfer.cli.pictures.find_spec", lambda name: None)
    assert main(["show", str(store), "--plot", str(tmp_path / "a.png")]) == 2
    assert "--plot needs matplotlib" in capsys.readouterr().err
