"""ULMFiT: general language model, language model of the task, classifier, composed of callbacks around a Learner.

Each of the three steps comes in two forms: a function that returns a Learner ready to train (`language_model`,
`classifier`), so that one can look, change and fit by hand, and one that also trains it by its recipe (`pretrain`,
`finetune`, `classify`). Source: Howard & Ruder 2018, arXiv 1801.06146.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

import torch

from textxfer.artifact import Artifact, ArtifactError, save_artifact
from textxfer.batch import Loaders, epoch_length
from textxfer.callbacks import (
    ActivationReg,
    CarryHidden,
    ClipGrad,
    DiscriminativeLR,
    GradualUnfreeze,
    MixedPrecision,
    Report,
    TemporalReg,
    WindowRate,
)
from textxfer.directions import DIRECTIONS, Bidirectional, Direction, load_directions
from textxfer.models import AWDLSTM, LanguageModel, TextClassifier, load_encoder, token_loss, transfer_language_model
from textxfer.presets import SMALL
from textxfer.pretrained import find
from textxfer.recipe import Recipe, Stage, Training
from textxfer.task import TaskData
from textxfer.text import ClassBatches, DataError, LMBatches
from textxfer.training import Accuracy, Callback, Learner, ParamSchedule, Perplexity, set_seed
from textxfer.training.learner import Model

Precision = Literal["bf16", "fp32"]
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

    Args:
        data: The texts, see `textxfer.task.prepare`.
        base: A pretrained language model; its rows move to the task's vocabulary by token, and it gives the
            direction. None starts from random weights.
        recipe: Sizes of a new model and the numbers of the training.
        training: Numbers other than the recipe's.
        callbacks: Added to those of the recipe.
        backward: Read the texts from the end to the start.
        precision: `bf16` where the hardware computes in it, or `fp32`.
        device: Where to train; the GPU if there is one.
        seed: Seed of initial weights, dropouts and the order of the documents.
    """
    training = training or (recipe.pretrain if base is None else recipe.finetune)
    backward = backward if base is None else base.backward
    set_seed(seed)
    model = _language_model(data, base, recipe, training)
    size, bptt = training.batch_size, training.bptt
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    shared: dict[str, Any] = {"backward": backward, "device": device}  # blocks of text go to the GPU at once
    train = LMBatches(data.train, size, bptt, seed=seed, vary_bptt=training.vary_bptt, **shared)
    valid = None if data.valid is None else LMBatches(data.valid, size, bptt, shuffle=False, **shared)
    parts = [CarryHidden(), *_common(training, precision), Report(unit="tokens"), *callbacks]
    if training.rescale_lr:
        parts.append(WindowRate(bptt))
    return Learner(
        model,
        Loaders(train, valid),
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
    precision: Precision = "bf16",
    device: str | torch.device | None = None,
    seed: int = 0,
) -> Learner[TextClassifier]:
    """Return a Learner for a classifier of the task's labelled documents.

    Args:
        data: The texts.
        encoder: Encoder of the task's language model (`learn.model.encoder`); None starts from random weights.
        recipe: Sizes of a new model and the numbers of the training.
        training: Numbers other than the recipe's.
        callbacks: Added to those of the recipe.
        backward: Read the texts from the end to the start.
        precision: `bf16` where the hardware computes in it, or `fp32`.
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
    set_seed(seed)
    config = recipe.encoder(len(data.vocab)) if encoder is None else encoder.config
    model = TextClassifier(training.dropouts.apply(config), recipe.head(len(data.classes)))
    if encoder is not None:
        load_encoder(model, encoder)
    train = ClassBatches(data.train, training.batch_size, docs=data.labelled, seed=seed, backward=backward)
    valid = None
    if data.valid is not None:
        valid = ClassBatches(data.valid, _VALID_BATCH, shuffle=False, backward=backward)
    parts = [*_common(training, precision), Report(unit="documents"), *callbacks]
    return Learner(
        model,
        Loaders(train, valid),
        torch.nn.functional.cross_entropy,
        metrics=[Accuracy()],
        callbacks=parts,
        optimizer=training.optimizer,
        device=device,
    )


def fit_stages(learn: Learner[Model], training: Training) -> Learner[Model]:
    """Run the fits of a training, each with its own schedule; those that a resumed learner has done are passed over."""
    training = training.lasting(epoch_length(learn.loaders.train, 0))
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
    """Train a general language model from random weights by the recipe; further options as in `language_model`."""
    return fit_stages(language_model(data, recipe=recipe, **options), recipe.pretrain)


def finetune(
    data: TaskData, base: Artifact | None = None, *, recipe: Recipe = SMALL, **options: Unpack[Options]
) -> Learner[LanguageModel]:
    """Train a pretrained language model on the task's text by the recipe; further options as in `language_model`.

    Without a pretrained model it is one trained on the task's text alone, at one rate for all layer groups.
    """
    training = recipe.for_finetune(base is not None)
    return fit_stages(language_model(data, base=base, recipe=recipe, training=training, **options), training)


def classify(
    data: TaskData, encoder: AWDLSTM | None = None, *, recipe: Recipe = SMALL, **options: Unpack[Options]
) -> Learner[TextClassifier]:
    """Train a classifier by the recipe; further options as in `classifier`."""
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
    """Read a pretrained language model by its name, such as `en-small`; by direction, as `load_directions`.

    Args:
        name: The name; `textxfer.pretrained.names()` lists those there are.
        url: Address to download it from if it is not on this machine, see `textxfer.pretrained.find`.

    Raises:
        DataError: There is no such model.
        ArtifactError: Its folder is damaged.
    """
    return load_directions(find(name, url=url))


def save(folder: str | Path, learn: Learner[Any], data: TaskData, *, backward: bool = False) -> Path:
    """Write the learner's model with the text side of its data as a model folder, without the training state."""
    model = learn.model
    if not isinstance(model, LanguageModel | TextClassifier):
        raise TypeError(f"save() writes language models and classifiers, not {type(model).__name__}")
    return save_artifact(folder, model, data, backward=backward, card={"history": learn.history.epochs})


def _language_model(data: TaskData, base: Artifact | None, recipe: Recipe, training: Training) -> LanguageModel:
    if base is None:
        return LanguageModel(training.dropouts.apply(recipe.encoder(len(data.vocab))))
    if not isinstance(base.model, LanguageModel):
        raise ArtifactError("the pretrained model is a classifier; a language model is needed to start from")
    config = training.dropouts.apply(base.model.encoder.config)
    tokens = base.vocab.tokens, data.vocab.tokens
    model, _ = transfer_language_model(base.model, *tokens, data.vocab.counts, config=config)
    return model


def _common(training: Training, precision: Precision) -> list[Callback]:
    """Return the callbacks that language model and classifier have in common."""
    parts: list[Callback] = [ActivationReg(training.alpha), TemporalReg(training.beta)]
    if training.clip is not None:
        parts.append(ClipGrad(training.clip))
    if precision == "bf16":
        parts.append(MixedPrecision("bf16"))
    elif precision != "fp32":
        raise ValueError(f"precision must be 'bf16' or 'fp32', not {precision!r}")
    return parts
