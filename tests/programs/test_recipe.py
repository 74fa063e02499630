"""The presets against the numbers of the paper and of the published scripts."""

from __future__ import annotations

import json

import pytest

from textxfer.presets import PAPER, PRESETS, SCRIPTS2018, SMALL, preset
from textxfer.recipe import Dropouts, Stage
from textxfer.training import OneCycle, SlantedTriangular


def test_model_of_2018():
    for recipe in (PAPER, SCRIPTS2018):
        assert (recipe.embed, recipe.hidden, recipe.layers) == (400, 1150, 3)
        assert (recipe.rules, recipe.max_vocab, recipe.min_count) == ("2018", 30_002, 2)
        assert (recipe.head_hidden, recipe.dropout_pooled, recipe.dropout_head) == (50, 0.4, 0.1)
        assert recipe.max_tokens == 20 * 70
        assert not recipe.extend_vocab
        for training in (recipe.pretrain, recipe.finetune, recipe.classify):
            assert training.bptt == 70
            assert (training.alpha, training.beta) == (2.0, 1.0)
            assert training.optimizer.kind == "adam"
            assert training.optimizer.betas[1] == 0.99


def test_language_model_tuning():
    assert PAPER.finetune.stages == (Stage(15, 4e-3, cut=0.1, ratio=32),)
    assert PAPER.finetune.dropouts == Dropouts(embed=0.05, input=0.4, hidden=0.3, weight=0.5, output=0.4)
    assert (PAPER.finetune.batch_size, PAPER.finetune.discriminative, PAPER.finetune.clip) == (64, 2.6, 0.25)
    assert PAPER.finetune.optimizer.betas[0] == 0.7
    assert PAPER.finetune.vary_bptt
    assert SCRIPTS2018.finetune.stages == (Stage(25, 4e-3, cut=0.1, ratio=32),)
    assert SCRIPTS2018.finetune.dropouts == Dropouts(embed=0.02, input=0.25, hidden=0.15, weight=0.2, output=0.1)
    assert SCRIPTS2018.finetune.discriminative == (1 / 6, 1 / 3, 1, 1 / 2)
    assert (SCRIPTS2018.finetune.clip, SCRIPTS2018.finetune.optimizer.weight_decay) == (0.3, 1e-7)
    assert SCRIPTS2018.finetune.optimizer.betas[0] == 0.8


def test_classifier():
    assert PAPER.classify.stages == (Stage(50, 1e-2, cut=0.1, ratio=32),)
    assert PAPER.classify.unfreeze == "gradual"
    assert (PAPER.classify.batch_size, PAPER.classify.discriminative) == (64, 2.6)
    first, second, last = SCRIPTS2018.classify.stages
    assert (first.freeze_to, first.cut, first.ratio, first.epochs) == (-1, 1 / 3, 8, 1)
    assert (second.freeze_to, second.cut, second.ratio, second.epochs) == (-2, 1 / 3, 8, 1)
    assert (last.freeze_to, last.cut, last.ratio, last.epochs) == (0, 1 / 8, 8, 50)
    assert (SCRIPTS2018.classify.batch_size, SCRIPTS2018.classify.clip) == (32, 25.0)
    assert SCRIPTS2018.classify.optimizer.weight_decay == 1e-6
    for recipe in (PAPER, SCRIPTS2018):
        assert recipe.classify.dropouts == Dropouts(embed=0.05, input=0.4, hidden=0.3, weight=0.5, output=0.0)


def test_pretraining():
    for recipe in (PAPER, SCRIPTS2018):
        assert recipe.pretrain.dropouts == Dropouts(embed=0.01, input=0.125, hidden=0.075, weight=0.1, output=0.05)
        assert recipe.pretrain.discriminative == (1 / 6, 1 / 3, 1, 1)
        assert recipe.pretrain.stages == (Stage(12, 1e-3),)


def test_schedules_by_name():
    assert Stage(1, 1.0, cut=0.2, ratio=8).rate() == SlantedTriangular(0.2, 8)
    assert Stage(1, 1.0, schedule="one-cycle", cut=0.2, ratio=8).rate() == OneCycle(0.2, 8)
    assert Stage(1, 1.0, schedule="constant").rate() is None


def test_epochs_replace_those_of_the_last_stage():
    assert [stage.epochs for stage in SCRIPTS2018.classify.with_epochs(3).stages] == [1, 1, 3]
    assert SMALL.classify.with_epochs(None) is SMALL.classify
    with pytest.raises(ValueError, match="at least 1"):
        SMALL.classify.with_epochs(0)


def test_presets_by_name():
    assert preset("paper") is PAPER
    with pytest.raises(ValueError, match="there is no recipe 'best'; there are small, paper, scripts2018"):
        preset("best")


@pytest.mark.parametrize("name", PRESETS)
def test_all_numbers_are_json(name):
    assert json.loads(json.dumps(preset(name).to_dict()))["name"] == name
