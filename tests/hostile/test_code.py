"""Nothing in a file is run: pickles with code are refused, in whatever they are packed, and nobody else reads any."""

from __future__ import annotations

import ast
import builtins
import copyreg
import functools
import io
import os
import pickle
import subprocess
import sys
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.programs.old_nets import TOKENS, Plain
from textxfer.artifact import ArtifactError
from textxfer.datasets import unpack
from textxfer.importing import import_weights, read_tokens, read_weights

SOURCE = Path(__file__).resolve().parents[2] / "src" / "textxfer"


class Calls:
    """Calls a function when it is unpickled."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def payloads(bait: Path) -> dict[str, object]:
    """Return values that make a folder, or might, when they are unpickled."""
    code = f"__import__('os').mkdir({str(bait)!r})"
    inner = pickle.dumps(Calls(os.mkdir, str(bait)))
    return {
        "os.mkdir": Calls(os.mkdir, str(bait)),
        "os.system": Calls(os.system, f"mkdir {bait}"),
        "subprocess": Calls(subprocess.check_call, ["mkdir", str(bait)]),
        "eval": Calls(builtins.eval, code),
        "exec": Calls(builtins.exec, code),
        "import": Calls(builtins.__import__, "antigravity_of_nobody"),
        "getattr": Calls(builtins.getattr, Calls(__import__, "os"), "x"),
        "partial": Calls(functools.partial(os.mkdir, str(bait))),
        "partial in a map": Calls(list, Calls(map, os.mkdir, [str(bait)])),
        "copyreg": Calls(copyreg._reconstructor, subprocess.Popen, object, None),  # type: ignore[attr-defined]
        "a pickle in a pickle": Calls(pickle.loads, inner),
        "torch.load": Calls(torch.load, str(bait)),
        "nested": [{"a": [("b", Calls(os.mkdir, str(bait)))]}],
        "as a key": {Calls(os.mkdir, str(bait)): "a"},
    }


NAMES = sorted(payloads(Path("x")))


_noted: list[str] = []
_EVENTS = ("os.system", "subprocess.Popen", "os.mkdir", "os.exec", "os.posix_spawn")


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if event in _EVENTS:
        _noted.append(f"{event} {arguments!r:.100}")


@functools.cache
def _watch() -> None:
    sys.addaudithook(_hook)  # cannot be taken away again


@contextmanager
def watched() -> Iterator[list[str]]:
    """Note the processes that start and the folders that are made."""
    _watch()
    _noted.clear()
    yield _noted


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("protocol", [0, 2, pickle.HIGHEST_PROTOCOL])
def test_vocabularies(tmp_path: Path, name: str, protocol: int) -> None:
    bait = tmp_path / "bait"
    for value in (payloads(bait)[name], ["the", payloads(bait)[name]]):
        (tmp_path / "itos.pkl").write_bytes(pickle.dumps(value, protocol))
        with watched() as noted, pytest.raises(ArtifactError, match=r"itos\.pkl"):
            read_tokens(tmp_path / "itos.pkl")
        assert noted == []
    assert not bait.exists()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("new_format", [True, False])
def test_weights(tmp_path: Path, name: str, new_format: bool) -> None:
    bait, path = tmp_path / "bait", tmp_path / "model.pth"
    payload = payloads(bait)[name]
    weights = Plain(len(TOKENS), 1).fastai()
    for value in (payload, {"model": weights, "opt": payload}, OrderedDict(weights, bias=payload)):
        torch.save(value, path, _use_new_zipfile_serialization=new_format)
        with watched() as noted, pytest.raises(ArtifactError, match=r"model\.pth"):
            read_weights(path)
        assert noted == []
    path.write_bytes(pickle.dumps(payload, 2))
    with pytest.raises(ArtifactError, match=r"model\.pth"):
        read_weights(path)
    assert not bait.exists()


def test_the_baits_work(tmp_path: Path) -> None:
    for name in ("os.mkdir", "os.system", "eval", "exec", "a pickle in a pickle", "nested", "partial"):
        bait = tmp_path / name.replace(" ", "-")
        with watched() as noted:
            pickle.loads(pickle.dumps(payloads(bait)[name]))
        assert bait.exists(), name
        assert noted, name


def test_pickles_out_of_an_archive(tmp_path: Path) -> None:
    """To unpack an archive reads nothing of its files, and what was in it is refused as if it had lain there."""
    bait = tmp_path / "bait"
    harmful = pickle.dumps(["the", Calls(os.mkdir, str(bait))])
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as tar:
        member = tarfile.TarInfo("model/itos.pkl")
        member.size = len(harmful)
        tar.addfile(member, io.BytesIO(harmful))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("model/itos.pkl", harmful)
    for archive in ("a.tgz", "a.zip"):
        place = unpack(tmp_path / archive, tmp_path / f"{archive}.d") / "model"
        torch.save(Plain(len(TOKENS), 1).fastai(), place / "model.pth")
        with pytest.raises(ArtifactError, match=r"itos\.pkl: no pickle of a list of strings, and not run"):
            import_weights(place / "model.pth", place / "itos.pkl")
    assert not bait.exists()


ALLOWED = {
    ("importing/vocab_files.py", "pickle"),
    ("importing/vocab_files.py", "pickletools"),
    ("importing/weight_scan.py", "pickletools"),
    ("importing/weight_files.py", "torch.load"),
    ("testing.py", "eval"),
}
"""Where the words may occur: the importer, whose files are read above, and `eval` of a repr by one's own test."""
MODULES = {"pickle", "pickletools", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml", "code"}
CALLS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "torch.load",
    "torch.hub.load",
    "pd.read_pickle",
    "pandas.read_pickle",
}


def risky(source: str) -> set[str]:
    """Return what a module imports or calls that can run what stands in a file."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names} & MODULES
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module.split(".")[0]} & MODULES
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            found |= {name} & CALLS
            for keyword in node.keywords:
                if keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False":
                    found.add("allow_pickle")
                if keyword.arg == "weights_only" and ast.unparse(keyword.value) != "True":
                    found.add("weights_only")
            if name in ("np.load", "numpy.load") and "allow_pickle" not in {each.arg for each in node.keywords}:
                found.add("np.load without allow_pickle=False")
    return found


def test_nobody_else_reads_what_can_run() -> None:
    found = set()
    for path in SOURCE.rglob("*.py"):
        place = path.relative_to(SOURCE).as_posix()
        found |= {(place, what) for what in risky(path.read_text(encoding="utf-8"))}
    assert found == ALLOWED


def test_what_can_run_is_found() -> None:
    assert risky("import pickle.x\nfrom yaml import load\nnp.load(p)\nnp.load(p, allow_pickle=True)\neval('1')") == {
        "pickle",
        "yaml",
        "np.load without allow_pickle=False",
        "allow_pickle",
        "eval",
    }
    assert risky("torch.load(p, weights_only=False)") == {"torch.load", "weights_only"}
    assert risky("np.load(p, allow_pickle=False)\nmodel.eval()\nre.compile('a')") == set()
