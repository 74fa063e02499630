"""A task's own rates on this machine, by a few real steps of models that are thrown away."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Unpack

import numpy as np
import torch

from textxfer import ulmfit
from textxfer.artifact import Artifact
from textxfer.batch import Batch, Loader, Loaders, batches_from, epoch_length
from textxfer.models import AWDLSTM, TextClassifier
from textxfer.predict import Predictor
from textxfer.recipe import Recipe, Training
from textxfer.sizing.ladder import Rates
from textxfer.task import TaskData
from textxfer.text import ClassBatches, TokenStore
from textxfer.training import Callback, Learner, Order

_PART = 0.03  # of the time given: what each measurement may take
_MOST, _LEAST = 40, 3  # batches of a measurement, one of them to warm up
_GOLDEN = 0.6180339887498949


def measure(
    data: TaskData,
    base: Artifact | None,
    recipe: Recipe,
    *,
    seconds: float,
    test: TokenStore | None = None,
    language: bool = True,
    **options: Unpack[ulmfit.Options],
) -> Rates:
    """Take models that are thrown away through a few updates, held-out batches and test documents.

    Layer groups are measured as they are when all train, so that gradual unfreezing is a little faster than thought.

    Args:
        data: The texts.
        base: The pretrained language model, or None.
        recipe: The recipe.
        seconds: Time that is given for all; measuring takes a few per cent of it, and never less than three batches.
        test: Documents that will be predicted at the end.
        language: Whether there is a language model.
        options: As in `ulmfit.language_model`.
    """
    quiet: Any = options | {"callbacks": ()}
    part, encoder, lm, start = _PART * seconds, None, (0.0, 0.0, 0.0), 0.0
    if language:
        began = time.perf_counter()
        training = recipe.for_finetune(base is not None)
        learn = ulmfit.language_model(data, base=base, recipe=recipe, training=training, **quiet)
        start += time.perf_counter() - began
        lm, encoder = _times(learn, training, part), learn.model.encoder
    began = time.perf_counter()
    classifier, training = _classifier(data, encoder, recipe, **quiet)
    start += time.perf_counter() - began
    update, valid, first = _times(classifier, training, part)
    report = 0.0 if test is None else _report(classifier, data, test, part, bool(options.get("backward")))
    return Rates(lm[0], update, lm[1], valid, report, start + lm[2] + first)


def measure_classifier(
    data: TaskData, encoder: AWDLSTM | None, recipe: Recipe, *, seconds: float, **options: Unpack[ulmfit.Options]
) -> float:
    """Measure the classifier's updates alone, on the encoder with which it will be trained.

    Args:
        data: The texts.
        encoder: Encoder of the task's language model, or None.
        recipe: The recipe.
        seconds: Time that is given for all, as in `measure`.
        options: As in `ulmfit.language_model`.

    Returns:
        Seconds of an update, the mean over an epoch.
    """
    learn, training = _classifier(data, encoder, recipe, **(options | {"callbacks": ()}))
    learn.loaders = Loaders(learn.loaders.train)
    return _times(learn, training, _PART * seconds)[0]


def _classifier(
    data: TaskData, encoder: AWDLSTM | None, recipe: Recipe, **options: Unpack[ulmfit.Options]
) -> tuple[Learner[TextClassifier], Training]:
    training = recipe.for_classify(encoder is not None)
    return ulmfit.classifier(data, encoder=encoder, recipe=recipe, training=training, **options), training


def mean_seconds(sizes: np.ndarray, seconds: np.ndarray, mean_size: float) -> float:
    """Estimate the mean time of a batch from some of different size, by the line through them.

    Args:
        sizes: Sizes of the batches measured, (n,).
        seconds: Their times, (n,).
        mean_size: Mean size of all batches.
    """
    spread = float(np.var(sizes))
    slope = max(float(np.mean((sizes - sizes.mean()) * (seconds - seconds.mean()))) / spread, 0.0) if spread else 0.0
    return max(float(seconds.mean()) + slope * (mean_size - float(sizes.mean())), float(seconds.min()))


class _Stamps(Callback):
    """Notes when each batch ended."""

    order = Order.REPORT

    def __init__(self) -> None:
        self.times = [time.perf_counter()]
        self.sizes: list[int] = []

    def after_batch(self, learn: Learner) -> None:
        if learn.device.type == "cuda":
            torch.cuda.synchronize(learn.device)
        self.times.append(time.perf_counter())
        self.sizes.append(learn.step.inputs[0].numel())


class _Some:
    """Some batches of a loader, of all sizes where these differ, until the time is up."""

    def __init__(self, loader: Loader, seconds: float) -> None:
        self.loader, self.seconds = loader, seconds

    def __len__(self) -> int:
        return min(epoch_length(self.loader, 0), _MOST)

    def __iter__(self) -> Iterator[Batch]:
        ends = time.perf_counter() + self.seconds
        for number, batch in enumerate(self._spread()):
            if number >= _LEAST and time.perf_counter() > ends:
                return
            yield batch

    def _spread(self) -> Iterator[Batch]:
        if not isinstance(self.loader, ClassBatches):
            yield from (batch for _, batch in zip(range(len(self)), batches_from(self.loader)))
            return
        by_size = np.argsort(_sizes(self.loader), kind="stable")
        for number in range(len(self)):  # the golden section spreads any number of them evenly
            place = int(by_size[int(len(by_size) * ((0.5 + number * _GOLDEN) % 1))])
            yield next(batches_from(self.loader, place))


def _sizes(loader: ClassBatches) -> np.ndarray:
    """Return the padded tokens of each batch of the first epoch."""
    return np.asarray([int(loader.lengths[docs].max()) * len(docs) for docs in loader.batches_of(0)])


def _times(learn: Learner[Any], training: Training, seconds: float) -> tuple[float, float, float]:
    """Return the seconds of an update, of a held-out pass, and of what the first batch takes more than others."""
    learn.callbacks = [callback for callback in learn.callbacks if callback.order is not Order.REPORT]
    loaders, stage = learn.loaders, training.stages[-1]
    learn.loaders = Loaders(_Some(loaders.train, seconds))
    stamps = _Stamps()
    learn.fit(1, stage.lr, [*ulmfit.stage_callbacks(stage, training), stamps])
    update, first = _update_seconds(stamps, loaders.train)
    if loaders.valid is None:
        return update, 0.0, first
    stamps = _Stamps()
    learn.callbacks.append(stamps)
    learn.validate(_Some(loaders.valid, seconds / 2))
    return update, _update_seconds(stamps, loaders.valid)[0] * len(loaders.valid), first


def _update_seconds(stamps: _Stamps, loader: Loader) -> tuple[float, float]:
    """Return the mean seconds of a batch of the loader, and by how many the first batch exceeded it."""
    seconds, sizes = np.diff(stamps.times), np.asarray(stamps.sizes, float)
    kept = slice(1, None) if len(seconds) > 1 else slice(None)
    mean_size = float(_sizes(loader).mean()) if isinstance(loader, ClassBatches) else float(sizes[kept].mean())
    mean = mean_seconds(sizes[kept], seconds[kept], mean_size)
    return mean, max(float(seconds[0]) - mean, 0.0)


def _report(learn: Learner[TextClassifier], data: TaskData, test: TokenStore, seconds: float, backward: bool) -> float:
    """Return the seconds of a prediction of all test documents, from more and more of them."""
    predictor = Predictor(learn.model, Artifact(learn.model, data.vocab, data.tokenizer, data.classes, backward))
    by_size, n = np.argsort(test.lengths, kind="stable"), 16
    predictor.predict_store(test.subset(by_size[:1]))
    while True:
        some = test.subset(by_size[np.linspace(0, len(test) - 1, min(n, len(test))).astype(int)])
        began = time.perf_counter()
        predictor.predict_store(some)
        taken = time.perf_counter() - began
        if len(some) == len(test) or taken > seconds / 4:
            return taken * test.n_tokens / some.n_tokens
        n *= 4
