"""The recipe `laptop`: each training of a command gets its part of the minutes that are left."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from textxfer import plots, ulmfit
from textxfer.artifact import Artifact
from textxfer.cli.config import ClassifyConfig
from textxfer.cli.training import options_of
from textxfer.directions import Direction
from textxfer.models import AWDLSTM, LanguageModel, TextClassifier
from textxfer.recipe import Recipe
from textxfer.sizing import (
    Amounts,
    Rates,
    Sized,
    amounts_of,
    epochs_left,
    measure,
    measure_classifier,
    plan,
    sized,
    slack_of,
)
from textxfer.task import TaskData
from textxfer.text import DataError, TokenStore
from textxfer.training import Learner


class Laptop:
    """Plans each training when it begins, its classifier again when the language model is done, and keeps account.

    Args:
        config: Options of the command; `minutes` are its time.
        recipe: The whole recipe.
        data: The texts.
        test: Documents of the report.
        bases: Pretrained language models, or None.
        directions: In which to train.
        began: When the command began, on the clock of `time.perf_counter`.

    Attributes:
        sized: The recipe of the training that comes next, or runs.

    Raises:
        DataError: The minutes do not suffice for the least training.
    """

    def __init__(
        self,
        config: ClassifyConfig,
        recipe: Recipe,
        data: TaskData,
        test: TokenStore,
        bases: Mapping[Direction, Artifact] | None,
        directions: tuple[Direction, ...],
        began: float,
    ) -> None:
        if config.minutes is None or not config.minutes > 0:
            raise DataError(f"--minutes must be above 0, not {config.minutes}")
        self._recipe, self._data, self._began, self._seed = recipe, data, began, config.seed
        self._limit, language = 60 * config.minutes, not config.from_scratch
        self._runs = self._left = config.repeat * len(directions)
        self._owed = self._training_began = 0.0
        self._trainings: list[dict[str, Any]] = []
        self._amounts = amounts_of(
            data, recipe, pretrained=bases is not None, language=language, runs=self._runs, reports=len(directions)
        )
        print(f"\nmeasuring for {config.minutes:g} minutes", flush=True)
        base = None if bases is None else bases[directions[0]]
        options = options_of(config, directions[0])
        rates = measure(data, base, recipe, seconds=self._limit, test=test, language=language, **options)
        figures = 1 + 2 * len(directions) * (1 + language)
        self._rates = replace(rates, finish=figures * _figure_seconds())
        self.sized = self._plan(first=True)

    @property
    def rates(self) -> Rates:
        """Times in seconds: as measured at first, then those of the trainings that are done."""
        return self._rates

    @property
    def amounts(self) -> Amounts:
        """How much there is to train."""
        return self._amounts

    def begin(self) -> None:
        """Plan the next training by what is left, and print the plan."""
        if self._trainings:
            self.sized = self._plan()
        self._training_began = time.perf_counter()
        self._trainings.append({"plan": self.sized.budget.to_dict()})
        self.describe()

    def describe(self) -> None:
        """Print the plan, and what text the language model does not read."""
        print(f"\n{self.sized.budget}")
        whole, read = self._data.train.labels, self.sized.text.train.labels
        if len(read) < len(whole) and self.sized.budget.lm_epochs:
            for name, all_, kept in (
                ("unlabelled", (whole < 0).sum(), (read < 0).sum()),
                ("labelled", (whole >= 0).sum(), (read >= 0).sum()),
            ):
                if kept < all_:
                    print(f"  left out of the language model's text: {all_ - kept:,} of {all_:,} {name} documents")
        print(end="", flush=True)

    def finetune(self, base: Artifact | None, options: ulmfit.Options) -> Learner[LanguageModel] | None:
        """Train the language model; see `Sized.finetune`."""
        began, budget = time.perf_counter(), self.sized.budget
        learn = self.sized.finetune(base, **options)
        seconds = time.perf_counter() - began
        self._trainings[-1]["lm_seconds"] = seconds
        if budget.lm_epochs:
            factor, rates = seconds / budget.lm_seconds, self._rates
            self._rates = replace(rates, lm_update=rates.lm_update * factor, lm_valid=rates.lm_valid * factor)
        return learn

    def classify(self, encoder: AWDLSTM | None, options: ulmfit.Options) -> Learner[TextClassifier]:
        """Train the classifier for as many epochs as fit best into what is left of the training's time."""
        recipe, planned = self.sized.recipe, self.sized.budget.epochs
        if not self.sized.budget.whole:  # measured again: a machine is not always equally fast
            again = measure_classifier(self._data, encoder, recipe, seconds=self._limit, **options)
            self._rates = replace(self._rates, class_update=(self._rates.class_update + again) / 2)
        left, rates = self._time_left(), self._rates
        epochs = epochs_left(left, rates, self._amounts, slack=slack_of(self._limit / self._runs))
        if epochs != planned:
            print(f"{epochs} epochs instead of {planned}: {left / 60:.1f} min are left for them and the report")
        recipe = replace(recipe, classify=recipe.classify.with_epochs(epochs))
        began = time.perf_counter()
        learn = ulmfit.classify(self._data, encoder, recipe=recipe, **options)
        seconds = time.perf_counter() - began
        self._trainings[-1] |= {"epochs": epochs, "class_seconds": seconds}
        factor = seconds / epochs / (self._amounts.class_updates * rates.class_update + rates.class_valid)
        self._rates = replace(rates, class_update=rates.class_update * factor, class_valid=rates.class_valid * factor)
        self._left -= 1
        self._owed += self._amounts.reports * rates.report
        return learn

    def _time_left(self) -> float:
        """Seconds that are left of the part of the training that runs."""
        part = (self._limit - self.sized.budget.spent - self._rates.finish) / self._left
        return part - (time.perf_counter() - self._training_began)

    def reported(self) -> None:
        """Take note that the report on the trainings that are done is made."""
        self._owed = 0.0

    def card(self) -> dict[str, Any]:
        """Return plans, rates and actual times, so far, for the run card."""
        return {
            "minutes": self._limit / 60,
            "actual_minutes": (self._spent() + self._rates.finish) / 60,
            "rates": asdict(self._rates),
            "amounts": asdict(self._amounts),
            "trainings": self._trainings,
        }

    def _spent(self) -> float:
        return time.perf_counter() - self._began

    def _plan(self, *, first: bool = False) -> Sized:
        amounts = replace(self._amounts, runs=self._left)
        budget = plan(self._limit / 60, self._rates, amounts, spent=self._spent() + self._owed, refuse=first)
        return sized(self._data, self._recipe, budget, self._rates, amounts, self._seed)


def _figure_seconds() -> float:
    """Return the time that a figure of the output folder takes, once matplotlib is loaded."""
    seconds = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for name in ("first.png", "second.png"):
            began = time.perf_counter()
            plots.save_figure(plots.plot_confusion(np.eye(2, dtype=int), ("a", "b")), Path(folder) / name)
            seconds = time.perf_counter() - began
    return seconds
