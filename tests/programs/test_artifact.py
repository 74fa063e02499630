"""Model folders: what is saved is what is loaded, and what does not belong together is refused."""

from __future__ import annotations

import json
import math

import pytest
import torch

from tests.programs.toys import TINY, documents, task
from textxfer import ulmfit
from textxfer.artifact import ArtifactError, load_artifact, load_classifier, load_language_model, save_artifact
from textxfer.models import LanguageModel, TextClassifier
from textxfer.predict import Predictor
from textxfer.task import prepare
from textxfer.text import SubwordTokenizer


@pytest.fixture
def data():
    return task()


@pytest.fixture
def folder(tmp_path, data):
    return ulmfit.save(tmp_path / "model", ulmfit.classifier(data, recipe=TINY), data)


def test_round_trip_of_both_kinds(tmp_path, data):
    for learn, kind in (
        (ulmfit.language_model(data, recipe=TINY), LanguageModel),
        (ulmfit.classifier(data, recipe=TINY), TextClassifier),
    ):
        folder = ulmfit.save(tmp_path / kind.__name__, learn, data, backward=True)
        loaded = load_artifact(folder)
        assert isinstance(loaded.model, kind)
        assert not loaded.model.training
        assert loaded.backward
        assert loaded.vocab == data.vocab
        assert loaded.tokenizer.fingerprint == data.tokenizer.fingerprint
        assert list(loaded.classes) == (list(data.classes) if kind is TextClassifier else [])
        for (name, value), other in zip(learn.model.state_dict().items(), loaded.model.state_dict().values()):
            assert torch.equal(value, other), name


