"""The commands that train language models: pretrain and finetune."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from textxfer import ulmfit
from textxfer.artifact import Artifact
from textxfer.cli.config import FinetuneConfig, PretrainConfig, Resumable
from textxfer.cli.output import check_out, describe, write_run
from textxfer.cli.reading import Words, read_documents
from textxfer.cli.recipes import pretrain_recipe, task_recipe
from textxfer.cli.states import check_unfinished, forget_states, keep_states, note_run
from textxfer.cli.training import chosen_directions, load_bases, new_tokenizer, options_of, rehearse
from textxfer.directions import Direction
from textxfer.recipe import Recipe, Training
from textxfer.task import TaskData, prepare
from textxfer.text import hold_out, split_documents
from textxfer.training import Learner


def pretrain(config: PretrainConfig) -> None:
    """Train a general language model and write it with its history, plot and run card."""
    recipe = pretrain_recipe(config)
    check_out(config)
    check_unfinished(config)
    # Read anew for each pass: a corpus need not fit into memory.
    train, valid = hold_out(Words(config.data, config, config.max_words), config.valid, config.seed)
    tokenizer = new_tokenizer(config, recipe, train)
    data = prepare(train, valid, recipe=recipe, tokenizer=tokenizer, n_workers=config.workers, progress=True)
    _train(config, recipe, recipe.pretrain, data, None)


def finetune(config: FinetuneConfig) -> None:
    """Train a pretrained language model on a task's text and write it."""
    recipe = task_recipe(config, lm_epochs=config.epochs)
    check_out(config)
    check_unfinished(config)
    bases = load_bases(config.base)
    documents = read_documents(config.data, config, limit=config.max_rows)
    train, valid = split_documents(documents, config.valid, config.seed)
    base = next(iter(bases.values()))
    data = prepare(train, valid, base=base, recipe=recipe, n_workers=config.workers, progress=True)
    _train(config, recipe, recipe.finetune, data, bases)


def _train(
    config: Resumable,
    recipe: Recipe,
    training: Training,
    data: TaskData,
    bases: Mapping[Direction, Artifact] | None,
) -> None:
    """Train a language model for each direction, and write them."""
    describe(data)
    directions = chosen_directions(config, bases)
    if not config.dry_run:
        note_run(config, data)
    learners: dict[Direction, Learner[Any]] = {}
    results: dict[str, Any] = {}
    for direction in directions:
        if len(directions) > 1:
            print(f"\nreading {direction}", flush=True)
        base = None if bases is None else bases[direction]
        learn = ulmfit.language_model(data, base=base, recipe=recipe, **options_of(config, direction))
        if config.dry_run:
            with tempfile.TemporaryDirectory() as scratch:
                rehearse("language model", learn, training, data, Path(scratch), direction)
            continue
        began = time.perf_counter()
        keep_states(config, learn, direction)
        ulmfit.fit_stages(learn, training)
        learners[direction] = learn
        results[direction] = {"valid": learn.history[-1], "seconds": time.perf_counter() - began}
    if not config.dry_run:
        write_run(config, {"model": learners}, data, results)
        forget_states(config)
