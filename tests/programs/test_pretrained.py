"""Pretrained models by name: where they are looked for, how they are downloaded, and who takes a name."""

from __future__ import annotations

import configparser
import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.datasets.server import serve
from tests.programs.toys import TINY, documents, task, write_csv
from textxfer import presets, pretrained, ulmfit
from textxfer.artifact import ArtifactError, load_artifact
from textxfer.cli import main
from textxfer.directions import mark_pair
from textxfer.pretrained import lookup
from textxfer.text import DataError

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "src" / "textxfer" / "pretrained" / "en-small"


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """Nothing but what a test puts there: package, local folder and cache lie in the test's own folder."""
    for name in ("TEXTXFER_MODELS", "TEXTXFER_MODELS_URL", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(lookup, "_PACKAGE", tmp_path / "package")
    monkeypatch.setenv("TEXTXFER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(presets.PRESETS, "small", TINY)  # type: ignore[arg-type]
    monkeypatch.setattr("textxfer.cli.output.find_spec", lambda name: None)  # plots take long
    return {
        "package": tmp_path / "package",
        "local": tmp_path / "work" / "models",
        "cache": tmp_path / "cache" / "models",
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A pair of language models."""
    folder, data = tmp_path_factory.mktemp("made") / "en-toy", task(30)
    for direction in ("forward", "backward"):
        learn = ulmfit.language_model(data, recipe=TINY, backward=direction == "backward", seed=len(direction))
        ulmfit.save(folder / direction, learn, data, backward=direction == "backward")
    mark_pair(folder)
    return folder


@pytest.fixture
def site(made, tmp_path):
    """A server with the pair and its index."""
    shutil.copytree(made, tmp_path / "upload" / "en-toy")
    with serve() as running:
        publish(running, tmp_path / "upload")
        yield running


def publish(site, folder):
    pretrained.write_index(folder)
    paths = [path for path in folder.rglob("*") if path.is_file()]
    site.files = {f"/{path.relative_to(folder).as_posix()}": path.read_bytes() for path in paths}


def same(one: Path, other: Path) -> bool:
    weights = [load_artifact(folder / "backward").model.state_dict() for folder in (one, other)]
    return all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_the_order_of_the_places(made, places):
    for place in ("cache", "local", "package"):
        shutil.copytree(made, places[place] / "en-toy")
        assert pretrained.find("en-toy").resolve() == places[place] / "en-toy"
        assert f"in the {place} folder" in pretrained.describe("en-toy")
    assert "en-toy" in pretrained.names()


def test_a_folder_of_models_of_ones_own(made, places, tmp_path, monkeypatch):
    shutil.copytree(made, places["local"] / "en-toy")
    monkeypatch.setenv("TEXTXFER_MODELS", str(made.parent))
    assert pretrained.find("en-toy") == made
    assert list(ulmfit.pretrained("en-toy")) == ["forward", "backward"]


def test_an_empty_folder_is_no_model(made, places):
    (places["package"] / "en-toy").mkdir(parents=True)
    shutil.copytree(made, places["cache"] / "en-toy")
    assert pretrained.find("en-toy") == places["cache"] / "en-toy"


def test_nothing_is_asked_of_the_network_unasked(places, monkeypatch):
    monkeypatch.setattr(lookup, "fetch", lambda *_, **__: pytest.fail("the network was asked"))
    with pytest.raises(DataError, match="TEXTXFER_MODELS_URL") as error:
        pretrained.find("en-base")
    for place in ("package", "cache"):
        assert str(places[place] / "en-base") in str(error.value)
    assert "make pretrain-gpu" in str(error.value) and str(error.value).endswith("there are none on this machine")
    assert "not on this machine; made by: make pretrain-gpu" in pretrained.describe("en-base")
    with pytest.raises(DataError, match="no pretrained model is called 'xx'"):
        pretrained.describe("xx")


@pytest.mark.parametrize("name", ["../en-toy", "/en-toy", "a/b", "", ".hidden", "a..b", "en toy"])
def test_a_name_is_no_path(name):
    with pytest.raises(DataError, match="cannot be the name of a pretrained model"):
        pretrained.find(name)


def test_a_download_is_whole_and_asked_for_once(made, places, site, monkeypatch):
    found = pretrained.find("en-toy", url=f"{site.url}/", progress=False)
    assert found == places["cache"] / "en-toy" and same(found, made)
    asked = len(site.asked)
    monkeypatch.setenv("TEXTXFER_MODELS_URL", site.url)
    assert pretrained.find("en-toy") == found
    assert len(site.asked) == asked
    assert [path.name for path in places["cache"].iterdir()] == ["en-toy"]
    with pytest.raises(DataError, match="has no model 'en-other'; it has 'en-toy'"):
        pretrained.find("en-other")


def test_an_empty_folder_in_the_cache_is_no_download(made, places, site):
    target = places["cache"] / "en-toy"
    target.mkdir(parents=True)
    assert same(pretrained.find("en-toy", url=site.url, progress=False), made)
    shutil.rmtree(target)
    (target / "forward").mkdir(parents=True)
    with pytest.raises(DataError, match=r"en-toy: holds no model, neither pair\.json nor config\.json; move it away"):
        pretrained.find("en-toy", url=site.url, progress=False)
    assert (target / "forward").is_dir()


def test_a_download_that_breaks_leaves_no_model_and_goes_on(made, places, site, tmp_path):
    gone = site.files.pop("/en-toy/forward/vocab.json")
    with pytest.raises(DataError, match="404"):
        pretrained.find("en-toy", url=site.url, progress=False)
    assert not (places["cache"] / "en-toy").exists()
    site.files["/en-toy/forward/vocab.json"] = gone
    # In between the other half has become another one; what came of the old one must not stay.
    ulmfit.save(tmp_path / "upload/en-toy/backward", ulmfit.language_model(task(30), recipe=TINY), task(30))
    publish(site, tmp_path / "upload")
    site.asked.clear()
    found = pretrained.find("en-toy", url=site.url, progress=False)
    assert same(found, tmp_path / "upload/en-toy") and not same(found, made)
    assert "/en-toy/forward/config.json" not in {headers["path"] for headers in site.asked}
    assert sorted(path.name for path in found.iterdir()) == ["backward", "forward", "pair.json"]


def test_another_file_than_the_index_says(places, site):
    content = site.files["/en-toy/pair.json"]
    site.files["/en-toy/pair.json"] = content.replace(b"1", b"2")
    with pytest.raises(DataError, match="SHA-256"):
        pretrained.find("en-toy", url=site.url, progress=False)
    assert not (places["cache"] / "en-toy").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"path": "../../evil"}, "it must lie in the model's folder"),
        ({"path": "/etc/passwd"}, "it must lie in the model's folder"),
        ({"path": "a/../../b"}, "it must lie in the model's folder"),
        ({"path": "a\\..\\b"}, "it must lie in the model's folder"),
        ({"path": "c:/x"}, "it must lie in the model's folder"),
        ({"path": ".ssh"}, "it must lie in the model's folder"),
        ({"path": 7}, "it must lie in the model's folder"),
        ({"path": "forward/CONFIG.json"}, "a file twice"),
        ({"size": -1}, "the size is -1"),
        ({"size": "1"}, "the size is '1'"),
        ({"sha256": "abc"}, "not 64 hexadecimal digits"),
    ],
)
def test_a_bad_index_is_refused_before_anything_is_downloaded(places, site, change, message):
    index = json.loads(site.files["/index.json"])
    index["en-toy"][0] |= change
    site.files["/index.json"] = json.dumps(index).encode()
    with pytest.raises(DataError, match=message):
        pretrained.find("en-toy", url=site.url, progress=False)
    assert [headers["path"] for headers in site.asked] == ["/index.json"]
    assert list(places["cache"].rglob("*")) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no json", "is no index"),
        (b"[1]", "is no JSON object"),
        (b'{"en-toy": 1}', "no list of files"),
        (b'{"en-toy": [1]}', "file 1 is no JSON object"),
        (b'{"en-toy": []}', "is no model"),
    ],
)
def test_what_is_no_index(site, content, message):
    site.files["/index.json"] = content
    with pytest.raises(DataError, match=message):
        pretrained.find("en-toy", url=site.url, progress=False)


@pytest.mark.parametrize("url", ["file:///tmp", "en-toy", "http://", "http://[::1"])
def test_an_address_of_another_kind(url):
    with pytest.raises(DataError, match="must begin with http"):
        pretrained.find("en-toy", url=url)


def test_an_index_needs_models(tmp_path):
    with pytest.raises(DataError, match="no sub-folder holds a model"):
        pretrained.write_index(tmp_path)


def test_an_index_has_names_that_one_can_ask_for(made, tmp_path):
    shutil.copytree(made, tmp_path / "my model")
    with pytest.raises(DataError, match="my model: nobody could ask for a model of this name"):
        pretrained.write_index(tmp_path)
    assert not (tmp_path / "index.json").exists()


def test_an_existing_folder_wins_over_a_name(made, places, tmp_path):
    shutil.copytree(made, places["local"] / "en-toy")
    assert pretrained.resolve("en-toy").resolve() == places["local"] / "en-toy"
    shutil.copytree(made / "forward", Path("en-toy"))
    assert pretrained.resolve("en-toy") == Path("en-toy")
    assert pretrained.resolve(tmp_path / "nowhere") == tmp_path / "nowhere"  # who loads it says what is wrong


def test_commands_take_a_name(made, places, tmp_path, capsys):
    shutil.copytree(made, places["local"] / "en-toy")
    table = write_csv(tmp_path / "data.csv", documents(60))
    arguments = ["classify", str(table), "--base", "en-toy", "--out", str(tmp_path / "out"), "--direction", "forward"]
    assert main([*arguments, "--dry-run"]) == 0
    assert main(["finetune", str(table), "--base", "en-toy", "--out", str(tmp_path / "tuned")]) == 0
    assert (tmp_path / "tuned" / "model" / "pair.json").is_file()
    assert json.loads((tmp_path / "tuned" / "run.json").read_text())["config"]["base"] == "en-toy"
    capsys.readouterr()
    assert main(["generate", "en-toy", "--prompt", "red", "--tokens", "3", "--seed", "1"]) == 0
    assert capsys.readouterr().out.lower().startswith("red")
    assert main(["show", "en-toy"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("language model") == 2 and "language model, backward: " in shown
    assert main(["finetune", str(table), "--base", "en-tony", "--out", str(tmp_path / "x")]) == 2
    assert "no pretrained model 'en-tony'" in (error := capsys.readouterr().err)
    assert "there are en-toy" in error  # not those that are only written down


def test_the_wheel_holds_the_model_that_ships(made, tmp_path):
    from setuptools import Distribution
    from setuptools.command.build_py import build_py

    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    patterns = {name: value.split() for name, value in parser["options.package_data"].items()}
    folder = tmp_path / "src" / "textxfer" / "pretrained"
    shutil.copytree(made, folder / "en-small")
    shutil.copytree(made, folder / "en-other")
    for name in ("README.md", "card.json"):
        (folder / "en-small" / name).write_text("x")
    distribution = Distribution({"name": "textxfer", "package_data": patterns, "packages": ["textxfer.pretrained"]})
    command = build_py(distribution)
    command.finalize_options()
    command.manifest_files = {}
    found = command.find_data_files("textxfer.pretrained", str(folder))
    expected = {path for path in (folder / "en-small").rglob("*") if path.is_file()}
    assert len(expected) == 11
    assert {Path(path) for path in found} == expected


def test_the_model_that_ships(monkeypatch):
    monkeypatch.setattr(lookup, "_PACKAGE", SHIPPED.parent)
    models = ulmfit.pretrained("en-small")
    assert list(models) == ["forward", "backward"]
    card = json.loads((SHIPPED / "card.json").read_text())
    assert card["name"] == "en-small" and card["dtype"] == "fp16"
    for direction, artifact in models.items():
        assert artifact.backward == (direction == "backward")
        assert all(bool(value.isfinite().all()) for value in artifact.model.state_dict().values())
    assert "Use and limits" in (SHIPPED / "README.md").read_text()


def test_a_damaged_model_is_an_error_and_not_passed_over(made, places):
    shutil.copytree(made, places["local"] / "en-toy")
    (places["local"] / "en-toy" / "backward" / "model.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"backward is no complete model folder: model\.safetensors is missing"):
        ulmfit.pretrained("en-toy")
