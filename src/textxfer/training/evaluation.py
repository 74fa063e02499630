"""Passes on the side: validation and prediction, within a fit or outside, that leave the learner as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from textxfer.batch import Loader
from textxfer.training.loop import run_pass
from textxfer.training.step import Step

if TYPE_CHECKING:
    from textxfer.training.learner import Learner


def validate(learn: Learner, loader: Loader) -> dict[str, float]:
    """Compute loss and metrics over a loader; see `Learner.validate`."""
    with evaluating(learn):
        run_pass(learn, loader, training=False)
        return dict(learn.results)


def predict(learn: Learner, loader: Loader) -> Tensor:
    """Predict every batch of a loader; see `Learner.predict`."""
    collected: list[Tensor] = []
    compute = learn.compute

    def keep(step: Step) -> None:
        compute(step)
        collected.append(step.pred.float().cpu())

    with evaluating(learn):
        learn.compute = keep
        run_pass(learn, loader, training=False)
    return torch.cat(collected)


@contextmanager
def evaluating(learn: Learner) -> Iterator[None]:
    """Put back whatever a pass sets, also after an error, and let go of its last batch."""
    kept = (learn.step, learn.results, learn.compute, learn.model.training, learn.savepoint, learn.stopping, learn.fire)
    learn.stopping = False  # a fit that was told to stop may still evaluate
    with ExitStack() as stack:
        if not learn.in_fit:
            stack.enter_context(learn.activated())
        try:
            yield
        finally:
            learn.step.clear()
            learn.step, learn.results, learn.compute, training, learn.savepoint, learn.stopping, learn.fire = kept
            learn.model.train(training)
