"""ULMFiT: general language model, language model of the task, classifier, composed of callbacks around a Learner.

Each of the three steps comes in two forms: a function that returns a Learner ready to train (`language_model`,
`classifier`), so that one can look, change and fit by hand, and one that also trains it by its recipe (`pretrain`,
`finetune`, `classify`). Source: Howard & Ruder 2018, arXiv 1801.06146.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from textxfer.artifact import Artifact, load_language_model, save_artifact
from textxfer.batch import Loaders
from textxfer.callbacks import (
    ActivationReg,
    CarryHidden,
    ClipGrad,
    DiscriminativeLR,
    GradualUnfreeze,
    MixedPrecision,
    Report,
    TemporalReg,
)
from textxfer.models import AWDLSTM, LanguageModel, TextClassifier, load_encoder, token_loss, transfer_language_model
from textxfer.recipe import SMALL, Recipe, Stage, Training
from textxfer.task import TaskData
from textxfer.text import ClassBatches, LMBatches
from textxfer.training import Accuracy, Callback, Learner, ParamSchedule, Perplexity, set_seed

CLASSIFIER_VALID_BATCH = 64


def language_model(
    data: TaskData,
    *,
    base: Artifact | str | Path | None = None,
    recipe: Recipe = SMALL,
    training: Training | None = None,
    callbacks: Sequence[Callback] = (),
    backward: bool = False,
    precision: str = "auto",
    device: str | torch.device | None = None,
    seed: int = 0,
) -> Learner:
    """Return a Learner for a language model on the task's text.

    Args:
        data: The texts, see `textxfer.task.prepare`.
        base: A pretrained language model, or its folder; its rows move to the task's vocabulary by token. None
            starts from random weights.
        recipe: Sizes of a new model and the numbers of the training.
        training: Numbers other than the recipe's.
        callbacks: Added to those of the recipe.
        backward: Read the texts from the end to the start.
        precision: `fp32`, `bf16`, or `auto`: bf16 where the hardware computes in it.
        device: Where to train; the GPU if there is one.
        seed: Seed of initial weights, dropouts and the order of the documents.
    """
    training = training or (recipe.pretrain if base is None else recipe.finetune)
    set_seed(seed)
    model = _language_model(data, base, recipe, training, backward)
    lanes = {"batch_size": training.batch_size, "bptt": training.bptt, "backward": backward}
    loaders = Loaders(
        LMBatches(data.train, seed=seed, vary_bptt=training.vary_bptt, **lanes),
        None if data.valid is None else LMBatches(data.valid, shuffle=False, **lanes),
    )
    parts = [CarryHidden(), *_common(training, precision, device), Report(unit="tokens"), *callbacks]
    return Learner(
        model,
        loaders,
        token_loss,
        metrics=[Perplexity(), Accuracy()],
        callbacks=parts,
        optimizer=training.optimizer,
        device=device,
    )


def classifier(
    data: TaskData,
    *,
    encoder: AWDLSTM | None = None,
    recipe: Recipe = SMALL,
    training: Training | None = None,
    callbacks: Sequence[Callback] = (),
    backward: bool = False,
    precision: str = "auto",
    device: str | torch.device | None = None,
    seed: int = 0,
) -> Learner:
    """Return a Learner for a classifier of the task's labelled documents.

    Args:
        data: The texts.
        encoder: Encoder of the task's language model (`learn.model.encoder`); None starts from random weights.
        recipe: Sizes of a new model and the numbers of the training.
        training: Numbers other than the recipe's.
        callbacks: Added to those of the recipe.
        backward: Read the texts from the end to the start.
        precision: `fp32`, `bf16` or `auto`.
        device: Where to train; the GPU if there is one.
        seed: Seed of initial weights, dropouts and the order of the documents.
    """
    training = training or recipe.classify
    set_seed(seed)
    config = recipe.encoder(len(data.vocab)) if encoder is None else encoder.config
    model = TextClassifier(training.dropouts.apply(config), recipe.head(len(data.classes)))
    if encoder is not None:
        load_encoder(model, encoder)
    train = ClassBatches(data.train, training.batch_size, docs=data.labelled, seed=seed, backward=backward)
    valid = None
    if data.valid is not None:
        valid = ClassBatches(data.valid, CLASSIFIER_VALID_BATCH, shuffle=False, backward=backward)
    parts = [*_common(training, precision, device), Report(unit="documents"), *callbacks]
    return Learner(
        model,
        Loaders(train, valid),
        torch.nn.functional.cross_entropy,
        metrics=[Accuracy()],
        callbacks=parts,
        optimizer=training.optimizer,
        device=device,
    )


def fit_stages(learn: Learner, training: Training) -> Learner:
    """Run the fits of a training, each with its own schedule; those that a resumed learner has done are passed over."""
    for stage in training.stages[learn.fits_done :]:
        if training.unfreeze is None:
            learn.freeze_to(stage.freeze_to)
        learn.fit(stage.epochs, stage.lr, stage_callbacks(stage, training))
    return learn


def stage_callbacks(stage: Stage, training: Training) -> list[Callback]:
    """Return the callbacks that make a fit the given stage: schedule, rates by layer group, unfreezing."""
    parts: list[Callback] = []
    if (rate := stage.rate()) is not None:
        parts.append(ParamSchedule(lr=rate))
    if isinstance(training.discriminative, tuple):
        parts.append(DiscriminativeLR(multipliers=training.discriminative))
    elif training.discriminative is not None:
        parts.append(DiscriminativeLR(training.discriminative))
    if training.unfreeze is not None:
        parts.append(GradualUnfreeze(mode=training.unfreeze))
    return parts


def pretrain(data: TaskData, *, recipe: Recipe = SMALL, **options) -> Learner:
    """Train a general language model from random weights; the options are those of `language_model`."""
    return fit_stages(language_model(data, recipe=recipe, **options), recipe.pretrain)


def save(folder: str | Path, learn: Learner, data: TaskData, *, backward: bool = False) -> Path:
    """Write the learner's model with the text side of its data as a model folder, without the training state."""
    model = learn.model
    if not isinstance(model, LanguageModel | TextClassifier):
        raise TypeError(f"save() writes language models and classifiers, not {type(model).__name__}")
    return save_artifact(folder, model, data, backward=backward, card={"history": learn.history.epochs})
