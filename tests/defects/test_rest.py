"""Defects 43 and 47 to 50 of fastai 2.8.12 and its relatives: evaluation, numbers, names, requirements, options.

A test's docstring says what they do, and where; the test fails on that behaviour.
"""

from __future__ import annotations

import argparse
import builtins
import configparser
import inspect
import re
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import textxfer
from tests.programs.toys import TINY, task
from textxfer import ulmfit
from textxfer.artifact import Artifact
from textxfer.callbacks import ClipGrad
from textxfer.cli import main
from textxfer.cli.config import PretrainConfig
from textxfer.evaluate import confusion_matrix, evaluate
from textxfer.models import AWDLSTMConfig, ClassifierConfig
from textxfer.options import add_options, parse
from textxfer.predict import Predictor
from textxfer.presets import SCRIPTS2018
from textxfer.text import LMBatches
from textxfer.training import ParamSchedule, SlantedTriangular

ROOT = Path(__file__).resolve().parents[2]


def test_defect_43_one_pass_gives_all_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """interpret.py:114-170: matrix, most confused classes and report each run the model over all documents again."""
    data = task(40)
    model = ulmfit.classifier(data, recipe=TINY).model
    calls, forward = [], model.forward
    monkeypatch.setattr(model, "forward", lambda ids, lengths: calls.append(ids.shape[1]) or forward(ids, lengths))
    assert data.valid is not None
    predictor = Predictor(model, Artifact(model, data.vocab, data.tokenizer, data.classes), tokens_per_batch=60)
    result = evaluate(predictor.predict_store(data.valid), data.valid.labels, data.classes)
    figures = result.confusion, result.most_confused(), result.per_class, result.macro_f1, str(result)
    assert all(len(figure) for figure in (figures[0], figures[2], figures[4])) and 0 <= figures[3] <= 1
    assert sum(calls) == len(data.valid) and len(calls) > 1  # each document once


def test_defect_43_the_matrix_of_many_classes_needs_little_memory() -> None:
    """interpret.py:114-170 compares all documents with all pairs of classes: here 8e10 comparisons at once."""
    rng = np.random.default_rng(0)
    targets, preds = rng.integers(2000, size=(2, 20_000))
    tracemalloc.start()
    matrix = confusion_matrix(preds, targets, 2000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * 8 * 2000**2
    expected = np.zeros((2000, 2000), np.int64)
    np.add.at(expected, (targets, preds), 1)
    assert np.array_equal(matrix, expected)


def test_defect_47_the_recipe_of_2018_trains_with_the_numbers_of_2018() -> None:
    """Text defaults: decoupled decay of 0.01, no clipping, cosine, eps 1e-5, three occurrences, fixed windows."""
    recipe = replace(SCRIPTS2018, embed=8, hidden=10)
    data = task(30)
    language = ulmfit.language_model(data, recipe=recipe, training=recipe.finetune)
    classifier = ulmfit.classifier(data, encoder=language.model.encoder, recipe=recipe)
    for learn, decay, clip in ((language, 1e-7, 0.3), (classifier, 1e-6, 25.0)):
        assert type(learn.optimizer) is torch.optim.Adam
        groups = learn.optimizer.param_groups
        assert {(group["betas"], group["eps"], group["decoupled_weight_decay"]) for group in groups} == {
            ((0.8, 0.99), 1e-8, False)
        }
        assert {group["weight_decay"] for group in groups if group["name"].endswith("/decay")} == {decay}
        assert learn.callback(ClipGrad).max_norm == clip
    assert isinstance(language.loaders.train, LMBatches) and language.loaders.train.vary_bptt
    assert (recipe.min_count, recipe.max_vocab, SCRIPTS2018.hidden) == (2, 30_002, 1150)
    encoder = classifier.model.encoder.config
    assert (encoder.dropout_input, encoder.dropout_weight, encoder.dropout_hidden) == (0.4, 0.5, 0.3)  # not halved
    shapes = [stage.rate() for stage in recipe.finetune.stages + recipe.classify.stages]
    assert shapes == [SlantedTriangular(*numbers) for numbers in ((0.1, 32), (1 / 3, 8), (1 / 3, 8), (1 / 8, 8))]
    parts = ulmfit.stage_callbacks(recipe.finetune.stages[0], recipe.finetune)
    assert [part.lr for part in parts if isinstance(part, ParamSchedule)] == [SlantedTriangular(0.1, 32)]


def test_defect_48_few_names_and_types_for_them() -> None:
    """text/all.py brings more than a thousand names into the user's module, and there is no `py.typed`."""
    names: list[str] = textxfer.__all__
    assert len(names) <= 40 and not set(names) & set(dir(builtins))
    for name in names:
        assert inspect.getmodule(getattr(textxfer, name)) or name == "token_loss"
        assert getattr(textxfer, name).__module__.startswith("textxfer.")
    assert (Path(inspect.getfile(textxfer)).parent / "py.typed").is_file()


def test_defect_49_requirements_have_lower_bounds_only() -> None:
    """METADATA: 17 requirements, torchvision among them, with upper bounds for torch, spaCy and plum-dispatch."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    needed = setup["options"]["install_requires"].split("\n")
    extras = "\n".join(setup["options.extras_require"].values()).split("\n")
    for requirement in filter(None, needed + extras):
        assert re.fullmatch(r"[\w-]+(\[\w+\])?>=[\d.]+", requirement), requirement
    assert len(list(filter(None, needed))) <= 8
    assert re.fullmatch(r">=[\d.]+", setup["options"]["python_requires"])


def test_defect_50_an_unknown_option_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    """multifit training.py:26-36, 258 ignores names that it does not know, and with them its own `_strict`."""
    with pytest.raises(SystemExit) as ended:
        main(["classify", "reviews.csv", "--out", "runs", "--ephocs", "3"])
    assert ended.value.code == 2 and "unrecognized arguments: --ephocs 3" in capsys.readouterr().err
    for config, field in ((AWDLSTMConfig, "vocab"), (ClassifierConfig, "classes")):
        with pytest.raises(ValueError, match=f"{config.__name__} has no ephocs; it has "):
            config.from_dict({field: 9, "ephocs": 3})
    options: dict[str, Any] = {"ephocs": 3}
    with pytest.raises(TypeError, match="ephocs"):
        ulmfit.finetune(task(30), recipe=TINY, **options)


@pytest.mark.parametrize("name", ["best", "long", "quiz", "model.tgz"])
def test_defect_50_names_keep_their_last_letters(name: str) -> None:
    """multifit training.py:576-578 strips letters, not an ending: a name that ends in t, g or z becomes shorter."""
    parser = argparse.ArgumentParser()
    add_options(parser, PretrainConfig)
    config = parse(PretrainConfig, parser.parse_args([f"{name}.txt.gz", "--out", f"runs/{name}"]))
    assert (config.out, config.data) == (Path("runs") / name, (Path(f"{name}.txt.gz"),))
