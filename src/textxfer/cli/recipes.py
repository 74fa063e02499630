"""A recipe with the numbers that the options of a command replace."""

from __future__ import annotations

from dataclasses import replace

from textxfer.cli.common import Training
from textxfer.cli.config import PretrainConfig
from textxfer.presets import LAPTOP, preset
from textxfer.recipe import Recipe
from textxfer.recipe import Training as Numbers
from textxfer.text import DataError
from textxfer.text.specials import SPECIALS


def pretrain_recipe(config: PretrainConfig) -> Recipe:
    """Return the recipe of a pretraining."""
    _check_minutes(config)
    recipe = preset(config.recipe)
    if config.max_vocab is not None and config.max_vocab <= len(SPECIALS):
        raise DataError(f"--max-vocab must be above {len(SPECIALS)}, the number of special tokens")
    sizes = {name: getattr(config, name) for name in ("max_vocab", "embed", "hidden", "layers")}
    training = recipe.pretrain.with_epochs(config.epochs)
    if config.lr is not None:
        training = replace(training, stages=tuple(replace(stage, lr=config.lr) for stage in training.stages))
    if config.batch_size is not None:
        training = replace(training, batch_size=config.batch_size)
    chosen = {name: value for name, value in sizes.items() if value is not None}
    recipe = replace(recipe, pretrain=training, **chosen)
    check_rates(recipe.name, training, recipe.layers)
    return recipe


def task_recipe(config: Training, *, lm_epochs: int | None = None, epochs: int | None = None) -> Recipe:
    """Return the recipe of the task's language model and classifier.

    Raises:
        DataError: The recipe is `laptop` without minutes, or minutes are given for another, or with epochs.
    """
    minutes = _check_minutes(config)
    if minutes is not None and not (lm_epochs is None and epochs is None):
        raise DataError("--minutes chooses the epochs: leave out --lm-epochs and --epochs")
    recipe = preset(config.recipe)
    finetune, classify = recipe.finetune.with_epochs(lm_epochs), recipe.classify.with_epochs(epochs)
    if config.batch_size is not None:
        finetune = replace(finetune, batch_size=config.batch_size)
        classify = replace(classify, batch_size=config.batch_size)
    return replace(recipe, finetune=finetune, classify=classify)


def check_rates(recipe: str, training: Numbers, layers: int) -> None:
    """Refuse a recipe that gives each layer group its rate, for a model that has more or fewer of them.

    Args:
        recipe: Name of the recipe.
        training: The training of it that a language model is to go through.
        layers: Number of LSTM layers of the model; its embedding is a group of its own.
    """
    rates = training.discriminative
    if isinstance(rates, tuple) and len(rates) != layers + 1:
        raise DataError(
            f"--recipe {recipe}: the rates of its language model are for {len(rates) - 1} LSTM layers, and this model "
            f"has {layers}; --recipe small has rates for any number"
        )


def _check_minutes(config: Training) -> float | None:
    """Return the minutes that `laptop` fits the recipe to, which no other recipe has."""
    minutes = getattr(config, "minutes", None)
    if config.recipe != LAPTOP.name and minutes is not None:
        raise DataError(f"--minutes is for --recipe laptop, which fits its epochs to them, not for {config.recipe}")
    if config.recipe == LAPTOP.name and minutes is None:
        raise DataError(
            "--recipe laptop needs a time: give --minutes to classify; other commands take --recipe small, which has "
            "the same models"
        )
    return minutes
