"""The command that trains and judges a classifier: classify."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from textxfer import distributed, ulmfit
from textxfer.artifact import Artifact
from textxfer.cli.config import ClassifyConfig
from textxfer.cli.laptop import Laptop
from textxfer.cli.output import check_out, describe, write_run
from textxfer.cli.pieces import deadline_of, fit, timed
from textxfer.cli.recipes import check_rates, task_recipe
from textxfer.cli.states import (
    after_restart,
    check_unfinished,
    forget_states,
    identity,
    is_done,
    note_run,
    unfinished,
)
from textxfer.cli.task import read_task, source_of
from textxfer.cli.training import chosen_directions, load_bases, options_of, rehearse
from textxfer.directions import Direction, direction_of
from textxfer.evaluate import Evaluation, evaluate
from textxfer.files import remove_folder, write_json
from textxfer.models import AWDLSTM, LanguageModel, TextClassifier
from textxfer.predict import PairPredictor, Predictor
from textxfer.recipe import Recipe
from textxfer.task import TaskData
from textxfer.text import DataError, TokenStore
from textxfer.text.files import read_json
from textxfer.training import Learner

Bases = Mapping[Direction, Artifact] | None
Trained = dict[str, dict[Direction, Learner[Any]]]
_REPORT = "report.json"


@dataclass(frozen=True)
class Job:
    """What all runs of a command have in common.

    Attributes:
        config: The options.
        recipe: The numbers.
        data: The training data.
        test: The held-out documents.
        bases: The pretrained models; None: there are none.
        directions: In which to read.
        laptop: What fits the recipe to the time, if that is asked for; then no states are kept.
        deadline: When to stop at a saved state.
        source: What the run card says of the text; known from the start, for files may be gone at the end.
    """

    config: ClassifyConfig
    recipe: Recipe
    data: TaskData
    test: TokenStore
    bases: Bases
    directions: tuple[Direction, ...]
    laptop: Laptop | None
    deadline: float | None
    source: dict[str, Any]

    def base(self, direction: Direction) -> Artifact | None:
        """Return the pretrained model that reads in a direction."""
        return None if self.bases is None else self.bases[direction]


def classify(config: ClassifyConfig) -> None:
    """Train a classifier, report on held-out documents, and write models and report."""
    started = time.perf_counter()
    config = after_restart(config)
    _check_options(config)
    deadline = deadline_of(config)
    recipe = task_recipe(config, lm_epochs=config.lm_epochs, epochs=config.epochs)
    if is_done(config):
        return
    check_out(config)
    check_unfinished(identity(config))
    bases = None if config.base is None else load_bases(config.base)
    for base in (bases or {}).values():
        check_rates(recipe.name, recipe.finetune, base.model.encoder.config.layers)
    directions = chosen_directions(config, bases)
    data, test = read_task(config, recipe, None if bases is None else bases[directions[0]])
    describe(data, test)
    laptop = None
    if config.minutes is not None:
        laptop = Laptop(config, recipe, data, test, bases, directions, started)
    source = {} if config.dry_run else source_of(config, data, test)
    job = Job(config, recipe, data, test, bases, directions, laptop, deadline, source)
    if config.dry_run:
        for direction in directions:
            if len(directions) > 1:
                print(f"\nreading {direction}", flush=True)
            _rehearse(job, direction)
        return
    if laptop is None:
        note_run(identity(config), data, test)
    _run_all(job)


def _check_options(config: ClassifyConfig) -> None:
    """Refuse options that exclude each other, or that would have no effect."""
    if config.base is not None and config.from_scratch:
        raise DataError("--base and --from-scratch exclude each other: leave one of them out")
    if config.base is not None and (config.tokenizer or config.language):
        raise DataError("--base brings its own tokenizer: leave out --tokenizer and --language")
    if config.from_scratch and config.lm_epochs is not None:
        raise DataError("--from-scratch trains no language model: leave out --lm-epochs")
    if config.valid is not None and (config.test is not None or config.split_column is not None):
        raise DataError("--test or --split-column says what is held out: leave out --valid")
    if config.minutes is None:
        return
    if distributed.launched():
        raise DataError("--minutes measures one process: give epochs instead under torchrun")
    if config.resume or config.stop_minutes is not None:
        raise DataError("--minutes plans for one command and keeps no states: leave out --resume and --stop-minutes")


def _run_all(job: Job) -> None:
    """Run the seeds one after the other, and write the models of the first one and the figures of all."""
    config = job.config
    with timed(config, "all", kept=job.laptop is None) as seconds:
        trained, report, runs = _runs(job)
        results = {"error_rate": _summary(runs), "seconds": seconds(), "runs": runs}
        if job.laptop is not None:
            results["laptop"] = job.laptop.card()
        write_run(config, trained, job.data, results, report=report, source=job.source)
    if job.laptop is None:
        forget_states(config)


def _runs(job: Job) -> tuple[Trained, Evaluation, list[dict[str, Any]]]:
    """Run all seeds; return learners and report of the first one, and the figures of all."""
    config = job.config
    trained, report = _run(job, run=0)
    runs = [{"seed": config.seed, **report.to_dict()}]
    for run in range(1, config.repeat):
        place = unfinished(config.out) / f"run-{run}"
        if (place / _REPORT).is_file():
            runs.append(read_json(place / _REPORT, "the report of a finished run"))
            continue
        runs.append({"seed": config.seed + run, **_run(job, run)[1].to_dict()})
        if job.laptop is None and distributed.is_main():
            write_json(place / _REPORT, runs[-1])
            for states in [path for path in place.iterdir() if path.is_dir()]:
                remove_folder(states)  # they are not needed any more
    return trained, report, runs


def _run(job: Job, run: int) -> tuple[Trained, Evaluation]:
    """Run language model and classifier for one seed, in each direction.

    Returns:
        The learners by the names of their output folders, and the report on the held-out documents.
    """
    trained: Trained = {}
    predictors: list[Predictor] = []
    for direction in job.directions:
        seed = job.config.seed + run
        if job.laptop is not None:
            job.laptop.begin()
        language = None
        if not job.config.from_scratch:
            print(f"\nlanguage model on the task's text, {direction}, seed {seed}", flush=True)
            language = _language_model(job, direction, run)
        if language is not None and len(language.history):  # else it is the pretrained one as it is
            trained.setdefault("language-model", {})[direction] = language
        print(f"\nclassifier, {direction}, seed {seed}", flush=True)
        learn = _classifier(job, None if language is None else language.model.encoder, direction, run)
        trained.setdefault("model", {})[direction] = learn
        data = job.data
        artifact = Artifact(learn.model, data.vocab, data.tokenizer, data.classes, direction == "backward")
        predictors.append(Predictor(learn.model, artifact))
    report = _report(predictors, job.test, job.data, job.config.seed + run)
    if job.laptop is not None:
        job.laptop.reported()
    return trained, report


def _language_model(job: Job, direction: Direction, run: int) -> Learner[LanguageModel] | None:
    """Train the language model; None if the minutes do not suffice for one."""
    base, options = job.base(direction), options_of(job.config, direction, run)
    if job.laptop is not None:
        return job.laptop.finetune(base, options)
    training = job.recipe.for_finetune(base is not None)
    learn = ulmfit.language_model(job.data, base=base, recipe=job.recipe, training=training, **options)
    fit(job.config, learn, training, job.deadline, f"run-{run}", direction, "language-model")
    return learn


def _classifier(job: Job, encoder: AWDLSTM | None, direction: Direction, run: int) -> Learner[TextClassifier]:
    options = options_of(job.config, direction, run)
    if job.laptop is not None:
        return job.laptop.classify(encoder, options)
    training = job.recipe.for_classify(encoder is not None)
    learn = ulmfit.classifier(job.data, encoder=encoder, recipe=job.recipe, training=training, **options)
    fit(job.config, learn, training, job.deadline, f"run-{run}", direction, "model")
    return learn


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


def _rehearse(job: Job, direction: Direction) -> None:
    """Take language model and classifier of one direction through two batches of each stage."""
    recipe, text, data, laptop = job.recipe, job.data, job.data, job.laptop
    encoder, options, base = None, options_of(job.config, direction), job.base(direction)
    if laptop is not None:
        laptop.describe()
        recipe, text = laptop.sized.recipe, laptop.sized.text
    untrained = laptop is not None and laptop.sized.budget.lm_epochs == 0
    with tempfile.TemporaryDirectory() as scratch:
        if untrained and base is not None:
            encoder = ulmfit.language_model(text, base=base, recipe=recipe, **options).model.encoder
        elif not untrained and not job.config.from_scratch:
            training = recipe.for_finetune(base is not None)
            learn = ulmfit.language_model(text, base=base, recipe=recipe, training=training, **options)
            saved = rehearse("language model", learn, training, data, Path(scratch) / "language-model", direction)
            encoder = saved.model.encoder
        learn = ulmfit.classifier(data, encoder=encoder, recipe=recipe, **options)
        training = recipe.for_classify(encoder is not None)
        rehearse("classifier", learn, training, data, Path(scratch) / "model", direction)
        Predictor.load(Path(scratch) / "model")(["saved, loaded and asked once"])
