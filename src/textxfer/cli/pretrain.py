"""The commands that train language models: pretrain and finetune."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from textxfer import distributed, ulmfit
from textxfer.artifact import Artifact
from textxfer.cli.common import Resumable
from textxfer.cli.config import FinetuneConfig, PretrainConfig
from textxfer.cli.output import check_out, describe, write_run
from textxfer.cli.pieces import deadline_of, fit, timed
from textxfer.cli.prepared import Files, describe_files, describe_text, general_data, prepare_only
from textxfer.cli.reading import read_documents
from textxfer.cli.recipes import check_rates, pretrain_recipe, task_recipe
from textxfer.cli.states import after_restart, check_unfinished, forget_states, identity, is_done, note_run
from textxfer.cli.training import chosen_directions, load_bases, options_of, rehearse
from textxfer.directions import Direction
from textxfer.recipe import Recipe, Training
from textxfer.task import TaskData, prepare
from textxfer.text import split_documents
from textxfer.training import Learner


def pretrain(config: PretrainConfig) -> None:
    """Train a general language model and write it with its history, plot and run card."""
    config, recipe = after_restart(config), pretrain_recipe(config)
    if config.prepare_only:
        with distributed.main_first():
            describe(prepare_only(config, recipe))
        return
    deadline = deadline_of(config)
    if is_done(config):
        return
    check_out(config)
    check_unfinished(identity(config))
    with distributed.main_first() if config.store is not None else nullcontext():
        data, files = general_data(config, recipe)
    _train(config, recipe, recipe.pretrain, data, None, deadline, files)


def finetune(config: FinetuneConfig) -> None:
    """Train a pretrained language model on a task's text and write it."""
    config, recipe = after_restart(config), task_recipe(config, lm_epochs=config.epochs)
    deadline = deadline_of(config)
    if is_done(config):
        return
    check_out(config)
    check_unfinished(identity(config))
    bases = load_bases(config.base)
    documents = read_documents(config.data, config, limit=config.max_rows)
    train, valid = split_documents(documents, config.valid, config.seed)
    base = next(iter(bases.values()))
    check_rates(recipe.name, recipe.finetune, base.model.encoder.config.layers)
    data = prepare(train, valid, base=base, recipe=recipe, n_workers=config.workers, progress=distributed.is_main())
    files = None if config.dry_run else describe_files([config.data])
    _train(config, recipe, recipe.finetune, data, bases, deadline, files)


def _train(
    config: Resumable,
    recipe: Recipe,
    training: Training,
    data: TaskData,
    bases: Mapping[Direction, Artifact] | None,
    deadline: float | None,
    files: Files | None = None,
) -> None:
    """Train a language model for each direction, and write them."""
    describe(data)
    directions = chosen_directions(config, bases)
    if not config.dry_run:
        note_run(identity(config), data)
    learners: dict[Direction, Learner[Any]] = {}
    results: dict[str, Any] = {}
    for direction in directions:
        if len(directions) > 1:
            print(f"\nreading {direction}", flush=True)
        base = None if bases is None else bases[direction]
        learn = ulmfit.language_model(data, base=base, recipe=recipe, **options_of(config, direction))
        if config.dry_run:
            with tempfile.TemporaryDirectory() as scratch:
                rehearse("language model", learn, training, data, Path(scratch) / "model", direction)
            continue
        results[direction] = _fit(config, training, learn, direction, deadline)
        learners[direction] = learn
    if not config.dry_run:
        source = describe_text({"train": data.train, "valid": data.valid}, files)
        write_run(config, {"model": learners}, data, results, source=source)
        forget_states(config)


def _fit(
    config: Resumable, training: Training, learn: Learner[Any], direction: Direction, deadline: float | None
) -> dict[str, Any]:
    """Train one model, with states to go on from, and return its figures."""
    with timed(config, direction) as seconds:
        fit(config, learn, training, deadline, direction)
        return {"valid": learn.history[-1], "seconds": seconds(), "epochs": learn.epochs_done}
