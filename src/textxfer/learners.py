"""Learners of ULMFiT's two models, composed of callbacks, and the fits of a recipe.

`textxfer.ulmfit` has them too, with the functions that also train.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import torch

from textxfer import distributed
from textxfer.artifact import Artifact, ArtifactError
from textxfer.batch import Loaders
from textxfer.callbacks import (
    ActivationReg,
    CarryHidden,
    ClipGrad,
    DataParallel,
    DiscriminativeLR,
    GradualUnfreeze,
    MixedPrecision,
    Report,
    TemporalReg,
    WindowRate,
)
from textxfer.models import AWDLSTM, LanguageModel, TextClassifier, load_encoder, token_loss, transfer_language_model
from textxfer.presets import SMALL
from textxfer.recipe import Recipe, Stage, Training
from textxfer.task import TaskData
from textxfer.text import ClassBatches, DataError, LMBatches
from textxfer.training import Accuracy, Callback, Learner, ParamSchedule, Perplexity
from textxfer.training.learner import Model
from textxfer.training.seeds import seeded

Precision = Literal["bf16", "fp16", "fp32"]
_VALID_BATCH = 64


def language_model(
    data: TaskData,
    *,
    base: Artifact | None = None,
    recipe: Recipe = SMALL,
    training: Training | None = None,
    callbacks: Sequence[Callback] = (),
    backward: bool = False,
    precision: Precision = "bf16",
    device: str | torch.device | None = None,
    seed: int = 0,
) -> Learner[LanguageModel]:
    """Return a Learner for a language model on the task's text.

    Under `torchrun` the processes share the lanes of each batch, see `DataParallel`.

    Args:
        data: The texts, see `textxfer.task.prepare`.
        base: A pretrained language model; its rows move to the task's vocabulary by token, and it gives the
            direction. None starts from random weights.
        recipe: Sizes of a new model and the numbers of the training.
        training: Numbers other than the recipe's.
        callbacks: Added to those of the recipe; a `Report` among them takes the place of the one there.
        backward: Read the texts from the end to the start.
        precision: `bf16`, which is float32 where the hardware does not compute in it, `fp16` for GPUs without
            bfloat16, or `fp32`.
        device: Where to train; the GPU if there is one.
        seed: Seed of initial weights, dropouts and the order of the documents.
    """
    training = training or (recipe.pretrain if base is None else recipe.finetune)
    backward = backward if base is None else base.backward
    with seeded(seed):
        model = _language_model(data, base, recipe, training)
    place = distributed.start(device)
    size, bptt = place.share(training.batch_size), training.bptt
    shared: dict[str, Any] = {"backward": backward, "rank": place.rank, "world": place.world}
    shared["device"] = place.device  # blocks of text go to the GPU at once
    train = LMBatches(data.train, size, bptt, seed=seed, vary_bptt=training.vary_bptt, **shared)
    valid = None if data.valid is None else LMBatches(data.valid, size, bptt, shuffle=False, **shared)
    parts = [*_together(place, callbacks), CarryHidden(), *_common(training, precision)]
    parts += [*_report("tokens", callbacks), *callbacks]
    if training.rescale_lr:
        parts.append(WindowRate(bptt))
    return Learner(
        model,
        Loaders(train, valid),
        token_loss,
        metrics=[Perplexity(), Accuracy()],
        callbacks=parts,
        optimizer=training.optimizer,
        device=place.device,
    )


def classifier(
    data: TaskData,
    *,
    encoder: AWDLSTM | None = None,
    recipe: Recipe = SMALL,
    training: Training | None = None,
    callbacks: Sequence[Callback] = (),
    backward: bool = False,
    precision: Precision = "bf16",
    device: str | torch.device | None = None,
    seed: int = 0,
) -> Learner[TextClassifier]:
    """Return a Learner for a classifier of the task's labelled documents.

    Under `torchrun` the processes share the documents of each batch, see `DataParallel`.

    Args:
        data: The texts.
        encoder: Encoder of the task's language model (`learn.model.encoder`); None starts from random weights.
        recipe: Sizes of a new model and the numbers of the training.
        training: Numbers other than the recipe's.
        callbacks: Added to those of the recipe; a `Report` among them takes the place of the one there.
        backward: Read the texts from the end to the start.
        precision: `bf16`, which is float32 where the hardware does not compute in it, `fp16` for GPUs without
            bfloat16, or `fp32`.
        device: Where to train; the GPU if there is one.
        seed: Seed of initial weights, dropouts and the order of the documents.

    Raises:
        DataError: The labels are numbers, or several classes per document.
    """
    if data.train.label_kind != "single":
        raise DataError(
            f"the labels are of kind {data.train.label_kind!r}; the recipe's classifier takes one class per document. "
            "For others make a Learner of your own: ClassBatches gives their targets"
        )
    training = training or recipe.for_classify(encoder is not None)
    config = recipe.encoder(len(data.vocab)) if encoder is None else encoder.config
    with seeded(seed):
        head = replace(recipe, classify=training).head(len(data.classes))  # it also has the windows
        model = TextClassifier(training.dropouts.apply(config), head)
    if encoder is not None:
        load_encoder(model, encoder)
    place = distributed.start(device)
    shared: dict[str, Any] = {"backward": backward, "rank": place.rank, "world": place.world}
    train = ClassBatches(data.train, place.share(training.batch_size), docs=data.labelled, seed=seed, **shared)
    valid = None
    if data.valid is not None:
        valid = ClassBatches(data.valid, -(-_VALID_BATCH // place.world), shuffle=False, **shared)
    parts = [*_together(place, callbacks), *_common(training, precision)]
    parts += [*_report("documents", callbacks), *callbacks]
    return Learner(
        model,
        Loaders(train, valid),
        torch.nn.functional.cross_entropy,
        metrics=[Accuracy()],
        callbacks=parts,
        optimizer=training.optimizer,
        device=place.device,
    )


def fit_stages(learn: Learner[Model], training: Training) -> Learner[Model]:
    """Run the fits of a training, each with its own schedule; those that a resumed learner has done are passed over.

    Args:
        learn: What `language_model` or `classifier` returned, or the same after `resume`.
        training: The fits and what they have in common.

    Returns:
        The same learner.
    """
    for stage in training.stages[learn.fits_done :]:
        if training.unfreeze is None:
            learn.freeze_to(stage.freeze_to)
        learn.fit(stage.epochs, stage.lr, stage_callbacks(stage, training))
    return learn


def stage_callbacks(stage: Stage, training: Training) -> list[Callback]:
    """Return the callbacks that make a fit the given stage: schedule, rates by layer group, unfreezing.

    Args:
        stage: The fit.
        training: What all fits of the model have in common.
    """
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


def _language_model(data: TaskData, base: Artifact | None, recipe: Recipe, training: Training) -> LanguageModel:
    if base is None:
        return LanguageModel(training.dropouts.apply(recipe.encoder(len(data.vocab))))
    if not isinstance(base.model, LanguageModel):
        raise ArtifactError("the pretrained model is a classifier; a language model is needed to start from")
    config = training.dropouts.apply(base.model.encoder.config)
    tokens = base.vocab.tokens, data.vocab.tokens
    model, _ = transfer_language_model(base.model, *tokens, data.vocab.counts, config=config)
    return model


def _together(place: distributed.Place, callbacks: Sequence[Callback]) -> list[Callback]:
    """Return what lets several processes train together, unless the caller has it among his own callbacks."""
    if place.world == 1 or any(isinstance(callback, DataParallel) for callback in callbacks):
        return []
    return [DataParallel()]


def _report(unit: Literal["tokens", "documents"], callbacks: Sequence[Callback]) -> list[Callback]:
    """Return what shows the progress, unless the caller has chosen how."""
    return [] if any(isinstance(callback, Report) for callback in callbacks) else [Report(unit=unit)]


def _common(training: Training, precision: Precision) -> list[Callback]:
    """Return the callbacks that language model and classifier have in common."""
    parts: list[Callback] = [ActivationReg(training.alpha), TemporalReg(training.beta)]
    if training.clip is not None:
        parts.append(ClipGrad(training.clip))
    if precision not in get_args(Precision):
        raise ValueError(f"precision must be one of {', '.join(get_args(Precision))}, not {precision!r}")
    if precision != "fp32":
        parts.append(MixedPrecision(precision))
    return parts
