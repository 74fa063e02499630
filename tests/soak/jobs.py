"""The fits of the soak test: each kind ends in another way, and must leave nothing behind but its files."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from pathlib import Path

from tests.programs.toys import TINY
from textxfer import ulmfit
from textxfer._tiny_training import Planned, error_in
from textxfer.callbacks import (
    Accumulate,
    CacheFeatures,
    CSVLog,
    DataParallel,
    DiscriminativeLR,
    EarlyStop,
    GradualUnfreeze,
    Report,
    SaveBest,
    SaveEvery,
    StopOnNonFinite,
    WeightAverage,
    WindowRate,
)
from textxfer.plots import plot_lr_finder, save_figure
from textxfer.task import TaskData
from textxfer.training import Callback, Learner, Order, own_generator

EVENTS = ("before_fit", "before_batch", "around_forward", "after_loss", "before_update", "after_batch", "after_epoch")
RATE = 4e-3

Job = Callable[[TaskData, Path, int], None]
"""A kind of fit: data, an empty folder for its files, and its seed: always the same, so that each repeats itself."""


def quiet() -> Report:
    """Return a report that is printed nowhere."""
    return Report(stream=StringIO())


def many(folder: Path) -> list[Callback]:
    """Return the callbacks that language model and classifier can both have, beside those of the recipe."""
    parts: list[Callback] = [Accumulate(2), WeightAverage(decay=0.9), StopOnNonFinite(), EarlyStop(patience=5)]
    files = [SaveBest(folder / "best"), SaveEvery(folder / "states", batches=2), CSVLog(folder / "log.csv")]
    return [*parts, DataParallel(), quiet(), *files]


def language_model(data: TaskData, folder: Path, seed: int) -> None:
    """A language model with all callbacks."""
    learn = ulmfit.language_model(data, recipe=TINY, callbacks=[*many(folder), WindowRate(10)], seed=seed)
    learn.fit_one_cycle(3, RATE, callbacks=[GradualUnfreeze(), DiscriminativeLR()])


def classifier(data: TaskData, folder: Path, seed: int) -> None:
    """A classifier with all callbacks: its head on features that are kept, then all of it."""
    learn = ulmfit.classifier(data, recipe=TINY, callbacks=many(folder), seed=seed)
    learn.freeze()
    learn.fit(2, RATE, [CacheFeatures()])
    learn.unfreeze()
    learn.fit_slanted(2, RATE, callbacks=[GradualUnfreeze(mode="chain-thaw"), DiscriminativeLR()])


def rates(data: TaskData, folder: Path, seed: int) -> None:
    """The rates are tried and drawn, then there is a fit at the one that was found."""
    learn = ulmfit.language_model(data, recipe=TINY, callbacks=[quiet()], seed=seed)
    result = learn.lr_find(n_steps=20)
    save_figure(plot_lr_finder(result), folder / "rates.png")
    learn.fit(1, RATE)


class Break(Callback):
    """Ends a fit behind a batch, as a crash would."""

    order = Order.SAVE
    train_only = True

    def __init__(self, batch: int = 5) -> None:
        self.batch = batch

    def after_batch(self, learn: Learner) -> None:
        if learn.progress.batch == self.batch:
            raise Planned("after_batch")


def resumed(data: TaskData, folder: Path, seed: int) -> None:
    """A fit breaks and goes on in a new learner."""

    def made(*more: Callback) -> Learner:
        parts = [quiet(), *more, SaveEvery(folder / "states", batches=2)]
        return ulmfit.language_model(data, recipe=TINY, callbacks=parts, seed=seed)

    broken(made(Break()))
    learn = made()
    learn.resume(folder / "states")
    learn.fit_one_cycle(2, RATE)


def broken(learn: Learner) -> None:
    """Run a fit that must break.

    Raises:
        AssertionError: It did not.
    """
    try:
        learn.fit_one_cycle(2, RATE)
    except Planned:
        return
    raise AssertionError("the fit should have been broken")


def failed(data: TaskData, folder: Path, seed: int) -> None:
    """An error comes in one event after another, and the learner trains again."""
    for event in EVENTS:
        parts = [quiet(), error_in(event, Order.OBSERVE), SaveEvery(folder / event, batches=2)]
        learn = ulmfit.classifier(data, recipe=TINY, callbacks=parts, seed=seed)
        broken(learn)
        learn.fit(1, RATE)


def whole(data: TaskData, folder: Path, seed: int) -> None:
    """The whole recipe: language model, classifier, model folder."""
    lm = ulmfit.finetune(data, recipe=TINY, callbacks=[quiet()], seed=seed)
    learn = ulmfit.classify(data, lm.model.encoder, recipe=TINY, callbacks=[quiet()], seed=seed)
    ulmfit.save(folder / "model", learn, data)


def threads(data: TaskData, folder: Path, seed: int) -> None:
    """Two fits at the same time."""
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda own: _alone(data, own), [seed, seed + 1]))


def _alone(data: TaskData, seed: int) -> None:
    with own_generator(seed):
        ulmfit.finetune(data, recipe=TINY, callbacks=[quiet()], seed=seed)


JOBS: tuple[Job, ...] = (language_model, classifier, rates, resumed, failed, whole, threads)
