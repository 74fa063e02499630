"""ULMFiT: general language model, language model of the task, classifier, composed of callbacks around a Learner.

Each of the three steps comes in two forms: a function that returns a Learner ready to train (`language_model`,
`classifier`), so that one can look, change and fit by hand, and one that also trains it by its recipe (`pretrain`,
`finetune`, `classify`). Source: Howard & Ruder 2018, arXiv 1801.06146.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

import torch

from textxfer.artifact import Artifact, ArtifactError, save_artifact
from textxfer.directions import DIRECTIONS, Bidirectional, Direction, load_directions
from textxfer.learners import Precision, classifier, fit_stages, language_model, stage_callbacks
from textxfer.models import AWDLSTM, LanguageModel, TextClassifier
from textxfer.presets import SMALL
from textxfer.pretrained import find
from textxfer.recipe import Recipe
from textxfer.task import TaskData
from textxfer.training import Callback, Learner

__all__ = [
    "CommonOptions",
    "Options",
    "Precision",
    "bidirectional",
    "classifier",
    "classify",
    "finetune",
    "fit_stages",
    "language_model",
    "pretrain",
    "pretrained",
    "save",
    "stage_callbacks",
]


class CommonOptions(TypedDict, total=False):
    """What `bidirectional` hands on to `language_model` and `classifier`, which explain it."""

    callbacks: Sequence[Callback]
    precision: Precision
    device: str | torch.device | None
    seed: int


class Options(CommonOptions, total=False):
    """What `pretrain`, `finetune` and `classify` hand on."""

    backward: bool


def pretrain(data: TaskData, *, recipe: Recipe = SMALL, **options: Unpack[Options]) -> Learner[LanguageModel]:
    """Train a general language model from random weights by the recipe.

    Args:
        data: The texts, see `textxfer.task.prepare`; labels are not looked at.
        recipe: All numbers.
        options: As in `language_model`.

    Returns:
        The learner after training; the model is `learn.model`.
    """
    return fit_stages(language_model(data, recipe=recipe, **options), recipe.pretrain)


def finetune(
    data: TaskData, base: Artifact | None = None, *, recipe: Recipe = SMALL, **options: Unpack[Options]
) -> Learner[LanguageModel]:
    """Train a pretrained language model on the task's text by the recipe.

    Without a pretrained model it is one trained on the task's text alone, at one rate for all layer groups.

    Args:
        data: The texts, see `textxfer.task.prepare`.
        base: The pretrained language model, such as `pretrained("en-small")["forward"]`; None for random weights.
        recipe: All numbers.
        options: As in `language_model`.

    Returns:
        The learner after training; its encoder, for `classify`, is `learn.model.encoder`.
    """
    training = recipe.for_finetune(base is not None)
    return fit_stages(language_model(data, base=base, recipe=recipe, training=training, **options), training)


def classify(
    data: TaskData, encoder: AWDLSTM | None = None, *, recipe: Recipe = SMALL, **options: Unpack[Options]
) -> Learner[TextClassifier]:
    """Train a classifier by the recipe.

    Args:
        data: The texts, see `textxfer.task.prepare`; its labelled documents are learnt from.
        encoder: Encoder of the task's language model; None for random weights.
        recipe: All numbers.
        options: As in `classifier`.

    Returns:
        The learner after training; the model is `learn.model`.
    """
    training = recipe.for_classify(encoder is not None)
    return fit_stages(classifier(data, encoder=encoder, recipe=recipe, training=training, **options), training)


def bidirectional(
    data: TaskData,
    base: Mapping[Direction, Artifact] | None = None,
    *,
    recipe: Recipe = SMALL,
    **options: Unpack[CommonOptions],
) -> Bidirectional:
    """Train language model and classifier by the recipe in both directions of reading, one after the other.

    Args:
        data: The texts, see `textxfer.task.prepare`.
        base: Pretrained language models of both directions, see `textxfer.directions.load_directions`; None trains
            on the task's text alone.
        recipe: All numbers.
        options: As in `language_model`.

    Returns:
        Data, language models and classifiers.

    Raises:
        ArtifactError: `base` lacks a direction.
    """
    if base is not None and (missing := [direction for direction in DIRECTIONS if direction not in base]):
        raise ArtifactError(f"there is no pretrained model that reads {missing[0]}")
    language_models, classifiers = {}, {}
    for direction in DIRECTIONS:
        start, backward = None if base is None else base[direction], direction == "backward"
        language = finetune(data, start, recipe=recipe, backward=backward, **options)
        language_models[direction] = language
        classifiers[direction] = classify(data, language.model.encoder, recipe=recipe, backward=backward, **options)
    return Bidirectional(data, language_models, classifiers)


def pretrained(name: str, *, url: str | None = None) -> dict[Direction, Artifact]:
    """Read a pretrained language model by its name.

    Args:
        name: The name, such as `en-small`; `textxfer.pretrained.names()` lists those there are.
        url: Address to download it from if it is not on this machine, see `textxfer.pretrained.find`.

    Returns:
        The models by direction, as `load_directions`.

    Raises:
        DataError: There is no such model.
        ArtifactError: Its folder is damaged.
    """
    return load_directions(find(name, url=url))


def save(folder: str | Path, learn: Learner[Any], data: TaskData, *, backward: bool = False) -> Path:
    """Write the learner's model with the text side of its data as a model folder, without the training state.

    Args:
        folder: Where to write; another model folder is replaced.
        learn: Learner of a language model or a classifier.
        data: What it was trained on, for vocabulary, tokenizer and classes.
        backward: Whether the model reads texts from the end to the start.

    Returns:
        The folder.

    Raises:
        TypeError: The model is of another kind.
    """
    model = learn.model
    if not isinstance(model, LanguageModel | TextClassifier):
        raise TypeError(f"save() writes language models and classifiers, not {type(model).__name__}")
    return save_artifact(folder, model, data, backward=backward, card={"history": learn.history.epochs})
