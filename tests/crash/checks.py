"""What must hold whenever a process has ended: whole files, and states and outputs that are the unbroken run's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from textxfer.artifact import load_artifact
from textxfer.text import TokenStore
from textxfer.training.checkpoint import load
from textxfer.training.state import TrainingState

Digest = dict[str, str]
"""Parts of a training state and the SHA-256 of each."""
Outcome = dict[str, str]
"""Files of an output folder and the SHA-256 of each."""

_FREE = {"seconds", "began", "versions", "measured_with", "out", "replace", "resume", "save_minutes", "run"}
"""JSON values that may differ from run to run: times, its name, and what says where and how a command runs."""
_END_OF_PNG = b"IEND\xaeB`\x82"


def outcome(folder: Path) -> Outcome:
    """Return what a command has written, without times and plots."""
    found: Outcome = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != ".png":
            data = path.read_bytes()
            if path.suffix == ".json":
                data = _canonical(json.loads(data))
            found[path.relative_to(folder).as_posix()] = hashlib.sha256(data).hexdigest()
    return found


def states_below(folder: Path) -> dict[str, Digest]:
    """Read all training states below a folder: digests by place and moment.

    Raises:
        Exception: One of them is not complete and sound.
    """
    found: dict[str, Digest] = {}
    for place in state_folders(folder):
        state = load(place)
        found[f"{place.parent.relative_to(folder).as_posix()} {_moment(state)}"] = digest(state)
    return found


def state_folders(folder: Path) -> list[Path]:
    """Return the folders of states below a folder that are under a name of their own."""
    found = sorted(folder.glob("**/step-*/"))
    return [place for place in found if not _is_hidden(place, folder)]


def digest(state: TrainingState) -> Digest:
    """Return the SHA-256 of each part: weights, moments of the optimizer, callbacks, their hidden state, and so on."""
    parts: dict[str, Any] = {f"value {name}": hashlib.sha256(_canonical(v)) for name, v in state.values.items()}
    for key in sorted(state.tensors):
        part = parts.setdefault(f"tensors {key.split('/')[0]}", hashlib.sha256())
        part.update(key.encode() + _bytes(state.tensors[key]))
    return {name: part.hexdigest() for name, part in parts.items()}


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    """Name the keys whose values differ; empty if none do."""
    names = [name for name in sorted(found.keys() | wanted.keys()) if found.get(name) != wanted.get(name)]
    return ", ".join(names)


def unequal_states(found: dict[str, Digest], whole: dict[str, Digest]) -> Iterator[str]:
    """Compare states with those that the unbroken run had at the same moments."""
    for moment, own in found.items():
        if moment not in whole:
            yield f"the state of {moment} is of a moment that the unbroken run did not have"
        elif differ := differences(own, whole[moment]):
            yield f"the state of {moment} differs in {differ}"


def unreadable(folder: Path) -> Iterator[str]:
    """Open whatever is under a name of its own; only what begins with a dot may be half written."""
    for path in sorted(folder.rglob("*")):
        if _is_hidden(path, folder):
            continue
        try:
            _open(path)
        except Exception as error:  # whatever it is: a file under its final name cannot be read
            yield f"{path.relative_to(folder)}: {type(error).__name__}: {error}"


def leftovers(folder: Path) -> list[str]:
    """Return names that a finished run must not leave: those that begin with a dot, and the folder of its states."""
    names = (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")))
    return [name for name in names if "/." in f"/{name}" or name.endswith(".unfinished")]


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _open(path: Path) -> None:
    if path.is_dir():
        if path.name.startswith("step-"):
            load(path)
        elif (path / "tokenizer.json").exists() and (path / "config.json").exists():
            load_artifact(path)
        elif (path / "meta.json").exists():
            TokenStore.open(path)
    elif path.suffix == ".json":
        json.loads(path.read_text(encoding="utf-8"))
    elif path.suffix == ".safetensors":
        load_file(path)
        with safe_open(path, "pt") as file:
            file.metadata()
    elif path.suffix == ".npy":
        np.load(path)
    elif path.suffix == ".png" and not path.read_bytes().endswith(_END_OF_PNG):
        raise ValueError("no whole picture")
    elif path.name == "latest" and not (path.parent / path.read_text().strip()).is_dir():
        raise ValueError("names a state that is not there")


def _moment(state: TrainingState) -> str:
    """Name the moment of a state: fits, epochs and batches done."""
    fit = state.values["fit"]
    place = "between fits" if fit is None else f"epoch {fit['next_epoch']} batch {fit['next_batch']}"
    steps = len(state.values["history"]["steps"]["fit"])
    return f"fit {state.values['fits_done']} {place} step {steps}"


def _canonical(value: Any) -> bytes:
    return json.dumps(_without_free(value), sort_keys=True).encode()


def _without_free(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_free(item) for key, item in value.items() if key not in _FREE}
    return [_without_free(item) for item in value] if isinstance(value, list) else value


def _bytes(tensor: Tensor) -> bytes:
    return f"{tensor.dtype}{tuple(tensor.shape)}".encode() + tensor.contiguous().numpy().tobytes()
