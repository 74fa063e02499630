"""The commands that train: pretrain, finetune, classify."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import mean
from typing import Any

from textxfer import ulmfit
from textxfer.artifact import Artifact, load_artifact, load_language_model
from textxfer.cli.config import ClassifyConfig, FinetuneConfig, PretrainConfig, Resumable, Training
from textxfer.cli.output import check_out, describe, write_run
from textxfer.cli.reading import Words, read_documents
from textxfer.cli.recipes import pretrain_recipe, task_recipe
from textxfer.cli.states import check_unfinished, forget_states, keep_states, unfinished
from textxfer.evaluate import Evaluation, evaluate
from textxfer.plan import peak_memory, plan
from textxfer.predict import Predictor
from textxfer.recipe import Recipe
from textxfer.recipe import Training as TrainingNumbers
from textxfer.task import TaskData, prepare
from textxfer.text import (
    DataError,
    Document,
    RulesTokenizer,
    SpacyTokenizer,
    SubwordTokenizer,
    Tokenizer,
    TokenStore,
    check_classes,
    hold_out,
    split_documents,
)
from textxfer.training import Learner


def pretrain(config: PretrainConfig) -> None:
    """Train a general language model and write it with its history, plot and run card."""
    recipe = pretrain_recipe(config)
    check_out(config)
    check_unfinished(config)
    # Read anew for each pass: a corpus need not fit into memory.
    train, valid = hold_out(Words(config.data, config, config.max_words), config.valid, config.seed)
    tokenizer = _tokenizer(config, recipe, train)
    data = prepare(train, valid, recipe=recipe, tokenizer=tokenizer, n_workers=config.workers, progress=True)
    describe(data)
    learn = ulmfit.language_model(data, recipe=recipe, **_options(config, config.backward))
    _train_language_model(config, learn, recipe.pretrain, data, config.backward)


def finetune(config: FinetuneConfig) -> None:
    """Train a pretrained language model on a task's text and write it."""
    recipe = task_recipe(config, lm_epochs=config.epochs)
    check_out(config)
    check_unfinished(config)
    _, base = load_language_model(config.base)
    documents = read_documents(config.data, config, limit=config.max_rows)
    train, valid = split_documents(documents, config.valid, config.seed)
    data = prepare(train, valid, base=base, recipe=recipe, n_workers=config.workers, progress=True)
    describe(data)
    learn = ulmfit.language_model(data, base=base, recipe=recipe, **_options(config, base.backward))
    _train_language_model(config, learn, recipe.finetune, data, base.backward)


def _train_language_model(
    config: Resumable, learn: Learner, training: TrainingNumbers, data: TaskData, backward: bool
) -> None:
    if config.dry_run:
        with tempfile.TemporaryDirectory() as scratch:
            _rehearse("language model", learn, training, data, Path(scratch), backward)
        return
    began = time.perf_counter()
    learn.callbacks.append(keep_states(config, data))
    if config.resume:
        learn.resume(unfinished(config.out))
    ulmfit.fit_stages(learn, training)
    results = {"valid": learn.history[-1], "seconds": time.perf_counter() - began}
    write_run(config, {"model": learn}, data, results, backward=backward)
    forget_states(config)


def classify(config: ClassifyConfig) -> None:
    """Train a classifier, report on held-out documents, and write models and report."""
    if config.base is not None and config.from_scratch:
        raise DataError("--base and --from-scratch exclude each other: leave one of them out")
    recipe = task_recipe(config, lm_epochs=config.lm_epochs, epochs=config.epochs)
    check_out(config)
    base = None if config.base is None else load_language_model(config.base)[1]
    data, test = _task(config, recipe, base)
    describe(data, test)
    if config.dry_run:
        return _rehearse_classify(config, recipe, data, base)
    began = time.perf_counter()
    learners, report = _classify_once(config, recipe, data, test, base, run=0)
    reports = [report]
    for run in range(1, config.repeat):
        reports.append(_classify_once(config, recipe, data, test, base, run)[1])
    runs = [{"seed": config.seed + run, **each.to_dict()} for run, each in enumerate(reports)]
    results = {"error_rate": _summary(runs), "seconds": time.perf_counter() - began, "runs": runs}
    write_run(config, learners, data, results, backward=_backward(config, base), report=report)


