"""The rows of the ablation tables as changes of a recipe."""

from __future__ import annotations

from dataclasses import replace

import pytest

from textxfer.presets import PAPER, SMALL
from textxfer.recipe import Dropouts
from textxfer.training import Cosine, SlantedTriangular
from textxfer.variants import (
    CLASSIFIER_TUNING,
    LM_QUALITY,
    LM_TUNING,
    PRETRAINING,
    ULMFIT,
    VARIANTS,
    Variant,
    variant,
)


def apply(name: str):
    recipe = variant(name).apply(PAPER)
    return recipe, recipe.classify, recipe.classify.stages[0]


def test_the_tables_have_the_papers_rows():
    titles = [[row.title for row in table] for table in (PRETRAINING, LM_QUALITY, LM_TUNING, CLASSIFIER_TUNING)]
    assert [len(table) for table in titles] == [2, 2, 4, 10]
    assert all(table[-1] == ULMFIT.title for table in titles)
    assert len(VARIANTS) == 2 + 2 + 4 + 10 - 3


def test_ulmfit_is_the_paper():
    recipe = ULMFIT.apply(PAPER)
    assert replace(recipe, name="paper") == PAPER


def test_pretraining_and_quality_of_the_language_model():
    assert not variant("no-pretraining").pretrained
    assert variant("no-pretraining").language_model == "tuned"
    recipe = variant("vanilla").apply(PAPER)
    for training in (recipe.finetune, recipe.classify):
        assert training.dropouts == Dropouts(0, 0, 0, 0, 0)
        assert (training.alpha, training.beta) == (0, 0)
    assert recipe.classify.stages[0].epochs == 5
    assert recipe.dropout_pooled == PAPER.dropout_pooled


def test_tuning_of_the_language_model():
    assert variant("lm-none").language_model == "as it is"
    full, discr = variant("lm-full").apply(PAPER).finetune, variant("lm-full+discr").apply(PAPER).finetune
    assert full.discriminative is None
    assert discr.discriminative == 2.6
    for training in (full, discr):
        assert training.stages[0].rate() is None
        assert (training.stages[0].lr, training.stages[0].epochs) == (4e-3, 15)


@pytest.mark.parametrize("name", ["full", "last", "freez", "scratch"])
def test_rows_without_discriminative_rates_or_schedule(name: str):
    _, training, stage = apply(name)
    assert training.discriminative is None
    assert stage.rate() is None
    assert (stage.lr, stage.epochs) == (1e-3, 50)
    assert training.unfreeze == {"full": None, "last": "last", "freez": "gradual", "scratch": None}[name]


@pytest.mark.parametrize("name", ["full+discr", "freez+discr"])
def test_rows_with_discriminative_rates(name: str):
    _, training, stage = apply(name)
    assert (training.discriminative, stage.lr, stage.rate()) == (2.6, 1e-2, None)


def test_rows_with_schedules():
    _, training, stage = apply("freez+stlr")
    assert (training.discriminative, training.unfreeze, stage.lr) == (None, "gradual", 1e-3)
    assert stage.rate() == SlantedTriangular(0.1, 32)
    _, training, stage = apply("freez+cos")
    assert stage.rate() == Cosine()


def test_chain_thaw_has_a_rate_for_the_last_group_and_one_for_all_others():
    _, training, stage = apply("chain-thaw")
    assert training.discriminative == (0.1, 0.1, 0.1, 0.1, 1.0)
    assert stage.lr == 1e-3
    assert variant("chain-thaw").apply(SMALL).classify.discriminative == (0.1, 0.1, 0.1, 1.0)


def test_all_stages_become_one_of_as_many_epochs():
    from textxfer.presets import SCRIPTS2018

    (stage,) = variant("full").apply(SCRIPTS2018).classify.stages
    assert (stage.epochs, stage.freeze_to) == (52, 0)


def test_only_the_whole_method_is_not_stopped_early():
    assert [row.name for row in VARIANTS.values() if not row.is_whole] == [
        *("scratch", "full", "full+discr", "last", "chain-thaw", "freez", "freez+discr", "freez+stlr", "freez+cos")
    ]


def test_unknown_name():
    with pytest.raises(ValueError, match="there is no variant 'best'; there are no-pretraining, ulmfit, vanilla"):
        variant("best")


def test_variants_are_values():
    assert Variant("a", "A") == Variant("a", "A")
