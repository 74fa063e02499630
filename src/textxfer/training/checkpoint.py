"""A training state on disk: a folder of four files, complete or absent, and a pointer to the latest one.

`model.safetensors` holds the weights, `state.safetensors` the other tensors (optimizer, random generators, callbacks,
gradients in flight), `trainer.json` everything else, and `SHA256SUMS` the checksums of the three, as `sha256sum -c`
reads them. Nothing is pickled. States of format 1, which had no checksums, are read as well.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from textxfer.files import checksum, new_folder, system_errors, write_text
from textxfer.training.state import FORMAT, READS, CheckpointError, TrainingState, capture
from textxfer.training.state_restore import restore

if TYPE_CHECKING:
    from textxfer.training.learner import Learner

_log = logging.getLogger(__name__)
_MODEL, _STATE, _VALUES = "model.safetensors", "state.safetensors", "trainer.json"
_SUMS, _LATEST = "SHA256SUMS", "latest"


class DamagedState(CheckpointError):
    """The files of a training state are not what was written."""


def save(learn: Learner, folder: Path) -> Path:
    """Write the state of a learner into a new sub-folder; it appears under its name only when it is complete."""
    state = capture(learn)
    target = next_state(learn, folder)
    with new_folder(target) as scratch:
        _write(scratch / _MODEL, state.part("model"))
        _write(scratch / _STATE, {key: value for key, value in state.tensors.items() if not key.startswith("model/")})
        (scratch / _VALUES).write_text(json.dumps(state.values), encoding="utf-8")
        sums = (f"{checksum(scratch / name)}  {name}\n" for name in (_MODEL, _STATE, _VALUES))
        (scratch / _SUMS).write_text("".join(sums), encoding="utf-8")
    write_text(folder / _LATEST, f"{target.name}\n")
    return target


def load(folder: Path) -> TrainingState:
    """Read a state: from its own folder, or the latest sound one from the folder that `save` was given.

    Raises:
        CheckpointError: If there is none, or if it is damaged or of an unknown format.
    """
    states = _latest_first(folder)
    if not states:
        return _read(folder)
    damaged = []
    for place in states:
        try:
            return _read(place)
        except DamagedState as error:
            _log.warning("%s; the state before it is tried", error)
            damaged.append(str(error))
    raise DamagedState(f"{folder} has no state to resume from: {'; '.join(damaged)}")


def resume(learn: Learner, folder: Path) -> None:
    """Read a state into a learner; see `Learner.resume`."""
    if learn.in_fit:
        raise CheckpointError("resume() is called before a fit, not within one")
    state = load(folder)
    restore(learn, state)
    learn.resumed = state if state.values["fit"] is not None else None


def next_state(learn: Learner, folder: Path) -> Path:
    """Return the sub-folder that `save` writes next; a state at the end of an epoch follows one at its last batch."""
    name = f"step-{len(learn.history.steps['fit']):08d}"
    number, target = 0, folder / name
    while target.exists():
        number += 1
        target = folder / f"{name}.{number}"
    return target


def checkpoints(folder: Path) -> list[Path]:
    """Return the complete states below a folder, oldest first.

    Args:
        folder: What `Learner.save` was given.
    """
    return sorted(path for path in folder.glob("step-*") if (path / _VALUES).is_file())


def _write(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors with the rights that new files have here; safetensors lets their owner alone read them."""
    path.touch()
    rights = path.stat().st_mode
    with system_errors(path):
        save_file(_apart(tensors), path)
    path.chmod(rights)


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return contiguous tensors of which no two share memory, as safetensors asks: tied weights are written twice."""
    taken: dict[tuple[torch.device, int], list[tuple[int, int]]] = {}
    apart = {}
    for key, value in tensors.items():
        tensor = value.detach().contiguous()
        first, last = tensor.data_ptr(), tensor.data_ptr() + tensor.nbytes
        spans = taken.setdefault((tensor.device, tensor.untyped_storage().data_ptr()), [])
        shared = any(first < end and begin < last for begin, end in spans)
        spans.append((first, last))
        apart[key] = tensor.clone() if shared else tensor
    return apart


def _read(place: Path) -> TrainingState:
    """Read the state in a folder of its own."""
    if not place.is_dir():
        raise DamagedState(f"no training state in {place}: there is no such folder")
    for name in (_MODEL, _STATE, _VALUES):
        if not (place / name).is_file():
            raise DamagedState(f"no training state in {place}: {name} is missing")
    _check_sums(place)
    try:
        values = json.loads((place / _VALUES).read_text(encoding="utf-8"))
        tensors = {f"model/{name}": value for name, value in load_file(place / _MODEL).items()}
        tensors |= load_file(place / _STATE)
    except (SafetensorError, ValueError, RecursionError, KeyError, AttributeError) as error:
        raise DamagedState(f"the training state in {place} is damaged ({error})") from error
    if not isinstance(values, dict) or values.get("format") not in READS:
        found = values.get("format") if isinstance(values, dict) else values
        raise CheckpointError(f"{place} has format {found!r}; this version reads {' and '.join(map(str, READS))}")
    if values["format"] == FORMAT and not (place / _SUMS).is_file():
        raise DamagedState(f"no training state in {place}: {_SUMS} is missing")
    return TrainingState(tensors, values, f"the training state in {place}")


def _check_sums(place: Path) -> None:
    """Compare the files with their checksums; states of format 1 have none."""
    if not (place / _SUMS).is_file():
        return
    lines = (place / _SUMS).read_text(encoding="utf-8", errors="replace").splitlines()
    expected = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    for name in (_MODEL, _STATE, _VALUES):
        if expected.get(name) != checksum(place / name):
            raise DamagedState(f"the training state in {place} is damaged ({name} is not what {_SUMS} says)")


def _latest_first(folder: Path) -> list[Path]:
    """Return the states below a folder: the one that was written last, then the others, latest first."""
    states = [path for path in folder.glob("step-*") if path.is_dir()]
    states.sort(key=lambda path: (path.stat().st_mtime, path.name), reverse=True)
    pointer = folder / _LATEST
    latest = pointer.read_text(encoding="utf-8", errors="replace").strip() if pointer.is_file() else ""
    return sorted(states, key=lambda path: path.name != latest)
