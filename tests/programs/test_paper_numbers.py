"""Every number of the recipe, as the paper and the published scripts give it, read back from the presets.

Where the two differ, and nowhere else, the presets do. `None` stands for what a source does not say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any

import pytest

from textxfer.models import AWDLSTMConfig
from textxfer.presets import PAPER, SCRIPTS2018
from textxfer.recipe import Dropouts, Recipe
from textxfer.text import LMBatches
from textxfer.training import OneCycle, SlantedTriangular

PAPER_DROPOUTS = Dropouts(embed=0.05, input=0.4, hidden=0.3, weight=0.5, output=0.4)
SCRIPT_DROPOUTS = Dropouts(embed=0.02, input=0.25, hidden=0.15, weight=0.2, output=0.1)
CLASSIFIER_DROPOUTS = Dropouts(embed=0.05, input=0.4, hidden=0.3, weight=0.5, output=0.0)

Get = Callable[[Recipe], Any]
NUMBERS: list[tuple[str, Get, Any, Any]] = [
    # what, where in a recipe, in the paper, in the scripts
    ("embedding", lambda r: r.embed, 400, 400),
    ("hidden", lambda r: r.hidden, 1150, 1150),
    ("layers", lambda r: r.layers, 3, 3),
    ("bptt, language model", lambda r: r.finetune.bptt, 70, 70),
    ("bptt, pretraining", lambda r: r.pretrain.bptt, 70, 70),
    ("bptt, classifier", lambda r: r.classify.bptt, 70, 70),
    ("variable bptt, language model", lambda r: r.finetune.vary_bptt, True, True),
    ("variable bptt, pretraining", lambda r: r.pretrain.vary_bptt, True, True),
    ("variable bptt, classifier", lambda r: r.head(2).vary_bptt, True, False),
    ("rate scaled by length", lambda r: r.finetune.rescale_lr, True, False),
    ("rate scaled by length, pretraining", lambda r: r.pretrain.rescale_lr, True, False),
    ("optimizer", lambda r: {t.optimizer.kind for t in trainings(r)}, {"adam"}, {"adam"}),
    ("betas", lambda r: {t.optimizer.betas for t in trainings(r)}, {(0.7, 0.99)}, {(0.8, 0.99)}),
    ("batch size, language model", lambda r: r.finetune.batch_size, 64, 64),
    ("batch size, pretraining", lambda r: r.pretrain.batch_size, 64, 64),
    ("batch size, classifier", lambda r: r.classify.batch_size, 64, 32),
    ("rate, language model", lambda r: [s.lr for s in r.finetune.stages], [4e-3], [4e-3]),
    ("rates, classifier", lambda r: {s.lr for s in r.classify.stages}, {1e-2}, {1e-2}),
    ("rate, pretraining", lambda r: [s.lr for s in r.pretrain.stages], [1e-3], [1e-3]),
    ("discriminative, classifier", lambda r: r.classify.discriminative, 2.6, 2.6),
    ("discriminative, language model", lambda r: r.finetune.discriminative, 2.6, (1 / 6, 1 / 3, 1, 1 / 2)),
    ("discriminative, pretraining", lambda r: r.pretrain.discriminative, (1 / 6, 1 / 3, 1, 1), (1 / 6, 1 / 3, 1, 1)),
    ("stlr, language model", lambda r: rates(r.finetune), [(0.1, 32)], [(0.1, 32)]),
    ("stlr, classifier", lambda r: rates(r.classify), [(0.1, 32)], [(1 / 3, 8), (1 / 3, 8), (1 / 8, 8)]),
    ("unfreezing, classifier, in one fit", lambda r: r.classify.unfreeze, "gradual", None),
    ("unfreezing, classifier, by stages", lambda r: [s.freeze_to for s in r.classify.stages], [0], [-1, -2, 0]),
    ("unfreezing, language model", lambda r: r.finetune.unfreeze, None, None),
    ("epochs, language model", lambda r: [s.epochs for s in r.finetune.stages], [15], [25]),
    ("epochs, classifier", lambda r: [s.epochs for s in r.classify.stages], [50], [1, 1, 50]),
    ("epochs, pretraining", lambda r: [s.epochs for s in r.pretrain.stages], [12], [12]),
    ("dropouts, language model", lambda r: r.finetune.dropouts, PAPER_DROPOUTS, SCRIPT_DROPOUTS),
    ("dropouts, pretraining", lambda r: r.pretrain.dropouts, SCRIPT_DROPOUTS.scaled(0.5), SCRIPT_DROPOUTS.scaled(0.5)),
    ("dropouts, classifier", lambda r: r.classify.dropouts, CLASSIFIER_DROPOUTS, CLASSIFIER_DROPOUTS),
    ("dropouts, head", lambda r: (r.dropout_pooled, r.dropout_head), (0.4, 0.1), (0.4, 0.1)),
    ("hidden layer of the head", lambda r: r.head_hidden, 50, 50),
    ("tokens that are pooled", lambda r: r.max_tokens, 20 * 70, 20 * 70),
    ("alpha of AR", lambda r: {t.alpha for t in trainings(r)}, {2.0}, {2.0}),
    ("beta of TAR", lambda r: {t.beta for t in trainings(r)}, {1.0}, {1.0}),
    ("clip, language model", lambda r: r.finetune.clip, 0.25, 0.3),
    ("clip, classifier", lambda r: r.classify.clip, 0.25, 25.0),
    ("clip, pretraining", lambda r: r.pretrain.clip, 0.12, 0.12),
    ("weight decay, language model", lambda r: r.finetune.optimizer.weight_decay, 0.0, 1e-7),
    ("weight decay, classifier", lambda r: r.classify.optimizer.weight_decay, 0.0, 1e-6),
    ("weight decay, pretraining", lambda r: r.pretrain.optimizer.weight_decay, 1e-7, 1e-7),
    ("vocabulary", lambda r: (r.max_vocab, r.min_count, r.extend_vocab), (30_002, 2, False), (30_002, 2, False)),
    ("text rules", lambda r: r.rules, "2018", "2018"),
]
MARKED = {
    # the rows in which the sources are known to differ, besides epochs, clip and decay, which each gives its own way
    *("variable bptt, classifier", "rate scaled by length", "rate scaled by length, pretraining", "betas"),
    *("batch size, classifier", "discriminative, language model", "stlr, classifier"),
    *("unfreezing, classifier, in one fit", "unfreezing, classifier, by stages", "dropouts, language model"),
    *("epochs, language model", "epochs, classifier", "clip, language model", "clip, classifier"),
    *("weight decay, language model", "weight decay, classifier"),
}


def trainings(recipe: Recipe) -> list[Any]:
    return [recipe.pretrain, recipe.finetune, recipe.classify]


def rates(training: Any) -> list[tuple[float, float]]:
    found = []
    for stage in training.stages:
        rate = stage.rate()
        assert isinstance(rate, SlantedTriangular)
        found.append((rate.cut, rate.ratio))
    return found


@pytest.mark.parametrize(("what", "get", "paper", "scripts"), NUMBERS, ids=[row[0] for row in NUMBERS])
def test_number(what: str, get: Get, paper: Any, scripts: Any):
    assert get(PAPER) == paper
    assert get(SCRIPTS2018) == scripts
    assert (paper != scripts) == (what in MARKED)


def leaves(value: Any, name: str = "") -> dict[str, Any]:
    """All plain values below a dataclass, by their path."""
    if is_dataclass(value):
        return {k: v for f in fields(value) for k, v in leaves(getattr(value, f.name), f"{name}.{f.name}").items()}
    return {name: value}


def test_the_presets_differ_nowhere_else():
    one, other = leaves(PAPER), leaves(SCRIPTS2018)
    differ = {name.split("[")[0] for name in one.keys() | other.keys() if one.get(name) != other.get(name)}
    assert differ == {
        ".name",
        *(f".{part}.optimizer.betas" for part in ("pretrain", "finetune", "classify")),
        *(f".{part}.rescale_lr" for part in ("pretrain", "finetune")),
        *(f".finetune.dropouts.{kind}" for kind in ("embed", "input", "hidden", "weight", "output")),
        *(f".finetune.{name}" for name in ("stages", "discriminative", "clip", "optimizer.weight_decay")),
        *(f".classify.{name}" for name in ("stages", "unfreeze", "vary_bptt", "batch_size", "clip")),
        ".classify.optimizer.weight_decay",
    }


def test_windows_of_varied_length_follow_the_law_of_the_scripts():
    loader = LMBatches(list(range(5, 3_000)) * 400, batch_size=4, vary_bptt=True)
    lengths = loader.windows_of(0)
    lengths = (lengths[:, 1] - lengths[:, 0])[:-1]
    short = lengths < 52
    assert 0.03 < short.mean() < 0.07
    assert abs(lengths[~short].mean() - 70) < 0.5
    assert abs(lengths[short].mean() - 35) < 2
    assert 4.5 < lengths[~short].std() < 5.5
    assert lengths.min() >= 5
    assert lengths.max() <= 70 + 25


def test_defaults_of_the_model_are_those_of_the_paper():
    config = AWDLSTMConfig(vocab=100)
    assert (config.embed, config.layers, config.tie, config.bias) == (400, 3, True, True)


def test_one_cycle_of_the_small_recipe_is_no_triangle():
    from textxfer.presets import SMALL

    assert isinstance(SMALL.finetune.stages[0].rate(), OneCycle)
