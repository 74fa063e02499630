"""A release: small files, a card that says what was done and how good it is, and nothing of the machine."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.programs.toys import TINY, documents
from textxfer import presets
from textxfer.artifact import load_artifact
from textxfer.cli import main
from textxfer.cli.perplexity import natural
from textxfer.directions import load_directions
from textxfer.text import TokenStore, from_texts

TEST = "a red cat was near the zebra\n\ntwo of three dogs\n"
WIKITEXT = " = The Cat = \n \n The red @-@ blue cat , 1 @,@ 000 of three , was <unk> . \n"
OPTIONS = ["--tokenizer", "rules", "--breaks", "line"]


@pytest.fixture(autouse=True)
def _small_is_tiny(monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "small", TINY)  # type: ignore[arg-type]
    monkeypatch.setattr("textxfer.cli.output.find_spec", lambda name: None)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Runs of both directions, in one folder and in two, and the texts to test on."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "corpus.txt").write_text("\n".join(document.text for document in documents(60)))
    (folder / "plain.txt").write_text(TEST)
    (folder / "wiki.tokens").write_text(WIKITEXT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(presets.PRESETS, "small", TINY)  # type: ignore[arg-type]
        patch.setattr("textxfer.cli.output.find_spec", lambda name: None)  # plots take long
        for name in ("both", "forward", "backward"):
            arguments = ["pretrain", str(folder / "corpus.txt"), "--out", str(folder / name), "--direction", name]
            assert main([*arguments, *OPTIONS, "--epochs", "2", "--seed", "3"]) == 0
    return folder


def release(trained, *more, runs=("both",), out):
    places = [str(trained / run) for run in runs]
    texts = ["--test", str(trained / "plain.txt"), "--wikitext", str(trained / "wiki.tokens"), "--breaks", "wiki"]
    return main(["release", *places, "--out", str(out), "--name", "toy", *texts, *more])


def test_the_card_says_what_was_done(trained, tmp_path):
    out = tmp_path / "toy"
    assert release(trained, "--licence", "CC0", "--source", "toys", "--note", "For tests.", out=out) == 0
    names = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    parts = ("config.json", "model.safetensors", "tokenizer.json", "vocab.json")
    each = [f"{direction}/{part}" for direction in ("backward", "forward") for part in parts]
    assert names == ["README.md", *each[:4], "card.json", *each[4:], "pair.json"]
    card, readme = json.loads((out / "card.json").read_text()), (out / "README.md").read_text()
    for direction, artifact in load_directions(out).items():
        own = load_artifact(trained / "both" / "model" / direction).model.state_dict()
        facts = card["directions"][direction]
        for name, value in artifact.model.state_dict().items():
            assert torch.equal(value, own[name].half().float()), name
        assert facts["bytes"] == (out / direction / "model.safetensors").stat().st_size
        assert facts["source"]["train"] == {"documents": 59, "tokens": sum(artifact.vocab.counts)}
        assert facts["source"]["valid"]["documents"] == 1
        assert facts["source"]["files"][0]["name"] == "corpus.txt" and len(facts["source"]["files"][0]["sha256"]) == 64
        assert facts["epochs"] == 2 and facts["seed"] == 3 and facts["seconds"] > 0
        assert card["weights"] == sum(parameter.numel() for parameter in artifact.model.parameters())
    command = (
        "textxfer pretrain corpus.txt --breaks line --out both --direction both --seed 3 --tokenizer rules --epochs 2"
    )
    assert facts["command"] == command
    for said in (command, "its licence: CC0", "For tests.", "It has read toys", "tokens seen: ", "`corpus.txt`: "):
        assert said in readme


def test_the_card_knows_nothing_of_the_machine(trained, tmp_path):
    out = tmp_path / "toy"
    assert release(trained, out=out) == 0
    for path in out.rglob("*"):
        if path.suffix in (".json", ".md"):
            assert str(tmp_path.parent.parent) not in path.read_text(), path


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_the_perplexity_is_that_of_the_released_weights_token_by_token(trained, tmp_path, direction):
    out = tmp_path / "toy"
    assert release(trained, out=out) == 0
    card = json.loads((out / "card.json").read_text())
    artifact = load_artifact(out / direction)
    texts = {"plain.txt": [TEST], "wiki.tokens": [natural(WIKITEXT)]}
    words = {"plain.txt": len(TEST.split()), "wiki.tokens": len(WIKITEXT.split())}
    for test in card["directions"][direction]["tests"]:
        folder, name = test["file"].split("/")
        assert folder
        store = TokenStore.build(None, from_texts(texts[name]), artifact.tokenizer, vocab=artifact.vocab)
        ids = store.gather(backward=direction == "backward").astype(np.int64)
        stream = torch.from_numpy(np.concatenate([[artifact.vocab.pad_id], ids]))
        with torch.no_grad():
            logits = artifact.model(stream[:-1, None]).logits.squeeze(1)
        total = torch.nn.functional.cross_entropy(logits, stream[1:], reduction="sum").item()
        assert test["per_token"] == pytest.approx(math.exp(total / len(ids)), rel=1e-4)
        assert test["per_word"] == pytest.approx(math.exp(total / words[name]), rel=1e-4)
        assert (test["tokens"], test["words"]) == (len(ids), words[name])
        assert test["unknown"] == np.count_nonzero(ids == artifact.vocab.unk_id) / (len(ids) - 1) > 0
        assert test["detokenized"] == (name == "wiki.tokens")


def test_text_without_white_space_has_no_perplexity_per_word(trained, tmp_path, capsys):
    (tmp_path / "dense.txt").write_text("([{,.!" * 100)
    places = [str(trained / "forward"), "--out", str(tmp_path / "toy"), "--name", "toy"]
    assert main(["release", *places, "--test", str(tmp_path / "dense.txt")]) == 0
    assert "per token, too large per word" in capsys.readouterr().out
    (test,) = json.loads((tmp_path / "toy" / "card.json").read_text())["directions"]["forward"]["tests"]
    assert test["words"] == 1 and test["tokens"] > 500 and 1 < test["per_token"] < 1e4 and test["per_word"] is None
    assert "| too large |" in (tmp_path / "toy" / "README.md").read_text()


def test_text_of_wikitext_gets_its_spaces_back():
    assert natural(WIKITEXT) == " = The Cat = \n\nThe red-blue cat, 1,000 of three, was qxunkq.\n"


def test_two_runs_and_their_models_are_as_good_as_one_run(trained, tmp_path):
    assert release(trained, out=tmp_path / "a") == 0
    assert release(trained, out=tmp_path / "b", runs=("backward", "forward")) == 0
    assert release(trained, out=tmp_path / "c", runs=("forward/model", "both/model/backward")) == 0
    assert release(trained, out=tmp_path / "d", runs=("both/model",)) == 0
    weights = [(tmp_path / name / "backward" / "model.safetensors").read_bytes() for name in "abcd"]
    assert weights[0] == weights[1] == weights[2] == weights[3]
    card = json.loads((tmp_path / "c" / "card.json").read_text())
    assert card["directions"]["forward"]["command"] is None
    assert card["directions"]["forward"]["source"]["train"]["documents"] == 59  # the vocabulary knows
    assert "how it was trained is not recorded" in (tmp_path / "c" / "README.md").read_text()


def test_one_direction_is_one_model_folder_in_shards(trained, tmp_path):
    out = tmp_path / "one"
    assert release(trained, "--shard-mb", "0.002", "--dtype", "fp32", out=out, runs=("backward",)) == 0
    assert list(load_directions(out)) == ["backward"]
    files = sorted(out.glob("model-*.safetensors"))
    assert len(files) > 3 and max(path.stat().st_size for path in files) <= 2000
    assert not (out / "model.safetensors").exists() and (out / "README.md").is_file()
    card = json.loads((out / "card.json").read_text())
    assert card["directions"]["backward"]["bytes"] == sum(path.stat().st_size for path in files)
    assert main(["generate", str(out), "--tokens", "2"]) == 0


def test_a_run_card_from_before_there_were_facts_of_the_text(trained, tmp_path):
    run = shutil.copytree(trained / "forward", tmp_path / "old")
    card = json.loads((run / "run.json").read_text())
    files = card.pop("source")["files"]
    del card["config"]["store"], card["config"]["stop_minutes"]
    (run / "run.json").write_text(json.dumps(card))
    assert main(["release", str(run), "--out", str(tmp_path / "a"), "--name", "toy"]) == 0
    card["config"]["data"] = ["/gone/far/corpus.txt"]
    (run / "run.json").write_text(json.dumps(card))
    assert main(["release", str(run), "--out", str(tmp_path / "b"), "--name", "toy"]) == 0
    found = [json.loads((tmp_path / name / "card.json").read_text()) for name in "ab"]
    assert found[0]["directions"]["forward"]["source"]["files"] == files
    assert found[1]["directions"]["forward"]["source"]["files"] == [{"name": "corpus.txt"}]
    assert "/gone" not in (tmp_path / "b" / "README.md").read_text()
    assert "Not measured on further text" in (tmp_path / "b" / "README.md").read_text()


def test_what_cannot_be_released(trained, tmp_path, capsys):
    def refused(*arguments, runs, name="toy", out="out") -> str:
        places = [str(trained / run) if isinstance(run, str) else str(run) for run in runs]
        assert main(["release", *places, "--out", str(tmp_path / out), "--name", name, *arguments]) == 2
        return capsys.readouterr().err

    other = tmp_path / "other"
    (tmp_path / "more.txt").write_text("\n".join(document.text for document in documents(40, seed=7)))
    arguments = ["pretrain", str(tmp_path / "more.txt"), "--out", str(other), "--direction", "backward", *OPTIONS]
    assert main(arguments) == 0
    capsys.readouterr()
    assert "a second model that reads forward" in refused(runs=("both", "forward"))
    assert "not the same vocabulary" in refused(runs=("forward", other))
    assert "--shard-mb 1e-09 is less than a byte" in refused("--shard-mb", "1e-9", runs=("both",))
    assert "cannot be the name" in refused(runs=("both",), name="../toy")
    assert "is no model folder" in refused(runs=("nowhere",))
    assert "not tokenized as WikiText" in refused("--wikitext", str(trained / "plain.txt"), runs=("both",))
    assert not (tmp_path / "out").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    (tmp_path / "mine" / "config.json").write_text('{"model_type": "bert"}')
    assert "is no model folder; name another" in refused("--replace", runs=("both",), out="mine")


def test_a_release_is_replaced_only_if_asked(trained, tmp_path, capsys):
    assert release(trained, out=tmp_path / "toy") == 0
    assert release(trained, out=tmp_path / "toy") == 2 and "pass --replace" in capsys.readouterr().err
    assert release(trained, "--replace", "--dtype", "fp32", out=tmp_path / "toy") == 0
    assert json.loads((tmp_path / "toy" / "card.json").read_text())["dtype"] == "fp32"


def test_a_release_is_a_pretrained_model(trained, tmp_path, monkeypatch):
    from textxfer import ulmfit

    monkeypatch.setenv("TEXTXFER_MODELS", str(tmp_path))
    assert release(trained, "--shard-mb", "0.002", out=tmp_path / "toy") == 0
    assert list(ulmfit.pretrained("toy")) == ["forward", "backward"]
    assert Path(ulmfit.find("toy")) == tmp_path / "toy"
