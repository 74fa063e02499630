"""Which passes and epochs fit into a time, and which share of the text: a ladder from the least to the whole recipe.

Both trainings begin at their least, no pass and two epochs, and grow in turns, a whole pass or epoch at a time, so that
neither takes much more time than the other. When one of them has what the whole recipe gives it, the other has the
rest. So with few labels and much unlabelled text nearly all the time goes to the language model; with many labels it is
about half and half. Where whole passes leave much time over, the language model makes them over a share of the text; so
it does where the time is too short for a whole pass of a pretrained model beside epochs that take as long.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, floor

LEAST_EPOCHS = 2
"""Fewest epochs of a classifier."""


@dataclass(frozen=True)
class Rates:
    """Measured times of a task on this machine, in seconds.

    Attributes:
        lm_update: One update of the language model.
        class_update: One update of the classifier, the mean over an epoch.
        lm_valid: Held-out pass after each pass of the language model.
        class_valid: Held-out pass after each epoch of the classifier.
        report: Prediction of the test documents with one classifier.
        start: Making both models, for each training.
        finish: Writing models and plots at the end.
    """

    lm_update: float
    class_update: float
    lm_valid: float = 0.0
    class_valid: float = 0.0
    report: float = 0.0
    start: float = 0.0
    finish: float = 0.0


@dataclass(frozen=True)
class Amounts:
    """How much there is to train, and what the whole recipe would do.

    Attributes:
        lm_updates: Updates of a pass of the language model over all text, >= 1.
        class_updates: Updates of an epoch of the classifier, >= 1.
        lm_epochs: Passes of the whole recipe; 0 where there is no language model.
        epochs: Epochs of the classifier of the whole recipe, >= 1.
        pretrained: Whether the language model starts from a pretrained one.
        runs: Trainings, each of language model and classifier, that share the time.
        reports: Predictions of the test documents for each training.
    """

    lm_updates: int
    class_updates: int
    lm_epochs: int = 6
    epochs: int = 10
    pretrained: bool = True
    runs: int = 1
    reports: int = 1


class Cost:
    """Seconds of one training."""

    def __init__(self, rates: Rates, amounts: Amounts) -> None:
        self.fixed = rates.start + amounts.reports * rates.report
        self.epoch = amounts.class_updates * rates.class_update + rates.class_valid
        self.text, self.valid = amounts.lm_updates * rates.lm_update, rates.lm_valid

    def __call__(self, lm_epochs: int, epochs: int, share: float = 1.0) -> float:
        """Seconds of all of it: passes of the language model, epochs of the classifier, and what is fixed."""
        return self.fixed + lm_epochs * self.lm_pass(share) + epochs * self.epoch

    def lm_pass(self, share: float = 1.0) -> float:
        """Seconds of a pass over a share of the text."""
        return share * self.text + self.valid


def _ladder(cost: Cost, amounts: Amounts) -> Iterator[tuple[int, int]]:
    """Yield passes and epochs from the least to the whole recipe; which one grows does not depend on the time given."""
    passes, epochs = 0, min(LEAST_EPOCHS, amounts.epochs)
    yield passes, epochs
    while (passes, epochs) != (amounts.lm_epochs, amounts.epochs):
        cheaper = (passes + 1) * cost.lm_pass() < (epochs + 1) * cost.epoch
        if passes < amounts.lm_epochs and (cheaper or epochs == amounts.epochs):
            passes += 1
        else:
            epochs += 1
        yield passes, epochs


def choose(room: float, enough: float, cost: Cost, amounts: Amounts) -> tuple[int, int, float]:
    """Return passes, epochs and share: the first of the ladder, of what is beside it, and of shares that fill enough.

    Since each of the three costs more the more room there is, so does what is chosen.
    """
    rungs = list(_ladder(cost, amounts))
    beside = [(passes + step, epochs - step) for passes, epochs in rungs for step in (1, -1)]
    least = rungs[0][1]
    beside = [pair for pair in beside if 0 <= pair[0] <= amounts.lm_epochs and least <= pair[1] <= amounts.epochs]
    on_ladder = max(pair for pair in rungs if cost(*pair) <= room)
    near = max((pair for pair in [on_ladder, *beside] if cost(*pair) <= room), key=lambda pair: cost(*pair))
    if on_ladder[0] == 0 and amounts.pretrained and (halves := _half_a_pass(room, on_ladder[1], cost, amounts)):
        return halves
    if on_ladder == rungs[-1] or cost(*on_ladder) >= enough:
        return *on_ladder, 1.0
    if cost(*near) >= enough:
        return *near, 1.0
    partial = [_partial_passes(room, on_ladder, cost, amounts)]
    passes, epochs = on_ladder
    # With all its passes made, the language model can still give way to one more epoch by reading less in them.
    if 0 < passes == amounts.lm_epochs and cost(0, epochs + 1) <= room:
        partial.append(_partial_passes(room, (passes - 1, epochs + 1), cost, amounts))
    return max((*near, 1.0), *partial, key=lambda each: cost(*each))


def _half_a_pass(room: float, most: int, cost: Cost, amounts: Amounts) -> tuple[int, int, float] | None:
    """Give half the room to a pass over a share of the text: a pretrained model is worth some tuning before epochs.

    For rooms in which the ladder has no pass yet. None if half the room does not suffice for an update.
    """
    left = room - cost(0, 0)
    least = min(LEAST_EPOCHS, amounts.epochs)
    if amounts.lm_epochs == 0 or min(left / 2, left - least * cost.epoch) < cost.lm_pass(1 / amounts.lm_updates):
        return None
    epochs = max(floor(left / 2 / cost.epoch), ceil((left - cost.lm_pass()) / cost.epoch), least)
    epochs = min(epochs, most)
    share = (left - epochs * cost.epoch - cost.valid) / cost.text
    return (1, epochs, min(share, 1.0)) if share * amounts.lm_updates >= 1 else None


def _partial_passes(room: float, rung: tuple[int, int], cost: Cost, amounts: Amounts) -> tuple[int, int, float]:
    """Return passes, the epochs of a rung, and the share of the text with which the passes fill the room."""
    passes, epochs = rung
    if passes == amounts.lm_epochs:
        return passes, epochs, 1.0
    left = room - cost(0, epochs)
    passes = min(amounts.lm_epochs, ceil(left / cost.lm_pass()))
    share = min((left / max(passes, 1) - cost.valid) / cost.text, 1.0)
    if share * amounts.lm_updates < 1:
        return max(passes - 1, 0), epochs, 1.0
    return passes, epochs, share
