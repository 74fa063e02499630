"""The text of a pretraining as ids: read and tokenized now, or taken from a folder where an earlier command put them.

The folder has the token stores `train` and `valid` and `prepared.json`, which says by which options and from which
files they were made. With it a machine can train that has not got the text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from textxfer import distributed
from textxfer.cli.config import PretrainConfig
from textxfer.cli.reading import Words
from textxfer.cli.training import new_tokenizer
from textxfer.files import checksum, new_folder, remove_if_empty, write_json
from textxfer.options import to_json
from textxfer.recipe import Recipe
from textxfer.task import TaskData, prepare
from textxfer.text import DataError, TokenStore, hold_out
from textxfer.text.corpus import files_in
from textxfer.text.files import read_json

FORMAT = 1
_CARD, _TRAIN, _VALID = "prepared.json", "train", "valid"
_DECISIVE = (
    *("text", "delimiter", "encoding", "errors", "breaks", "skip_empty"),
    *("max_words", "valid", "seed", "language", "tokenizer"),
)
"""Options that decide what the ids are, beside the numbers of the recipe."""

Files = list[dict[str, Any]]


def general_data(config: PretrainConfig, recipe: Recipe) -> tuple[TaskData, Files]:
    """Return the ids of a pretraining and name, length and SHA-256 of each file that they come from.

    Raises:
        DataError: There is neither text nor a prepared folder, or the folder was prepared in another way.
    """
    store = config.store
    if store is not None and (store / _CARD).is_file():
        return _open(config, recipe, store)
    if not config.data:
        missing = f"; {store} is no folder that was prepared" if store is not None else ""
        raise DataError(f"give DATA, the files to read, or with --store a folder that has their ids{missing}")
    if store is None or config.dry_run:
        train, valid, tokenizer = _documents(config, recipe)
        show = distributed.is_main()
        data = prepare(train, valid, recipe=recipe, tokenizer=tokenizer, n_workers=config.workers, progress=show)
        return data, describe_files(config.data)
    _build(config, recipe, store)
    return _open(config, recipe, store)


def prepare_only(config: PretrainConfig, recipe: Recipe) -> TaskData:
    """Write the folder that `--store` names unless it is there.

    Raises:
        DataError: None is named, or it was prepared in another way.
    """
    if config.store is None:
        raise DataError("--prepare-only writes the folder that --store names; give --store")
    return general_data(config, recipe)[0]


def describe_files(paths: Sequence[Path]) -> Files:
    """Return name, length in bytes and SHA-256 of files, and of the texts in folders; names without their place.

    Only the first process needs them: the others get none.
    """
    files: Files = []
    for path in paths if distributed.is_main() else ():
        inside = [file for file, _ in files_in(path)] if path.is_dir() else [path]
        for file in inside:
            name = file.relative_to(path.parent).as_posix()
            files.append({"name": name, "bytes": file.stat().st_size, "sha256": checksum(file)})
    return files


def describe_text(stores: Mapping[str, TokenStore | None], files: Files | None) -> dict[str, Any]:
    """Return what a run card says of the text: how much there is, and the files that it comes from.

    Args:
        stores: The parts by name; those that are None are left out.
        files: What `describe_files` returned, or None.
    """
    counts = {
        name: {"documents": len(store), "tokens": store.n_tokens} for name, store in stores.items() if store is not None
    }
    return counts | ({} if files is None else {"files": files})


def _documents(config: PretrainConfig, recipe: Recipe) -> tuple[Any, Any, Any]:
    """Return the documents to train on and to hold out, read anew for each pass: a corpus need not fit into memory."""
    train, valid = hold_out(Words(config.data, config, config.max_words), config.valid, config.seed)
    return train, valid, new_tokenizer(config, recipe, train)


def _build(config: PretrainConfig, recipe: Recipe, folder: Path) -> None:
    remove_if_empty(folder)
    if folder.exists():
        raise DataError(f"{folder} exists and is no folder of prepared ids; name another one with --store")
    train, valid, tokenizer = _documents(config, recipe)
    work: dict[str, Any] = {"n_workers": config.workers, "progress": True}
    sizes = {"max_vocab": recipe.max_vocab, "min_count": recipe.min_count}
    with new_folder(folder) as scratch:
        store = TokenStore.build(scratch / _TRAIN, train, tokenizer, **sizes, **work)
        TokenStore.build(scratch / _VALID, list(valid), like=store, n_workers=config.workers)
        card = {"format": FORMAT, "options": _options(config, recipe), "files": describe_files(config.data)}
        write_json(scratch / _CARD, card)
    print(f"ids written to {folder}", flush=True)


def _open(config: PretrainConfig, recipe: Recipe, folder: Path) -> tuple[TaskData, Files]:
    card = read_json(folder / _CARD, "the card of prepared ids")
    if card.get("format") != FORMAT or not isinstance(card.get("options"), dict):
        raise DataError(f"{folder / _CARD} is damaged or of another version; remove {folder} to prepare it again")
    was, now = card["options"], _options(config, recipe)
    if differ := [f"{name} was {was.get(name)!r}, not {now[name]!r}" for name in now if was.get(name) != now[name]]:
        raise DataError(f"{folder} was prepared with other options: {'; '.join(differ)}; name another --store")
    _check_files(config.data, card["files"], folder)
    train = TokenStore.open(folder / _TRAIN)
    return TaskData(train, TokenStore.open(folder / _VALID, train.vocab)), card["files"]


def _check_files(paths: Sequence[Path], noted: Files, folder: Path) -> None:
    """Compare the files named with those that were read; those that this machine lacks are passed over."""
    known = {(file["name"], file["bytes"], file["sha256"]) for file in noted}
    for file in describe_files([path for path in paths if path.exists()]):
        if tuple(file.values()) not in known:
            raise DataError(f"{folder} was not prepared from {file['name']} as it is now; name another --store")


def _options(config: PretrainConfig, recipe: Recipe) -> dict[str, Any]:
    values = to_json(config)
    numbers = {"rules": recipe.rules, "max_vocab": recipe.max_vocab, "min_count": recipe.min_count}
    return {name: values[name] for name in _DECISIVE} | numbers
