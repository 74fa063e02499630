"""States of a run that is not finished: a folder beside its output folder, from which `--resume` goes on."""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from textxfer import distributed
from textxfer.callbacks import SaveEvery
from textxfer.cli.common import Resumable
from textxfer.cli.config import PretrainConfig
from textxfer.files import remove_folder, remove_leftovers, write_json
from textxfer.options import to_json
from textxfer.task import TaskData
from textxfer.text import DataError, TokenStore
from textxfer.text.files import read_json
from textxfer.training import Learner, checkpoints

_CARD = "run.json"
_FREE = ("resume", "replace", "save_minutes", "device", "workers", "dry_run", "timeout_minutes")
"""Options that may differ when a run is resumed: they say where and how it runs, not what it learns."""
_WITHOUT_EFFECT = ("valid", "tokenizer", "language")


AnyResumable = TypeVar("AnyResumable", bound=Resumable)


def after_restart(config: AnyResumable) -> AnyResumable:
    """Return the options with `--resume` if torchrun has started the command again and there is a state."""
    if distributed.restarts() and not config.resume and has_states(config.out):
        if distributed.is_main():
            print(f"started again by torchrun: going on from {unfinished(config.out)}", flush=True)
        return replace(config, resume=True)
    return config


def unfinished(out: Path) -> Path:
    """Return the folder for the states of the run that writes `out`."""
    return out.with_name(f"{out.name}.unfinished")


def has_states(out: Path) -> bool:
    """Whether there is a state to go on from; those that were being removed do not count."""
    folder = unfinished(out)
    found = (path.relative_to(folder) for path in folder.glob("**/step-*/"))
    return any(not any(part.startswith(".") for part in path.parts) for path in found)


def identity(config: AnyResumable) -> AnyResumable:
    """Return the options without those that may differ between the pieces of one run, for the card of its states."""
    config = replace(config, stop_minutes=None)
    if isinstance(config, PretrainConfig) and config.store is not None:
        return replace(config, data=(), store=None)  # the ids are compared, wherever they and their text lie
    return config


def run_id(out: Path) -> str | None:
    """Return the name of the run whose states are beside an output folder; None if there are none."""
    path = unfinished(out) / _CARD
    return _card(unfinished(out)).get("id") if path.is_file() else None


def is_done(config: Resumable) -> bool:
    """Whether a run that is to be resumed has written its output: it was ended while it removed its states.

    What is left of them is removed.
    """
    out, folder = config.out, unfinished(config.out)
    if config.dry_run or distributed.launched():  # one process must not remove what another one has yet to read
        return False
    remove_leftovers(folder.parent, folder.name)
    name = run_id(out)
    if name is None or not (out / _CARD).is_file() or read_json(out / _CARD, "the card of a run").get("run") != name:
        return False
    forget_states(config)
    if config.resume:
        print(f"{out} is complete: there was nothing more to do than to remove the states")
    return config.resume


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
    # None says of these that they have no effect; earlier versions noted their defaults all the same.
    names = [name for name in now if now[name] is not None or name not in _WITHOUT_EFFECT]
    if differ := [f"{name} was {was.get(name)!r}, not {now[name]!r}" for name in names if was.get(name) != now[name]]:
        raise DataError(f"{folder} holds a run with other options: {'; '.join(differ)}")


def note_run(config: Resumable, data: TaskData, test: TokenStore | None = None) -> None:
    """Note which run the states belong to.

    Args:
        config: Options of the command.
        data: What is trained on.
        test: What is reported on.

    Raises:
        DataError: The run to be resumed read other text.
    """
    folder = unfinished(config.out)
    stores = {"train": data.train, "valid": data.valid, "test": test}
    text = {"documents": len(data.train), "tokens": data.train.n_tokens, "vocab": data.vocab.fingerprint}
    # Of texts, labels and their order; states of earlier versions lack it.
    text |= {name: store.meta["recipe"]["source"] for name, store in stores.items() if store is not None}
    if config.resume:
        was = _card(folder)["text"]
        if any(was[name] != text.get(name) for name in was):
            raise DataError(
                f"the data has changed since {folder} was written, {was['tokens']:,} tokens to train on then and "
                f"{text['tokens']:,} now (labels, their order and held-out documents count, too): remove that folder "
                "to begin anew"
            )
    elif distributed.is_main():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / _CARD, {"id": uuid.uuid4().hex, "config": _decisive(config), "text": text})


def keep_states(config: Resumable, learn: Learner, *place: str) -> Path:
    """Let a learner write states of its training, and go on from the last one if there is one.

    Args:
        config: Options of the command.
        learn: The learner.
        place: Names of the folder of the states, below that of the run.

    Returns:
        The folder.
    """
    folder = unfinished(config.out).joinpath(*place)
    if distributed.is_main():
        remove_leftovers(folder)
    learn.callbacks.append(SaveEvery(folder, minutes=config.save_minutes))
    if checkpoints(folder):
        learn.resume(folder)
    return folder


def forget_states(config: Resumable) -> None:
    """Remove the states of a run whose output is written."""
    if distributed.is_main():
        remove_folder(unfinished(config.out))


def _card(folder: Path) -> dict[str, Any]:
    return read_json(folder / _CARD, "the card of an unfinished run")


def _decisive(config: Resumable) -> dict[str, Any]:
    return {name: value for name, value in to_json(config).items() if name not in _FREE}
