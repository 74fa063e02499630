"""The model card of a released model: what it is, what it was made from and how, how good it is, what it is not for."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

from textxfer.artifact import Artifact
from textxfer.cli.common import CHOSEN
from textxfer.cli.config import FinetuneConfig, PretrainConfig
from textxfer.cli.perplexity import written
from textxfer.cli.prepared import describe_files
from textxfer.text import Vocab
from textxfer.text.specials import BOS

_COMMANDS: Mapping[str, type[Any]] = {"pretrain": PretrainConfig, "finetune": FinetuneConfig}
_PLACES = ("data", "out", "base")
_SILENT = frozenset(
    {
        *("replace", "resume", "save_minutes", "stop_minutes", "dry_run"),
        *("store", "prepare_only", "workers", "device"),
    }
)
"""Options that say where and how a command runs, not what it makes."""


def facts_of(artifact: Artifact, run: Mapping[str, Any] | None, direction: str) -> dict[str, Any]:
    """Return what is known of the training of a model, without places of the machine that it was trained on.

    Args:
        artifact: The model.
        run: Contents of `run.json`; None if there is none.
        direction: The direction in which it reads.
    """
    history = artifact.card.get("history") or [{}]
    facts: dict[str, Any] = {"valid_perplexity": history[-1].get("perplexity"), "source": _counts(artifact.vocab)}
    facts["epochs"] = len(history) if artifact.card.get("history") else None
    if run is None:
        return facts | {"command": None}
    result = run["results"].get(direction, {})
    source = dict(run.get("source") or facts["source"])
    source.setdefault("files", _files(_listed(run["config"].get("data"))))
    facts |= {
        "source": source,
        "base": _name(run["config"].get("base")),
        "seconds": result.get("seconds"),
        "seed": run["config"]["seed"],
    }
    return facts | {"command": command_line(run, source["files"]), "versions": run["versions"]}


def command_line(run: Mapping[str, Any], files: list[dict[str, Any]]) -> str:
    """Return the command of a run as it can be typed, with the names of files in place of their paths.

    Args:
        run: Contents of `run.json`.
        files: The data files, which a command with `--store` need not have named.
    """
    config, words = run["config"], ["textxfer", run["command"]]
    for item in dataclasses.fields(_COMMANDS.get(run["command"], PretrainConfig)):
        default = CHOSEN.get(item.name, list(item.default) if isinstance(item.default, tuple) else item.default)
        value = config.get(item.name, default)
        if item.name == "data":
            value = value or [file["name"] for file in files]
        if item.name in _PLACES and value is not None:
            value = [_name(each) for each in _listed(value)]
        if item.name in _SILENT or value == default or value in (None, False):
            continue
        given = [] if value is True else [str(each) for each in (value if isinstance(value, list) else [value])]
        words[2:2] = given if item.metadata["positional"] else []
        words += [] if item.metadata["positional"] else [f"--{item.name.replace('_', '-')}", *given]
    return shlex.join(words)


def markdown(card: Mapping[str, Any]) -> str:
    """Return the model card as Markdown."""
    blocks = [f"# {card['name']}", *([card["note"]] if card["note"] else []), "\n".join(_sizes(card))]
    for direction, facts in card["directions"].items():
        blocks += [f"## Training, {direction}", "\n".join(_training(facts))]
        if facts["command"]:
            blocks.append(f"```\n{facts['command']}\n```")
    blocks += ["## Perplexity", *_perplexity(card)]
    blocks += ["## Use and limits", "\n".join(_limits(card))]
    return "\n\n".join(blocks) + "\n"


def _counts(vocab: Vocab) -> dict[str, Any]:
    """Return the size of the training text as the vocabulary knows it."""
    if vocab.counts is None or BOS not in vocab:
        return {}
    documents = vocab.counts[vocab.tokens.index(BOS)]
    return {"train": {"documents": documents, "tokens": sum(vocab.counts)}}


def _listed(value: str | list[str] | None) -> list[str]:
    """Return the paths of an option, of which a command may have one, several or none."""
    return [value] if isinstance(value, str) else list(value or [])


def _name(path: str | None) -> str | None:
    """Return the last part of a path; the folder of the run for a model within one."""
    if path is None:
        return None
    whole = PurePath(path)
    return whole.parent.name if whole.name in ("model", "language-model") and whole.parent.name else whole.name


def _files(paths: list[str]) -> list[dict[str, Any]]:
    """Describe data files that a run card names only; of those that are gone the name is left."""
    files: list[dict[str, Any]] = []
    for path in map(Path, paths):
        files += describe_files([path]) if path.exists() else [{"name": path.name}]
    return files


def _sizes(card: Mapping[str, Any]) -> Iterator[str]:
    encoder, directions = card["encoder"], card["directions"]
    several = "one for each direction of reading" if len(directions) > 1 else f"reads {next(iter(directions))}"
    size = sum(facts["bytes"] for facts in directions.values())
    yield f"- AWD-LSTM language model of textxfer, {several}: `textxfer classify DATA --base {card['name']} --out OUT`"
    yield (
        f"- {encoder['layers']} layers, {encoder['hidden']} wide, word vectors of {encoder['embed']}, "
        f"{encoder['vocab']:,} tokens: {card['weights']:,} weights in each direction"
    )
    yield f"- weights as {card['dtype']}, {size:,} bytes in all; they are loaded as float32"
    yield f"- tokenizer: `{card['tokenizer']}`"
    known = card["source"] or ("see the files below" if _names_files(card) else "not recorded")
    yield f"- text: {known}; its licence: {card['licence'] or 'not stated'}"


def _training(facts: Mapping[str, Any]) -> Iterator[str]:
    source = facts["source"]
    for name, part in (("read", "train"), ("held out", "valid")):
        if part in source:
            yield f"- {name}: {source[part]['documents']:,} documents, {source[part]['tokens']:,} tokens"
    if "train" in source and facts["epochs"]:
        yield f"- epochs: {facts['epochs']}, tokens seen: {source['train']['tokens'] * facts['epochs']:,}"
    for file in source.get("files", []):
        known = f": {file['bytes']:,} bytes, SHA-256 `{file['sha256']}`" if "sha256" in file else ""
        yield f"- `{file['name']}`{known}"
    if facts["valid_perplexity"] is not None:
        yield f"- perplexity of the held-out documents, per token, while training: {facts['valid_perplexity']:.2f}"
    if facts["command"] is None:
        yield "- how it was trained is not recorded"
        return
    if facts["seconds"] is not None:
        yield f"- {facts['seconds']:,.0f} seconds, seed {facts['seed']}"
    yield "- " + ", ".join(f"{name} {value}" for name, value in facts["versions"].items())


def _perplexity(card: Mapping[str, Any]) -> Iterator[str]:
    rows = [(direction, test) for direction, facts in card["directions"].items() for test in facts["tests"]]
    if not rows:
        yield "Not measured on further text."
        return
    yield (
        f"Measured with the {card['dtype']} weights of this folder, loaded again. Per token is of this vocabulary, "
        "unknown ones included; per word is e to the power of all negative log-likelihood over the words between "
        "white space in the file, so it does not depend on the tokenizer."
    )
    lines = ["| text | direction | words | tokens | unknown | per token | per word |", "| --- | --- |" + " ---: |" * 5]
    for direction, test in rows:
        lines.append(
            f"| {test['file']}{' (detokenized)' if test['detokenized'] else ''} | {direction} | {test['words']:,} | "
            f"{test['tokens']:,} | {test['unknown']:.1%} | "
            f"{written(test['per_token'], 2)} | {written(test['per_word'], 2)} |"
        )
    yield "\n".join(lines)
    if any(test["detokenized"] for _, test in rows):
        yield "Of detokenized text the words are those of the file as it is, and `<unk>` is scored as an unknown token."


def _limits(card: Mapping[str, Any]) -> Iterator[str]:
    yield "- Made to start from: a classifier, or a language model of a narrower kind of text, learns faster from it."
    text = card["source"] or ("the text named above" if _names_files(card) else "text that is not recorded")
    yield f"- It has read {text} and {_before(card)}; other kinds of text surprise it."
    yield "- It has the gaps and biases of its source: who and what is written about there, how much, and by whom."
    yield f"- It is small: {card['weights'] / 1e6:.1f} million weights. What it writes reads smoothly and is made up."
    yield "- Judge a classifier that starts from it on your own data, for each group of people that it decides about."


def _before(card: Mapping[str, Any]) -> str:
    """Say what a model had read before the text that it was trained on last, as far as that is known."""
    trainings = card["directions"].values()
    if bases := dict.fromkeys(facts["base"] for facts in trainings if facts.get("base")):
        return f"what {' and '.join(bases)} had read, from which it was made"
    if any(facts["command"] is None for facts in trainings):
        return "perhaps more: whether it was made from another model is not recorded"
    return "nothing else"


def _names_files(card: Mapping[str, Any]) -> bool:
    return any(facts["source"].get("files") for facts in card["directions"].values())
