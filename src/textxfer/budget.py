"""How much of a recipe fits into a given time: passes of the language model, epochs of the classifier.

All of it is arithmetic on seconds; `textxfer.pace` measures them. Both trainings begin at their least, no pass and
two epochs, and grow in turns, a whole pass or epoch at a time, so that neither takes much more time than the other.
When one of them has what the whole recipe gives it, the other has the rest. So with few labels and much unlabelled text
nearly all the time goes to the language model; with many labels it is about half and half. Where whole passes leave
much time over, the language model makes them over a share of the text; so it does where the time is too short for a
whole pass of a pretrained model beside epochs that take as long.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import ceil, floor
from typing import Any

from textxfer.text import DataError

LEAST_EPOCHS = 2
"""Fewest epochs of a classifier."""
AIM = 0.9
"""Share of the time that whole passes and epochs must fill; else text is left out to fill it better."""
_SLACK = 0.1  # of the time: how far a classifier's last epoch may go beyond it


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


@dataclass(frozen=True)
class Budget:
    """What one training does with its time.

    Attributes:
        lm_epochs: Passes of the language model.
        share: Share of the text that it reads, by tokens, in (0, 1].
        epochs: Epochs of the classifier.
        lm_seconds: Expected time of the language model.
        class_seconds: Expected time of the classifier.
        seconds: Expected time of the whole command, of which `spent` is over.
        spent: Seconds that were spent before.
        limit: The time that is given, in seconds.
        runs: Trainings that do the same.
        pretrained: Whether the language model starts from a pretrained one.
        whole: Whether this is the whole recipe.
    """

    lm_epochs: int
    share: float
    epochs: int
    lm_seconds: float
    class_seconds: float
    seconds: float
    spent: float
    limit: float
    runs: int
    pretrained: bool
    whole: bool

    def to_dict(self) -> dict[str, Any]:
        """Return all figures as JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        each = f", each of {self.runs} trainings" if self.runs > 1 else ""
        return "\n".join(
            (
                f"plan for {_minutes(self.limit)}, of which {_minutes(self.spent)} are spent{each}:",
                f"  language model: {self._language()}",
                f"  classifier: {self.epochs} epochs, {_minutes(self.class_seconds)}",
                f"  in all {_minutes(self.seconds)}: {self._reason()}",
            )
        )

    def _language(self) -> str:
        if self.lm_epochs == 0:
            return (
                "the pretrained one as it is" if self.pretrained else "none, the classifier starts from random weights"
            )
        passes = "1 pass" if self.lm_epochs == 1 else f"{self.lm_epochs} passes"
        return f"{passes} over {_share(self.share)} of the text, {_minutes(self.lm_seconds)}"

    def _reason(self) -> str:
        if self.whole:
            return "this is the whole recipe, it takes less than the time given"
        if self.share < 1:
            return "whole passes over all text need too much time, or leave too much over"
        return "one more pass or epoch does not fit"


def plan(minutes: float, rates: Rates, amounts: Amounts, *, spent: float = 0.0, refuse: bool = True) -> Budget:
    """Choose passes and epochs so that the whole command takes nearly, and not more than, the time given.

    Args:
        minutes: Time for the whole command, > 0.
        rates: Measured times.
        amounts: How much there is to train; the time left is shared evenly by its `runs`.
        spent: Seconds of the command that are over.
        refuse: Whether too little time is an error; else the least training is planned.

    Raises:
        DataError: Not even the least training fits; the message says the least number of minutes.
    """
    if not minutes > 0:
        raise DataError(f"minutes must be above 0, not {minutes}")
    cost = _Cost(rates, amounts)
    other, limit = spent + rates.finish, 60 * minutes
    room = (limit - other) / amounts.runs
    least = min(LEAST_EPOCHS, amounts.epochs)
    if (needed := cost(0, least)) > room:
        if refuse:
            raise DataError(_too_little(minutes, least, other + amounts.runs * needed))
        room = needed
    enough = (AIM * limit - other) / amounts.runs
    *choice, share = _choose(room, enough, cost, amounts)
    lm_seconds, class_seconds = choice[0] * cost.lm_pass(share), choice[1] * cost.epoch
    seconds = other + amounts.runs * (cost.fixed + lm_seconds + class_seconds)
    times = {"lm_seconds": lm_seconds, "class_seconds": class_seconds, "seconds": seconds, "spent": spent}
    return Budget(
        choice[0],
        share,
        choice[1],
        **times,
        limit=limit,
        runs=amounts.runs,
        pretrained=amounts.pretrained,
        whole=choice == [amounts.lm_epochs, amounts.epochs] and share == 1,
    )


def epochs_left(seconds: float, rates: Rates, amounts: Amounts, *, slack: float = 0.0) -> int:
    """Return the number of classifier epochs that ends nearest to the time that is left.

    Args:
        seconds: Time left for this classifier and its reports.
        rates: Measured times.
        amounts: How much there is to train.
        slack: Seconds by which the last epoch may go beyond the time.
    """
    cost = _Cost(rates, amounts)
    fitting = (seconds - amounts.reports * rates.report) / cost.epoch
    epochs = floor(fitting)
    if fitting - epochs > 0.5 and (epochs + 1 - fitting) * cost.epoch <= slack:
        epochs += 1
    return min(max(epochs, LEAST_EPOCHS), amounts.epochs)


def slack_of(seconds: float) -> float:
    """Return by how many seconds a training that may take `seconds` may go beyond them."""
    return _SLACK * seconds


class _Cost:
    """Seconds of one training."""

    def __init__(self, rates: Rates, amounts: Amounts) -> None:
        self.fixed = rates.start + amounts.reports * rates.report
        self.epoch = amounts.class_updates * rates.class_update + rates.class_valid
        self.text, self.valid = amounts.lm_updates * rates.lm_update, rates.lm_valid

    def __call__(self, lm_epochs: int, epochs: int, share: float = 1.0) -> float:
        return self.fixed + lm_epochs * self.lm_pass(share) + epochs * self.epoch

    def lm_pass(self, share: float = 1.0) -> float:
        """Seconds of a pass over a share of the text."""
        return share * self.text + self.valid


def _ladder(cost: _Cost, amounts: Amounts) -> Iterator[tuple[int, int]]:
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


def _choose(room: float, enough: float, cost: _Cost, amounts: Amounts) -> tuple[int, int, float]:
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


def _half_a_pass(room: float, most: int, cost: _Cost, amounts: Amounts) -> tuple[int, int, float] | None:
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


def _partial_passes(room: float, rung: tuple[int, int], cost: _Cost, amounts: Amounts) -> tuple[int, int, float]:
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


def _too_little(minutes: float, epochs: int, seconds: float) -> str:
    least = ceil(10.5 * seconds / 60) / 10  # 5 % more: times are never quite the same again
    return (
        f"{minutes:g} minutes are too little: {epochs} epochs of the classifier over all labelled documents, with "
        f"reading, reports and what else there is, take about {seconds / 60:.1f}. Give at least {least:g} minutes, or "
        "fewer documents"
    )


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} min"


def _share(share: float) -> str:
    return "all" if share == 1 else f"{share:.0%}"
