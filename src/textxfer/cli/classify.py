"""The command that trains and judges a classifier: classify."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import Any

from textxfer import ulmfit
from textxfer.artifact import Artifact
from textxfer.cli.config import ClassifyConfig
from textxfer.cli.laptop import Laptop
from textxfer.cli.output import check_out, describe, write_run
from textxfer.cli.reading import read_documents
from textxfer.cli.recipes import task_recipe
from textxfer.cli.training import chosen_directions, load_bases, new_tokenizer, options_of, rehearse
from textxfer.directions import Direction, direction_of
from textxfer.evaluate import Evaluation, evaluate
from textxfer.models import AWDLSTM, LanguageModel, TextClassifier
from textxfer.predict import PairPredictor, Predictor
from textxfer.recipe import Recipe
from textxfer.task import TaskData, prepare
from textxfer.text import DataError, Document, TokenStore, check_classes, split_documents
from textxfer.training import Learner

Bases = Mapping[Direction, Artifact] | None
Trained = dict[str, dict[Direction, Learner[Any]]]


def classify(config: ClassifyConfig) -> None:
    """Train a classifier, report on held-out documents, and write models and report."""
    started = time.perf_counter()
    if config.base is not None and config.from_scratch:
        raise DataError("--base and --from-scratch exclude each other: leave one of them out")
    recipe = task_recipe(config, lm_epochs=config.lm_epochs, epochs=config.epochs)
    check_out(config)
    bases = None if config.base is None else load_bases(config.base)
    directions = chosen_directions(config, bases)
    data, test = _task(config, recipe, None if bases is None else bases[directions[0]])
    describe(data, test)
    laptop = None
    if config.minutes is not None:
        laptop = Laptop(config, recipe, data, test, bases, directions, started)
    if config.dry_run:
        for direction in directions:
            _rehearse(config, recipe, data, bases, direction, laptop)
        return
    began = time.perf_counter()
    trained, report = _run(config, recipe, data, test, bases, laptop, run=0)
    reports = [report]
    for run in range(1, config.repeat):
        reports.append(_run(config, recipe, data, test, bases, laptop, run)[1])
    runs = [{"seed": config.seed + run, **each.to_dict()} for run, each in enumerate(reports)]
    results = {"error_rate": _summary(runs), "seconds": time.perf_counter() - began, "runs": runs}
    if laptop is not None:
        results["laptop"] = laptop.card()
    write_run(config, trained, data, results, report=report)


def _task(config: ClassifyConfig, recipe: Recipe, base: Artifact | None) -> tuple[TaskData, TokenStore]:
    """Read and tokenize: the training data, and the held-out documents for the report."""
    train, held_out = _labelled(config)
    unlabelled = [document for path in config.unlabelled for document in read_documents(path, config)]
    unlabelled = unlabelled[: config.max_unlabelled]
    tokenizer = new_tokenizer(config, recipe, [*train, *unlabelled]) if base is None else None
    data = prepare(
        train,
        unlabelled=unlabelled,
        base=base,
        recipe=recipe,
        tokenizer=tokenizer,
        n_workers=config.workers,
        progress=True,
    )
    return data, data.encode(held_out)


def _labelled(config: ClassifyConfig) -> tuple[list[Document], list[Document]]:
    """Read the labelled documents: those to train on and those to report on."""
    if config.split_column is not None:
        if config.test is not None:
            raise DataError("--split-column and --test both say what is held out; give one of them")
        train, held_out = (
            read_documents(config.data, config, config.label, limit, only=(config.split_column, part))
            for part, limit in (("train", config.max_rows), ("test", config.max_test))
        )
        check_classes(train)
        return train, held_out
    documents = read_documents(config.data, config, config.label, config.max_rows)
    check_classes(documents)
    if config.test is not None:
        return documents, read_documents(config.test, config, config.label, config.max_test)
    return split_documents(documents, config.valid, config.seed)


def _run(
    config: ClassifyConfig,
    recipe: Recipe,
    data: TaskData,
    test: TokenStore,
    bases: Bases,
    laptop: Laptop | None,
    run: int,
) -> tuple[Trained, Evaluation]:
    """Run language model and classifier for one seed, in each direction.

    Returns:
        The learners by the names of their output folders, and the report on the held-out documents.
    """
    trained: Trained = {}
    predictors: list[Predictor] = []
    for direction in chosen_directions(config, bases):
        seed, options = config.seed + run, options_of(config, direction, run)
        if laptop is not None:
            laptop.begin()
        language = None
        if not config.from_scratch:
            print(f"\nlanguage model on the task's text, {direction}, seed {seed}", flush=True)
            language = _language_model(recipe, data, None if bases is None else bases[direction], laptop, options)
        if language is not None and len(language.history):  # else it is the pretrained one as it is
            trained.setdefault("language-model", {})[direction] = language
        print(f"\nclassifier, {direction}, seed {seed}", flush=True)
        learn = _classifier(recipe, data, None if language is None else language.model.encoder, laptop, options)
        trained.setdefault("model", {})[direction] = learn
        artifact = Artifact(learn.model, data.vocab, data.tokenizer, data.classes, direction == "backward")
        predictors.append(Predictor(learn.model, artifact))
    report = _report(predictors, test, data, config.seed + run)
    if laptop is not None:
        laptop.reported()
    return trained, report


def _language_model(
    recipe: Recipe, data: TaskData, base: Artifact | None, laptop: Laptop | None, options: ulmfit.Options
) -> Learner[LanguageModel] | None:
    """Train the language model; None if the minutes do not suffice for one."""
    if laptop is None:
        return ulmfit.finetune(data, base, recipe=recipe, **options)
    return laptop.finetune(base, options)


def _classifier(
    recipe: Recipe, data: TaskData, encoder: AWDLSTM | None, laptop: Laptop | None, options: ulmfit.Options
) -> Learner[TextClassifier]:
    if laptop is None:
        return ulmfit.classify(data, encoder, recipe=recipe, **options)
    return laptop.classify(encoder, options)


def _report(predictors: list[Predictor], test: TokenStore, data: TaskData, seed: int) -> Evaluation:
    """Evaluate the classifier, or the mean of two, and print the report."""
    predictor = predictors[0]
    if len(predictors) > 1:
        for each in predictors:
            error = evaluate(each.predict_store(test), test.labels, data.classes).error_rate
            print(f"\nseed {seed}, {direction_of(each.artifact.backward)} alone: error {error:.2%}")
        predictor = PairPredictor(*predictors)
    report = evaluate(predictor.predict_store(test), test.labels, data.classes)
    print(f"\nseed {seed}, held-out documents\n{report}", flush=True)
    return report


def _summary(runs: list[dict[str, Any]]) -> float:
    errors = [run["error_rate"] for run in runs]
    if len(runs) > 1:
        print(f"\nerror over {len(runs)} seeds: mean {mean(errors):.2%}, from {min(errors):.2%} to {max(errors):.2%}")
    return mean(errors)


def _rehearse(
    config: ClassifyConfig, recipe: Recipe, data: TaskData, bases: Bases, direction: Direction, laptop: Laptop | None
) -> None:
    """Take language model and classifier of one direction through two batches of each stage."""
    encoder, options, text = None, options_of(config, direction), data
    base = None if bases is None else bases[direction]
    if laptop is not None:
        laptop.describe()
        recipe, text = laptop.sized.recipe, laptop.sized.text
    untrained = laptop is not None and laptop.sized.budget.lm_epochs == 0
    with tempfile.TemporaryDirectory() as scratch:
        if untrained and base is not None:
            encoder = ulmfit.language_model(text, base=base, recipe=recipe, **options).model.encoder
        elif not untrained and not config.from_scratch:
            training = recipe.for_finetune(base is not None)
            learn = ulmfit.language_model(text, base=base, recipe=recipe, training=training, **options)
            saved = rehearse("language model", learn, training, data, Path(scratch) / "language-model", direction)
            encoder = saved.model.encoder
        learn = ulmfit.classifier(data, encoder=encoder, recipe=recipe, **options)
        training = recipe.for_classify(encoder is not None)
        rehearse("classifier", learn, training, data, Path(scratch) / "model", direction)
        Predictor.load(Path(scratch) / "model")(["saved, loaded and asked once"])
