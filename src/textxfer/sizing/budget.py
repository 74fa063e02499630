"""How much of a recipe fits into a given time: passes of the language model, epochs of the classifier.

All of it is arithmetic on seconds; `pace` measures them, `ladder` chooses.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import ceil, floor
from typing import Any

from textxfer.sizing.ladder import LEAST_EPOCHS, Amounts, Cost, Rates, choose
from textxfer.text import DataError

AIM = 0.9
"""Share of the time that whole passes and epochs must fill; else text is left out to fill it better."""
_SLACK = 0.1  # of the time: how far a classifier's last epoch may go beyond it


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
    cost = Cost(rates, amounts)
    other, limit = spent + rates.finish, 60 * minutes
    room = (limit - other) / amounts.runs
    least = min(LEAST_EPOCHS, amounts.epochs)
    if (needed := cost(0, least)) > room:
        if refuse:
            raise DataError(_too_little(minutes, least, other + amounts.runs * needed))
        room = needed
    enough = (AIM * limit - other) / amounts.runs
    *choice, share = choose(room, enough, cost, amounts)
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
    cost = Cost(rates, amounts)
    fitting = (seconds - amounts.reports * rates.report) / cost.epoch
    epochs = floor(fitting)
    if fitting - epochs > 0.5 and (epochs + 1 - fitting) * cost.epoch <= slack:
        epochs += 1
    return min(max(epochs, LEAST_EPOCHS), amounts.epochs)


def slack_of(seconds: float) -> float:
    """Return by how many seconds a training that may take `seconds` may go beyond them."""
    return _SLACK * seconds


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