def _task(config: ClassifyConfig, recipe: Recipe, base: Artifact | None) -> tuple[TaskData, TokenStore]:
    """Read and tokenize: the training data, and the held-out documents for the report."""
    train, held_out = _labelled(config)
    unlabelled = [document for path in config.unlabelled for document in read_documents(path, config)]
    unlabelled = unlabelled[: config.max_unlabelled]
    tokenizer = _tokenizer(config, recipe, [*train, *unlabelled]) if base is None else None
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


def _classify_once(
    config: ClassifyConfig, recipe: Recipe, data: TaskData, test: TokenStore, base: Artifact | None, run: int
) -> tuple[dict[str, Learner[Any]], Evaluation]:
    """Run language model and classifier for one seed.

    Returns:
        The learners by the names of their output folders, and the report on the held-out documents.
    """
    backward, seed, encoder = _backward(config, base), config.seed + run, None
    options = _options(config, backward, run)
    learners: dict[str, Learner[Any]] = {}
    if not config.from_scratch:
        print(f"\nlanguage model on the task's text, seed {seed}", flush=True)
        language = ulmfit.finetune(data, base, recipe=recipe, **options)
        learners["language-model"], encoder = language, language.model.encoder
    print(f"\nclassifier, seed {seed}", flush=True)
    learn = ulmfit.classify(data, encoder, recipe=recipe, **options)
    learners["model"] = learn
    artifact = Artifact(learn.model, data.vocab, data.tokenizer, data.classes, backward)
    report = evaluate(Predictor(learn.model, artifact).predict_store(test), test.labels, data.classes)
    print(f"\nseed {seed}, held-out documents\n{report}", flush=True)
    return learners, report


def _backward(config: ClassifyConfig, base: Artifact | None) -> bool:
    return config.backward if base is None else base.backward


def _summary(runs: list[dict[str, Any]]) -> float:
    errors = [run["error_rate"] for run in runs]
    if len(runs) > 1:
        print(f"\nerror over {len(runs)} seeds: mean {mean(errors):.2%}, from {min(errors):.2%} to {max(errors):.2%}")
    return mean(errors)


def _rehearse_classify(config: ClassifyConfig, recipe: Recipe, data: TaskData, base: Artifact | None) -> None:
    backward, encoder = _backward(config, base), None
    options = _options(config, backward)
    with tempfile.TemporaryDirectory() as scratch:
        if not config.from_scratch:
            training = recipe.for_finetune(base is not None)
            learn = ulmfit.language_model(data, base=base, recipe=recipe, training=training, **options)
            saved = _rehearse("language model", learn, training, data, Path(scratch) / "language-model", backward)
            encoder = saved.model.encoder
        learn = ulmfit.classifier(data, encoder=encoder, recipe=recipe, **options)
        training = recipe.for_classify(encoder is not None)
        _rehearse("classifier", learn, training, data, Path(scratch) / "model", backward)
        Predictor.load(Path(scratch) / "model")(["saved, loaded and asked once"])


def _rehearse(
    name: str, learn: Learner, training: TrainingNumbers, data: TaskData, folder: Path, backward: bool
) -> Artifact:
    """Take one training through two batches of each stage, save and load its model, and print the plan."""
    plans = plan(learn, training)
    saved = load_artifact(ulmfit.save(folder, learn, data, backward=backward))
    print(f"\n{name}: about {sum(stage.seconds for stage in plans) / 60:.1f} min, {peak_memory():,.0f} MB so far")
    for number, stage in enumerate(plans, 1):
        print(f"  stage {number}: {stage}")
    return saved


def _tokenizer(config: Training, recipe: Recipe, documents: Iterable[Document]) -> Tokenizer:
    """Return a new tokenizer; one of pieces is trained on the documents that the language model will read."""
    if config.tokenizer in ("bpe", "unigram"):
        texts = (document.text for document in documents)
        return SubwordTokenizer.train(texts, recipe.max_vocab, config.tokenizer, recipe.rules)
    if config.tokenizer == "rules":
        return RulesTokenizer(recipe.rules)
    return SpacyTokenizer(config.language, recipe.rules)


def _options(config: Training, backward: bool, run: int = 0) -> ulmfit.Options:
    seed = config.seed + run
    return {"backward": backward, "precision": config.precision, "device": config.device, "seed": seed}
