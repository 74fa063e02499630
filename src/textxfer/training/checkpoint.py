"""A training state on disk: a folder of three files, complete or absent, and a pointer to the latest one.

`model.safetensors` holds the weights, `state.safetensors` the other tensors (optimizer, random generators, callbacks,
gradients in flight), `trainer.json` everything else. Nothing is pickled.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from textxfer.files import new_folder, write_text
from textxfer.training.state import FORMAT, CheckpointError, TrainingState, capture, restore

if TYPE_CHECKING:
    from textxfer.training.learner import Learner

_MODEL, _STATE, _VALUES, _LATEST = "model.safetensors", "state.safetensors", "trainer.json", "latest"


def save(learn: Learner, folder: Path) -> Path:
    """Write the state of a learner into a new sub-folder; it appears under its name only when it is complete."""
    state = capture(learn)
    target = _free_name(folder, f"step-{len(learn.history.steps['fit']):08d}")
    with new_folder(target) as scratch:
        save_file({key: value.contiguous() for key, value in state.part("model").items()}, scratch / _MODEL)
        rest = {key: value.contiguous() for key, value in state.tensors.items() if not key.startswith("model/")}
        save_file(rest, scratch / _STATE)
        (scratch / _VALUES).write_text(json.dumps(state.values), encoding="utf-8")
    write_text(folder / _LATEST, f"{target.name}\n")
    return target


def load(folder: Path) -> TrainingState:
    """Read a state: from its own folder, or from the folder that `save` was given (the latest one).

    Raises:
        CheckpointError: If there is none, or if it is damaged or of an unknown format.
    """
    pointer = folder / _LATEST
    place = folder / pointer.read_text(encoding="utf-8").strip() if pointer.is_file() else folder
    for name in (_MODEL, _STATE, _VALUES):
        if not (place / name).is_file():
            raise CheckpointError(f"no training state in {place}: {name} is missing")
    try:
        values = json.loads((place / _VALUES).read_text(encoding="utf-8"))
        tensors = {f"model/{name}": value for name, value in load_file(place / _MODEL).items()}
        tensors |= load_file(place / _STATE)
    except (SafetensorError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(
            f"the training state in {place} is damaged ({error}); resume from an older one"
        ) from error
    if values.get("format") != FORMAT:
        raise CheckpointError(f"{place} has format {values.get('format')!r}; this version reads format {FORMAT}")
    return TrainingState(tensors, values)


def resume(learn: Learner, folder: Path) -> None:
    """Read a state into a learner; see `Learner.resume`."""
    if learn.in_fit:
        raise CheckpointError("resume() is called before a fit, not within one")
    state = load(folder)
    restore(learn, state)
    learn.resumed = state if state.values["fit"] is not None else None


def checkpoints(folder: Path) -> list[Path]:
    """List the complete states below a folder, oldest first."""
    return sorted(path for path in folder.glob("step-*") if (path / _VALUES).is_file())


def _free_name(folder: Path, name: str) -> Path:
    """Choose a name that is not taken: a state at the end of an epoch follows one at its last batch."""
    number, target = 0, folder / name
    while target.exists():
        number += 1
        target = folder / f"{name}.{number}"
    return target
