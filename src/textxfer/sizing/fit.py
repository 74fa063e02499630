"""A recipe and a text that fit into a time, by rates that were measured on this machine."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Unpack

import numpy as np

from textxfer import ulmfit
from textxfer.artifact import Artifact
from textxfer.models import LanguageModel
from textxfer.presets import LAPTOP
from textxfer.recipe import Recipe
from textxfer.sizing.budget import Budget, plan
from textxfer.sizing.ladder import Amounts, Rates
from textxfer.sizing.pace import measure
from textxfer.task import TaskData
from textxfer.text import DataError, TokenStore
from textxfer.training import Learner


@dataclass(frozen=True)
class Sized:
    """A recipe that fits into a time, and the text for its language model.

    Attributes:
        recipe: The recipe with the chosen epochs: for `ulmfit.classify`, and, unless the budget says no pass at all,
            for `ulmfit.finetune` on `text`.
        text: What the language model reads: the data, or a share of their documents.
        budget: What was chosen, and why.
        rates: What it was chosen by.
        amounts: How much there was to train.
    """

    recipe: Recipe
    text: TaskData
    budget: Budget
    rates: Rates
    amounts: Amounts

    def finetune(
        self, base: Artifact | None = None, **options: Unpack[ulmfit.Options]
    ) -> Learner[LanguageModel] | None:
        """Train the language model as the budget says; options as in `ulmfit.language_model`.

        Returns:
            The learner; untrained if the pretrained model is taken as it is; None if there is no language model.
        """
        if self.budget.lm_epochs:
            return ulmfit.finetune(self.text, base, recipe=self.recipe, **options)
        if base is None:
            return None
        training = self.recipe.for_finetune(pretrained=True)
        return ulmfit.language_model(self.text, base=base, recipe=self.recipe, training=training, **options)


def fit_to(
    data: TaskData,
    base: Artifact | None = None,
    *,
    minutes: float,
    recipe: Recipe = LAPTOP,
    test: TokenStore | None = None,
    **options: Unpack[ulmfit.Options],
) -> Sized:
    """Fit a recipe to the time in which language model and classifier are to be trained.

    Args:
        data: The texts, see `textxfer.task.prepare`.
        base: The pretrained language model; None trains on the task's text alone.
        minutes: Time for measuring, language model, classifier, and prediction of `test`; > 0.
        recipe: What to train at most; its language model and classifier have one stage each.
        test: Documents that will be predicted at the end.
        options: As in `ulmfit.language_model`; the callbacks do not act while it is measured.

    Raises:
        DataError: The time does not suffice for the least training; the message says the least number of minutes.
        ValueError: A training of the recipe has several stages.
    """
    began = time.perf_counter()
    if not minutes > 0:
        raise DataError(f"minutes must be above 0, not {minutes}")
    rates = measure(data, base, recipe, seconds=60 * minutes, test=test, **options)
    amounts = amounts_of(data, recipe, pretrained=base is not None, reports=int(test is not None))
    budget = plan(minutes, rates, amounts, spent=time.perf_counter() - began)
    return sized(data, recipe, budget, rates, amounts, options.get("seed", 0))


def sized(data: TaskData, recipe: Recipe, budget: Budget, rates: Rates, amounts: Amounts, seed: int = 0) -> Sized:
    """Return the recipe and the text that a budget stands for."""
    finetune = recipe.finetune.with_epochs(budget.lm_epochs or None)
    classify = recipe.classify.with_epochs(budget.epochs)
    chosen = replace(recipe, finetune=finetune, classify=classify)
    docs = documents_read(data.train.lengths, data.train.labels >= 0, budget.share, seed)
    return Sized(
        chosen, data if budget.share == 1 else replace(data, train=data.train.subset(docs)), budget, rates, amounts
    )


def documents_read(lengths: np.ndarray, labelled: np.ndarray, share: float, seed: int = 0) -> np.ndarray:
    """Choose the documents that the language model reads: a share of the text, unlabelled documents left out first.

    Args:
        lengths: Tokens of each document, (D,).
        labelled: Whether each has a label, (D,).
        share: Share of the tokens, in (0, 1].
        seed: Seed of the choice.

    Returns:
        Indices, ascending; at least one.
    """
    if share >= 1:
        return np.arange(len(lengths))
    mixed = np.random.default_rng(seed).permutation(len(lengths))
    mixed = mixed[np.argsort(~labelled[mixed], kind="stable")]
    n = int(np.searchsorted(np.cumsum(lengths[mixed]), share * lengths.sum(), "right"))
    return np.sort(mixed[: max(n, 1)])


def amounts_of(
    data: TaskData, recipe: Recipe, *, pretrained: bool, language: bool = True, runs: int = 1, reports: int = 1
) -> Amounts:
    """Count the updates of a pass and an epoch, and the epochs of the whole recipe.

    Args:
        data: The texts.
        recipe: The whole recipe.
        pretrained: Whether the language model starts from a pretrained one.
        language: Whether there is a language model.
        runs: Trainings that share the time.
        reports: Predictions of the test documents for each training.

    Raises:
        ValueError: A training of the recipe has several stages.
    """
    for name, training in (("language model", recipe.finetune), ("classifier", recipe.classify)):
        if len(training.stages) != 1:
            raise ValueError(f"recipe {recipe.name!r}: the {name} has {len(training.stages)} stages; one can be sized")
    window = recipe.finetune.batch_size * recipe.finetune.bptt
    lm_updates = -(-data.train.n_tokens // window)
    class_updates = -(-len(data.labelled) // recipe.classify.batch_size)
    lm_epochs, epochs = recipe.finetune.stages[-1].epochs, recipe.classify.stages[-1].epochs
    return Amounts(lm_updates, class_updates, lm_epochs if language else 0, epochs, pretrained, runs, reports)
