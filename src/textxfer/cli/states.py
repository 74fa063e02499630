"""States of a run that is not finished: a folder beside its output folder, from which `--resume` goes on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from textxfer.callbacks import SaveEvery
from textxfer.cli.config import Resumable
from textxfer.directions import DIRECTIONS, Direction
from textxfer.files import write_json
from textxfer.options import to_json
from textxfer.task import TaskData
from textxfer.text import DataError
from textxfer.text.files import read_json
from textxfer.training import Learner, checkpoints

_CARD = "run.json"
_FREE = ("resume", "replace", "save_minutes", "device", "workers", "dry_run")
"""Options that may differ when a run is resumed: they say where and how it runs, not what it learns."""


def unfinished(out: Path) -> Path:
    """Return the folder for the states of the run that writes `out`."""
    return out.with_name(f"{out.name}.unfinished")


def has_states(out: Path) -> bool:
    """Whether there is a state to go on from."""
    return any(checkpoints(unfinished(out) / direction) for direction in DIRECTIONS)


def check_unfinished(config: Resumable) -> None:
    """Refuse, before any work is done, to begin anew over an unfinished run, or to resume none.

    Raises:
        DataError: There is a state and `--resume` is not given, or the other way round, or the run had other options.
    """
    folder = unfinished(config.out)
    if config.dry_run:
        return
    if not has_states(config.out):
        if config.resume:
            raise DataError(f"{folder} holds no state to go on from: leave out --resume")
        return
    if not config.resume:
        raise DataError(f"{folder} holds an unfinished run: go on with --resume, or remove it to begin anew")
    was, now = _card(folder)["config"], _decisive(config)
    if differ := [f"{name} was {was.get(name)!r}, not {now[name]!r}" for name in now if was.get(name) != now[name]]:
        raise DataError(f"{folder} holds a run with other options: {'; '.join(differ)}")


def note_run(config: Resumable, data: TaskData) -> None:
    """Note which run the states belong to.

    Raises:
        DataError: The run to be resumed read other text.
    """
    folder = unfinished(config.out)
    text = {"documents": len(data.train), "tokens": data.train.n_tokens, "vocab": data.vocab.fingerprint}
    if config.resume:
        was = _card(folder)["text"]
        if was != text:
            raise DataError(
                f"the data has changed since {folder} was written, {was['tokens']:,} tokens then and "
                f"{text['tokens']:,} now: remove that folder to begin anew"
            )
    else:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / _CARD, {"config": _decisive(config), "text": text})


def keep_states(config: Resumable, learn: Learner, direction: Direction) -> None:
    """Let a learner write states of its training in one direction, and go on from the last one if there is one."""
    folder = unfinished(config.out) / direction
    learn.callbacks.append(SaveEvery(folder, minutes=config.save_minutes))
    if checkpoints(folder):
        learn.resume(folder)


def forget_states(config: Resumable) -> None:
    """Remove the states of a run whose output is written."""
    shutil.rmtree(unfinished(config.out), ignore_errors=True)


def _card(folder: Path) -> dict[str, Any]:
    return read_json(folder / _CARD, "the card of an unfinished run")


def _decisive(config: Resumable) -> dict[str, Any]:
    return {name: value for name, value in to_json(config).items() if name not in _FREE}