def test_a_card_has_its_numbers_back_and_is_strict_json(tmp_path, data):
    card = {"history": [{"train_loss": math.nan, "perplexity": math.inf, "epoch": 0}]}
    folder = save_artifact(tmp_path / "model", ulmfit.classifier(data, recipe=TINY).model, data, card=card)
    json.loads((folder / "config.json").read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    (row,) = load_artifact(folder).card["history"]
    assert math.isnan(row["train_loss"]) and (row["perplexity"], row["epoch"]) == (math.inf, 0)


def test_a_folder_has_four_plain_files(folder):
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["config.json", "model.safetensors", "tokenizer.json", "vocab.json"]


def test_the_wrong_kind_is_named(folder, tmp_path, data):
    with pytest.raises(ArtifactError, match="holds a classifier; a language model is needed"):
        load_language_model(folder)
    language = ulmfit.save(tmp_path / "lm", ulmfit.language_model(data, recipe=TINY), data)
    with pytest.raises(ArtifactError, match="holds a language model; a classifier is needed"):
        load_classifier(language)


def test_another_vocabulary_is_refused(folder, tmp_path):
    other = ulmfit.save(tmp_path / "other", ulmfit.classifier(task(30), recipe=TINY), task(30))
    tokens = json.loads((folder / "vocab.json").read_text())
    tokens["tokens"][-2:] = reversed(tokens["tokens"][-2:])
    for text in (json.dumps(tokens), (other / "vocab.json").read_text() + " "):
        (folder / "vocab.json").write_text(text)
        with pytest.raises(ArtifactError, match="vocab"):
            load_artifact(folder)


def test_the_vocabulary_of_another_model_is_named(folder, tmp_path):
    from textxfer.text import Vocab

    tokens = load_artifact(folder).vocab.tokens
    Vocab([*tokens[:-2], tokens[-1], tokens[-2]]).save(folder / "vocab.json")
    with pytest.raises(ArtifactError, match="this vocabulary is not the one that the model was trained with"):
        load_artifact(folder)


@pytest.mark.parametrize("name", ["config.json", "vocab.json", "tokenizer.json", "model.safetensors"])
@pytest.mark.parametrize("damage", ["gone", "cut", "empty", "other"])
def test_damage_is_named(folder, name, damage):
    path = folder / name
    data = path.read_bytes()
    path.unlink()
    if damage != "gone":
        path.write_bytes({"cut": data[: len(data) // 2], "empty": b"", "other": b"[1, 2]"}[damage])
    with pytest.raises(ArtifactError, match=name.split(".")[0]):
        load_artifact(folder)


def test_weights_of_another_shape(folder, tmp_path, data):
    from dataclasses import replace

    other = ulmfit.save(tmp_path / "other", ulmfit.classifier(data, recipe=replace(TINY, hidden=20)), data)
    (folder / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    with pytest.raises(ArtifactError, match=r"does not fit config.json.*encoder"):
        load_artifact(folder)


def test_unknown_format(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"format": 9}))
    with pytest.raises(ArtifactError, match="format 9; this version reads format 1"):
        load_artifact(folder)


def test_no_such_folder(tmp_path):
    with pytest.raises(ArtifactError, match="there is no such folder"):
        load_artifact(tmp_path / "nowhere")


def test_a_folder_around_models_names_them(tmp_path, data):
    ulmfit.save(tmp_path / "run" / "model", ulmfit.classifier(data, recipe=TINY), data)
    with pytest.raises(ArtifactError, match=r"config\.json is missing; there are models inside: model$"):
        load_artifact(tmp_path / "run")


def test_a_foreign_folder_is_never_replaced(tmp_path, data):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="exists already and is no model folder"):
        ulmfit.save(tmp_path, ulmfit.classifier(data, recipe=TINY), data)
    for config in ('{"model_type": "bert"}', "[1]", "", '{"kind": ["classifier"]}'):  # others call files so, too
        (tmp_path / "config.json").write_text(config)
        with pytest.raises(ArtifactError, match="exists already and is no model folder"):
            ulmfit.save(tmp_path, ulmfit.classifier(data, recipe=TINY), data)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_failed_write_keeps_the_old_model(folder, data, monkeypatch):
    before = (folder / "model.safetensors").read_bytes()

    def full(*args):
        raise OSError("no space left on device")

    monkeypatch.setattr("textxfer.weights.save_file", full)
    with pytest.raises(OSError, match="no space"):
        ulmfit.save(folder, ulmfit.classifier(data, recipe=TINY, seed=5), data)
    assert (folder / "model.safetensors").read_bytes() == before
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_model_and_vocabulary_must_agree_in_size(tmp_path, data):
    other = task(3)
    learn = ulmfit.language_model(data, recipe=TINY)
    with pytest.raises(ArtifactError, match=r"the model has \d+ tokens, its vocabulary \d+"):
        save_artifact(tmp_path / "m", learn.model, other)


def test_a_subword_tokenizer_travels_with_the_model(tmp_path):
    pytest.importorskip("tokenizers")
    train = documents()
    tokenizer = SubwordTokenizer.train((document.text for document in train), size=300)
    data = prepare(train, recipe=TINY, tokenizer=tokenizer)
    assert data.vocab.tokens == tokenizer.pieces
    folder = ulmfit.save(tmp_path / "model", ulmfit.classifier(data, recipe=TINY), data)
    loaded = load_artifact(folder)
    assert loaded.tokenizer == tokenizer
    assert loaded.tokenizer("something never seen 🦕") == tokenizer("something never seen 🦕")
    (prediction,) = Predictor.load(folder)(["something never seen 🦕"])
    assert prediction.label in data.classes


def test_half_precision_halves_the_bytes_and_is_read_as_float32(folder, tmp_path, data):
    model = load_classifier(folder)[0]
    half = save_artifact(tmp_path / "half", model, data, dtype="fp16")
    assert json.loads((half / "config.json").read_text())["dtype"] == "fp16"
    sizes = [(path / "model.safetensors").stat().st_size for path in (folder, half)]
    assert sizes[1] < 0.6 * sizes[0]
    for name, value in load_artifact(half).model.state_dict().items():
        own = model.state_dict()[name]
        expected = own.half().float() if own.is_floating_point() else own
        assert value.dtype == own.dtype and torch.equal(value, expected), name


def test_a_weight_that_float16_cannot_hold_is_named(tmp_path, data):
    model = ulmfit.language_model(data, recipe=TINY).model
    with torch.no_grad():
        model.encoder.embedding.weight[3, 2] = -70_000.0
    with pytest.raises(ArtifactError, match=r"encoder\.embedding\.weight has a value of 70000, float16 ends at 65504"):
        save_artifact(tmp_path / "m", model, data, dtype="fp16")
    assert not (tmp_path / "m").exists()
    save_artifact(tmp_path / "m", model, data)


def sharded(folder, data, limit=1000, **options):
    model = ulmfit.classifier(data, recipe=TINY, seed=3).model
    return model, save_artifact(folder, model, data, shard_bytes=limit, **options)


@pytest.mark.parametrize("limit", [600, 2000, 5000, 1_000_000])
def test_shards_are_small_enough_and_come_together_again(tmp_path, data, limit):
    model, folder = sharded(tmp_path / "m", data, limit)
    files = sorted(folder.glob("*.safetensors"))
    assert files[0].name == f"model-00001-of-{len(files):05d}.safetensors"
    assert max(path.stat().st_size for path in files) <= limit
    assert len(files) >= sum(tensor.nbytes for tensor in model.state_dict().values()) / limit
    loaded = load_artifact(folder).model.state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(value, loaded[name]), name
    shards = json.loads((folder / "config.json").read_text())["shards"]
    parts = sum("encoder.embedding.weight" in entry["rows"] for entry in shards.values())
    assert (parts > 1) == (limit < 1680)  # 35 rows of 48 bytes


def test_a_row_that_no_shard_can_hold(tmp_path, data):
    with pytest.raises(ArtifactError, match=r"a file of 100 bytes cannot hold a row of encoder\.embedding\.weight"):
        sharded(tmp_path / "m", data, 100)


@pytest.mark.parametrize("damage", ["gone", "cut", "other"])
def test_a_damaged_shard_is_named(tmp_path, data, damage):
    _, folder = sharded(tmp_path / "m", data)
    path = sorted(folder.glob("*.safetensors"))[1]
    content = path.read_bytes()
    path.unlink()
    if damage != "gone":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]) if damage == "other" else content[:-1])
    what = {"gone": "is missing", "cut": "bytes where", "other": "SHA-256"}[damage]
    with pytest.raises(ArtifactError, match=rf"{path.name}.*{what}"):
        load_artifact(folder)


