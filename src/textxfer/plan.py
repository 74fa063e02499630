"""A dry run: every stage of a training through two batches, with the plan and what it will cost."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

import torch

from textxfer import ulmfit
from textxfer.batch import Batch, Loader, Loaders, epoch_length
from textxfer.recipe import Stage, Training
from textxfer.training import Callback, Learner

N_BATCHES = 2


@dataclass(frozen=True)
class StagePlan:
    """What one fit will do.

    Attributes:
        stage: The fit.
        steps: Optimizer updates.
        rates: Highest rate of each layer group, from input to output; None where it stays frozen.
        seconds: Expected time.
    """

    stage: Stage
    steps: int
    rates: dict[str, float | None]
    seconds: float

    def __str__(self) -> str:
        rates = ", ".join(f"{name} {'frozen' if rate is None else f'{rate:.2g}'}" for name, rate in self.rates.items())
        return (
            f"{self.stage.epochs} epochs, {self.steps:,} steps, {self.stage.schedule}, "
            f"about {self.seconds / 60:.1f} min; highest rates: {rates}"
        )


class _Watch(Callback):
    """Times training batches and notes the highest base rate of each layer group that trains."""

    train_only = True

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.rates: dict[str, float] = {}
        self._began = 0.0

    def before_batch(self, learn: Learner) -> None:
        self._began = time.perf_counter()
        trained = {learn.groups[index].name for index in learn.trainable}
        parts = [group for group in learn.optimizer.param_groups if group["layer"] in trained]
        self.rates |= {group["layer"]: group["base_lr"] for group in parts}

    def after_batch(self, learn: Learner) -> None:
        if learn.device.type == "cuda":
            torch.cuda.synchronize(learn.device)
        self.seconds.append(time.perf_counter() - self._began)


class _Shortened:
    """The first batches of a loader."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def __len__(self) -> int:
        return min(len(self.loader), N_BATCHES)

    def __iter__(self) -> Iterator[Batch]:
        return islice(iter(self.loader), N_BATCHES)


def plan(learn: Learner, training: Training) -> list[StagePlan]:
    """Take a learner through two batches of each stage and return what the whole training will do.

    The time is that of a batch with all layer groups training, so a gradually unfrozen fit will be a little faster.
    """
    whole = learn.loaders
    n_batches = epoch_length(whole.train, 0)
    learn.loaders = Loaders(_Shortened(whole.train), None if whole.valid is None else _Shortened(whole.valid))
    plans = []
    for stage in training.stages:
        watch = _Watch()
        # So that each group has its turn, if there are epochs enough for it.
        n_epochs = min(len(learn.groups), stage.epochs) if training.unfreeze else 1
        short = replace(training, stages=(replace(stage, epochs=n_epochs),))
        learn.fits_done = 0  # fit_stages() passes over what is done
        learn.callbacks.append(watch)
        ulmfit.fit_stages(learn, short)
        learn.callbacks.remove(watch)
        steps = stage.epochs * n_batches
        rates = {group.name: watch.rates.get(group.name) for group in learn.groups}
        plans.append(StagePlan(stage, steps, rates, steps * max(watch.seconds[-N_BATCHES:])))
    learn.loaders = whole
    return plans


def peak_memory() -> float:
    """Return the largest memory that this process has had so far, in megabytes."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
