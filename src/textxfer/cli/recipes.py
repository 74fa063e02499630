"""A recipe with the numbers that the options of a command replace."""

from __future__ import annotations

from dataclasses import replace

from textxfer.cli.config import PretrainConfig, Training
from textxfer.presets import preset
from textxfer.recipe import Recipe


def pretrain_recipe(config: PretrainConfig) -> Recipe:
    """Return the recipe of a pretraining."""
    recipe = preset(config.recipe)
    sizes = {name: getattr(config, name) for name in ("max_vocab", "embed", "hidden", "layers")}
    training = recipe.pretrain.with_epochs(config.epochs)
    if config.lr is not None:
        training = replace(training, stages=tuple(replace(stage, lr=config.lr) for stage in training.stages))
    if config.batch_size is not None:
        training = replace(training, batch_size=config.batch_size)
    chosen = {name: value for name, value in sizes.items() if value is not None}
    return replace(recipe, pretrain=training, **chosen)


def task_recipe(config: Training, *, lm_epochs: int | None = None, epochs: int | None = None) -> Recipe:
    """Return the recipe of the task's language model and classifier."""
    recipe = preset(config.recipe)
    finetune, classify = recipe.finetune.with_epochs(lm_epochs), recipe.classify.with_epochs(epochs)
    if config.batch_size is not None:
        finetune = replace(finetune, batch_size=config.batch_size)
        classify = replace(classify, batch_size=config.batch_size)
    return replace(recipe, finetune=finetune, classify=classify)