def _edit(folder, change):
    config = json.loads((folder / "config.json").read_text())
    change(config["shards"])
    (folder / "config.json").write_text(json.dumps(config))


def test_shards_whose_rows_do_not_add_up(tmp_path, data):
    _, folder = sharded(tmp_path / "m", data)
    names = [path.name for path in sorted(folder.glob("*.safetensors"))]
    _edit(folder, lambda shards: shards.pop(names[0]))
    with pytest.raises(ArtifactError, match=r"config\.json: what its shards hold .*encoder\.embedding\.weight"):
        load_artifact(folder)


def test_a_list_of_shards_that_lies_about_rows(tmp_path, data):
    _, folder = sharded(tmp_path / "m", data)
    first = min(path.name for path in folder.glob("*.safetensors"))
    _edit(folder, lambda shards: shards[first]["rows"].update({"encoder.embedding.weight": [0, 1]}))
    with pytest.raises(ArtifactError, match=f"{first} does not hold the rows"):
        load_artifact(folder)
    _edit(folder, lambda shards: shards.update({"../../x.safetensors": shards.pop(first)}))
    with pytest.raises(ArtifactError, match=r"config\.json is damaged.*is no name of a shard"):
        load_artifact(folder)


def test_sizes_are_compared_before_memory_is_taken(folder):
    """A model of the claimed size would have 40 TB."""
    config = json.loads((folder / "config.json").read_text())
    config["encoder"]["vocab"] = 10**12
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ArtifactError, match=r"does not fit config\.json.*encoder\.embedding\.weight"):
        load_artifact(folder)


def test_folders_from_before_there_were_dtypes(folder):
    config = json.loads((folder / "config.json").read_text())
    assert config.pop("dtype") == "fp32"
    before = load_artifact(folder).model.state_dict()
    (folder / "config.json").write_text(json.dumps(config))
    assert all(torch.equal(value, before[name]) for name, value in load_artifact(folder).model.state_dict().items())


def test_unknown_numbers(folder, data):
    with pytest.raises(ValueError, match="dtype must be one of fp32, fp16"):
        save_artifact(folder, load_artifact(folder).model, data, dtype="int4")  # type: ignore[arg-type]
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"dtype": "int4"}))
    with pytest.raises(ArtifactError, match="dtype 'int4'; this version knows fp32, fp16"):
        load_artifact(folder)
