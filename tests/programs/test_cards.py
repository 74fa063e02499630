"""What the cards of `classify` and `finetune` say of the data, and that a run is resumed on the same data only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.programs.toys import TINY, documents, write_csv
from textxfer import presets
from textxfer.callbacks import SaveEvery
from textxfer.cli import main, pieces
from textxfer.cli.prepared import describe_files
from textxfer.files import checksum
from textxfer.text import Document


@pytest.fixture(autouse=True)
def _small_is_tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(presets.PRESETS, "small", TINY)  # type: ignore[arg-type]
    monkeypatch.setattr("textxfer.cli.output.find_spec", lambda name: None)  # plots take long


@pytest.fixture
def data(tmp_path: Path) -> list[str]:
    """A table to train on and one to report on, as arguments of `classify`."""
    table, test = write_csv(tmp_path / "data.csv", documents(40)), write_csv(tmp_path / "test.csv", documents(20, 1))
    return [str(table), "--test", str(test)]


def described(*paths: str) -> list[dict[str, object]]:
    return [{"name": Path(p).name, "bytes": Path(p).stat().st_size, "sha256": checksum(Path(p))} for p in paths]


def test_the_cards_have_a_checksum_of_each_file(tmp_path: Path, data: list[str]) -> None:
    more = write_csv(tmp_path / "more.csv", documents(30, 2))
    classify = ["classify", *data, "--unlabelled", str(more), "--tokenizer", "rules", "--out", str(tmp_path / "a")]
    assert main([*classify, "--unlabelled", str(more), str(more)]) == 0
    source = json.loads((tmp_path / "a" / "run.json").read_text())["source"]
    assert source["files"] == described(data[0], data[2], str(more))
    assert (source["train"]["documents"], source["test"]["documents"]) == (40 + 30 + 30, 20)
    # The folder of a run stands for the model in it: here the language model, not the classifier.
    assert main(["finetune", data[0], "--base", str(tmp_path / "a"), "--out", str(tmp_path / "b")]) == 0
    source = json.loads((tmp_path / "b" / "run.json").read_text())["source"]
    assert source["files"] == described(data[0])
    assert source["train"]["documents"] + source["valid"]["documents"] == 40


def test_data_may_go_while_a_command_trains(tmp_path: Path, data: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    after_epoch, noted = SaveEvery.after_epoch, described(data[0], data[2])

    def gone(self: SaveEvery, learn: object) -> None:
        for path in (data[0], data[2]):
            Path(path).unlink(missing_ok=True)
        after_epoch(self, learn)  # type: ignore[arg-type]

    monkeypatch.setattr(SaveEvery, "after_epoch", gone)
    out = tmp_path / "out"
    assert main(["classify", *data, "--from-scratch", "--tokenizer", "rules", "--out", str(out)]) == 0
    assert not Path(data[0]).exists()
    assert json.loads((out / "run.json").read_text())["source"]["files"] == noted


def test_a_run_stands_for_its_model(tmp_path: Path, data: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    run = str(tmp_path / "run")
    assert main(["classify", *data, "--tokenizer", "rules", "--out", run]) == 0
    told = []
    for folder, language in ((run, run), (f"{run}/model", f"{run}/language-model")):
        capsys.readouterr()
        assert main(["predict", folder, "a red cat"]) == 0
        assert main(["evaluate", folder, data[2]]) == 0
        assert main(["generate", language, "--tokens", "3", "--seed", "1"]) == 0
        told.append(capsys.readouterr().out)
    assert told[0] == told[1] and told[0].count("\n") > 5


def test_the_card_of_a_finetuned_model_names_its_file_and_its_base(
    tmp_path: Path, data: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path of the data is one string: a loop over its characters once described the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "general.txt").write_text("\n".join(document.text for document in documents(60)))
    arguments = ["--breaks", "line", "--tokenizer", "rules", "--out", "general"]
    assert main(["pretrain", "general.txt", *arguments]) == 0
    assert main(["finetune", "data.csv", "--base", "general/model", "--out", "run"]) == 0
    old = json.loads((tmp_path / "run" / "run.json").read_text())
    for name, change in (("new", {}), ("old", {"source": {}})):
        (tmp_path / "run" / "run.json").write_text(json.dumps(old | change))
        assert main(["release", "run", "--name", "toy", "--source", "film reviews", "--out", name]) == 0
        facts = json.loads((tmp_path / name / "card.json").read_text())["directions"]["forward"]
        assert facts["source"]["files"] == described("data.csv")
        assert facts["command"] == "textxfer finetune data.csv --out run --base general"
        page = (tmp_path / name / "README.md").read_text()
        assert "It has read film reviews and what general had read, from which it was made;" in page
        assert "nothing else" not in page


def swapped(rows: list[Document]) -> list[Document]:
    """Return the same texts in the same order, with the labels of two classes the other way round."""
    first, second = sorted({str(row.label) for row in rows})[:2]
    names = {first: second, second: first}
    return [Document(row.text, names.get(str(row.label), row.label), row.row) for row in rows]


@pytest.mark.parametrize("change", ["labels", "order", "test"])
def test_a_run_is_not_resumed_on_other_labels_or_another_order(
    tmp_path: Path, data: list[str], change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["classify", *data, "--tokenizer", "rules", "--from-scratch", "--out", str(tmp_path / "out")]
    assert main([*arguments, "--stop-minutes", "1e-9"]) == 75
    rows = documents(40)
    if change == "labels":
        write_csv(Path(data[0]), swapped(rows))
    elif change == "order":
        write_csv(Path(data[0]), rows[::-1])
    else:
        write_csv(Path(data[2]), swapped(documents(20, 1)))
    assert main([*arguments, "--resume"]) == 2
    assert "the data has changed" in capsys.readouterr().err
    write_csv(Path(data[0]), rows)
    write_csv(Path(data[2]), documents(20, 1))
    assert main([*arguments, "--resume"]) == 0


def test_the_seconds_of_a_classifier_are_those_of_all_commands(
    tmp_path: Path, data: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now, after_batch = [0.0], SaveEvery.after_batch

    def tick(self: SaveEvery, learn: object) -> None:
        now[0] += 1
        after_batch(self, learn)  # type: ignore[arg-type]

    monkeypatch.setattr(SaveEvery, "after_batch", tick)
    monkeypatch.setattr(pieces, "perf_counter", lambda: now[0])
    monkeypatch.setattr(pieces, "monotonic", lambda: now[0])
    arguments = ["classify", *data, "--tokenizer", "rules", "--from-scratch", "--out", str(tmp_path / "out")]
    codes = [main([*arguments, "--stop-minutes", "0.1"])]
    while codes[-1] == 75:
        codes.append(main([*arguments, "--stop-minutes", "0.1", "--resume"]))
    assert len(codes) > 2 and codes[-1] == 0
    assert json.loads((tmp_path / "out" / "run.json").read_text())["results"]["seconds"] == now[0]


def test_states_in_which_options_without_effect_are_noted(tmp_path: Path, data: list[str]) -> None:
    """As versions did in which these options had defaults."""
    assert main(["classify", *data, "--tokenizer", "rules", "--out", str(tmp_path / "base")]) == 0
    arguments = ["classify", *data, "--base", str(tmp_path / "base"), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--stop-minutes", "1e-9"]) == 75
    path = tmp_path / "out.unfinished" / "run.json"
    card = json.loads(path.read_text())
    card["config"] |= {"tokenizer": "spacy", "language": "en", "valid": 0.1}
    path.write_text(json.dumps(card))
    assert main([*arguments, "--resume"]) == 0


def test_the_language_model_of_a_classifier_can_be_released(tmp_path: Path, data: list[str]) -> None:
    assert main(["classify", *data, "--tokenizer", "rules", "--out", str(tmp_path / "run")]) == 0
    assert main(["release", str(tmp_path / "run"), "--name", "toy", "--out", str(tmp_path / "toy")]) == 0
    assert main(["generate", str(tmp_path / "toy"), "--tokens", "2"]) == 0


def test_the_card_does_not_say_that_a_model_has_read_nothing_else_if_that_is_not_known(
    tmp_path: Path, data: list[str]
) -> None:
    base, run, out = (str(tmp_path / name) for name in ("base", "run", "toy"))
    assert main(["classify", *data, "--tokenizer", "rules", "--out", base]) == 0
    assert main(["classify", *data, "--base", base, "--out", run]) == 0
    assert main(["release", run, "--name", "toy", "--out", out]) == 0
    page = (tmp_path / "toy" / "README.md").read_text()
    assert "- text: not recorded; its licence: not stated" in page
    assert "It has read text that is not recorded and perhaps more: whether it was made from another model" in page
    assert main(["release", run, "--name", "toy", "--out", out, "--replace", "--source", "toys"]) == 0
    assert "It has read toys and perhaps more: " in (tmp_path / "toy" / "README.md").read_text()


def test_the_output_goes_where_a_link_leads(tmp_path: Path) -> None:
    made = {"ids": "train/meta.json", "run": "run.json", "toy": "card.json"}
    for name in made:
        (tmp_path / f"disk of {name}").mkdir()
        (tmp_path / name).symlink_to(tmp_path / f"disk of {name}")
    ids, run, toy = (str(tmp_path / name) for name in made)
    (tmp_path / "texts.txt").write_text("\n".join(document.text for document in documents(60)))
    arguments = ["--breaks", "line", "--tokenizer", "rules", "--store", ids, "--out", run]
    assert main(["pretrain", str(tmp_path / "texts.txt"), *arguments]) == 0
    assert main(["release", run, "--name", "toy", "--out", toy]) == 0
    for name, file in made.items():
        assert (tmp_path / name).is_symlink() and (tmp_path / f"disk of {name}" / file).is_file()


def test_of_a_folder_those_files_are_named_that_are_read(tmp_path: Path) -> None:
    for label, number in (("a", 0), ("a", 1), ("b", 0)):
        (tmp_path / "texts" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "texts" / label / f"{number}.txt").write_text(f"text {number} of {label}")
    (tmp_path / "texts" / "archive.bin").write_bytes(b"large")
    (tmp_path / "texts" / "a" / ".swp").write_text("")
    found = [file["name"] for file in describe_files([tmp_path / "texts"])]
    assert found == ["texts/a/0.txt", "texts/a/1.txt", "texts/b/0.txt"]
