"""From a cell to its line in the results: texts, language model, classifier, error rate."""

from __future__ import annotations

import platform
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from experiments.baseline import tf_idf
from experiments.cells import Cell, Line, as_json
from experiments.encoders import fingerprint, quiet, task_encoder
from experiments.tasks import Parts, load_task, parts_of
from textxfer import ulmfit
from textxfer.artifact import Artifact
from textxfer.callbacks import SaveBest
from textxfer.cli.output import versions
from textxfer.directions import DIRECTIONS, Direction, load_directions
from textxfer.evaluate import evaluate
from textxfer.models import AWDLSTM
from textxfer.predict import Predictor
from textxfer.presets import preset
from textxfer.pretrained import resolve
from textxfer.recipe import Recipe
from textxfer.task import TaskData, prepare
from textxfer.text import DataError, TokenStore
from textxfer.text.workers import end_with_parent
from textxfer.variants import ULMFIT, Variant, variant


class Reader(NamedTuple):
    """What one direction of reading gives: probabilities of the held-out documents, and what it took."""

    probabilities: np.ndarray
    seconds: dict[str, float]


def run(cell: Cell, root: Path | None, cache: Path, command: str) -> Line:
    """Run a cell and return its line.

    Args:
        cell: What to train.
        root: Folder of the data sets.
        cache: Folder of the tasks' language models.
        command: The command that asked for it, for the line.
    """
    began = time.perf_counter()
    parts = parts_of(cell, load_task(cell.data, root))
    figures = _baseline(cell, parts) if cell.method == "tf-idf" else _textxfer(cell, parts, cache)
    return {
        "cell": as_json(cell),
        **figures,
        "labelled": len(parts.labelled),
        "texts": len(parts.labelled) + len(parts.further),
        "held_out": len(parts.held_out),
        "data_sha256": parts.sha256,
        "command": command,
        "total_seconds": time.perf_counter() - began,
        "versions": versions() | {"processor": _processor()},
    }


def check_models(done: Mapping[Cell, Line], folder: Path) -> None:
    """Make sure that results are of the model that has its name now: one of another must not stand in a row with it.

    Args:
        done: Results by cell.
        folder: Where they are.

    Raises:
        DataError: Some are not; the message says what to do.
    """
    sums: dict[tuple[str, Direction], str | None] = {}
    others = []
    for cell, line in done.items():
        if cell.model is None or line.get("model_sha256") is None:  # it starts from no model
            continue
        key = cell.model, _directions(cell)[0]
        if key not in sums:
            sums[key] = fingerprint(load_directions(resolve(cell.model)).get(key[1]))
        if line["model_sha256"] != sums[key]:
            others.append(cell)
    if others:
        raise DataError(
            f"--model {others[0].model}: {len(others)} of the cells in {folder} are of another model of that name; "
            "give the new one another name, another folder as --out, or remove their lines"
        )


def _directions(cell: Cell) -> tuple[Direction, ...]:
    return DIRECTIONS if cell.reading == "both" else (cell.reading,)


def _baseline(cell: Cell, parts: Parts) -> dict[str, Any]:
    return {"error": tf_idf(parts, cell.seed).error_rate}


def _textxfer(cell: Cell, parts: Parts, cache: Path) -> dict[str, Any]:
    change = None if cell.variant is None else variant(cell.variant)
    recipe = recipe_of(cell)
    starts = cell.method == "textxfer" and (change or ULMFIT).pretrained
    bases = load_directions(resolve(cell.model)) if starts and cell.model is not None else None
    directions = _directions(cell)
    base = None if bases is None else bases[directions[0]]
    data = prepare(parts.labelled, unlabelled=parts.further, base=base, recipe=recipe)
    held_out = data.encode(parts.held_out)
    readers: dict[Direction, Reader] = {
        direction: _read(cell, change or ULMFIT, parts, data, held_out, bases, recipe, direction, cache)
        for direction in directions
    }
    return _errors(readers, held_out) | {"model_sha256": fingerprint(base), "numbers": recipe.to_dict()}


def recipe_of(cell: Cell) -> Recipe:
    """Return the numbers of a cell: those of its preset, with the epochs it names and what its variant changes."""
    recipe = preset(cell.recipe)
    finetune, classify = recipe.finetune.with_epochs(cell.lm_epochs), recipe.classify.with_epochs(cell.epochs)
    if cell.lm_dropout is not None:
        finetune = replace(finetune, dropouts=finetune.dropouts.scaled(cell.lm_dropout))
    recipe = replace(recipe, finetune=finetune, classify=classify)
    return recipe if cell.variant is None else variant(cell.variant).apply(recipe)


def _read(
    cell: Cell,
    change: Variant,
    parts: Parts,
    data: TaskData,
    held_out: TokenStore,
    bases: dict[Direction, Artifact] | None,
    recipe: Recipe,
    direction: Direction,
    cache: Path,
) -> Reader:
    """Train in one direction and classify the held-out documents."""
    seconds, encoder = {}, None
    if cell.method == "textxfer" and change.language_model != "none":
        base = None if bases is None else bases[direction]
        texts = [*parts.labelled, *parts.further]
        encoder, seconds["language_model"] = task_encoder(
            data, texts, base, change.language_model, recipe, direction, cell.seed, cache
        )
    began = time.perf_counter()
    best_of = None if change.is_whole else held_out
    learn = _classifier(data, best_of, encoder, recipe, direction, cell.seed)
    seconds["classifier"] = time.perf_counter() - began
    began = time.perf_counter()
    artifact = Artifact(learn.model, data.vocab, data.tokenizer, data.classes, direction == "backward")
    probabilities = Predictor(learn.model, artifact).predict_store(held_out)
    seconds["held_out"] = time.perf_counter() - began
    return Reader(probabilities, seconds)


def _classifier(
    data: TaskData, best_of: TokenStore | None, encoder: AWDLSTM | None, recipe: Recipe, direction: Direction, seed: int
) -> Any:
    """Train the classifier.

    Args:
        data: Labelled documents.
        best_of: Documents by whose accuracy the best epoch is taken, as the paper does for all rows but ULMFiT;
            None takes the last.
        encoder: Encoder of the language model; None starts from random weights.
        recipe: The numbers.
        direction: Direction of reading.
        seed: Seed of weights, dropouts and order.
    """
    training = recipe.for_classify(encoder is not None)
    with tempfile.TemporaryDirectory() as scratch:
        callbacks = [] if best_of is None else [SaveBest(scratch, "accuracy")]
        learn = ulmfit.classifier(
            TaskData(data.train, best_of),
            encoder=encoder,
            recipe=recipe,
            training=training,
            callbacks=callbacks,
            backward=direction == "backward",
            seed=seed,
        )
        return ulmfit.fit_stages(quiet(learn), training)


def _errors(readers: dict[Direction, Reader], held_out: TokenStore) -> dict[str, Any]:
    """Return the error rate of each direction and of the mean of their probabilities."""

    def error(probabilities: np.ndarray) -> float:
        return evaluate(probabilities, held_out.labels, held_out.classes).error_rate

    mean = np.mean([reader.probabilities for reader in readers.values()], axis=0)
    return {
        "error": error(mean),
        "errors": {direction: error(reader.probabilities) for direction, reader in readers.items()},
        "seconds": {direction: reader.seconds for direction, reader in readers.items()},
    }


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in path.read_text().splitlines() if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.processor()


def begin_process(n_threads: int) -> None:
    """Give one of several processes its share of the cores, and let it end with the command.

    Args:
        n_threads: Threads of torch.
    """
    torch.set_num_threads(n_threads)
    end_with_parent()  # nobody would keep its results
