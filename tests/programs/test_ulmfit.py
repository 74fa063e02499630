"""The recipe composed of callbacks, the task's data, and both directions."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.programs.toys import TINY, documents, task
from textxfer import ulmfit
from textxfer.artifact import Artifact
from textxfer.callbacks import ClipGrad, DiscriminativeLR, GradualUnfreeze, MixedPrecision, Report
from textxfer.recipe import Stage
from textxfer.task import prepare
from textxfer.text import Document, RulesTokenizer, split_documents
from textxfer.training import ParamSchedule


@pytest.fixture(scope="module")
def data():
    return task()


@pytest.fixture(scope="module")
def base(data):
    learn = ulmfit.pretrain(data, recipe=TINY)
    return Artifact(learn.model, data.vocab, data.tokenizer)


def test_a_fine_tuned_encoder_goes_into_the_classifier(data, base):
    language = ulmfit.finetune(data, base, recipe=TINY)
    classifier = ulmfit.classifier(data, encoder=language.model.encoder, recipe=TINY)
    for name, value in language.model.encoder.state_dict().items():
        assert torch.equal(value, classifier.model.encoder.state_dict()[name]), name


def test_rows_of_the_embedding_follow_their_tokens(base):
    other = prepare(documents(40, seed=3), recipe=TINY, base=base)
    learn = ulmfit.language_model(other, base=base, recipe=TINY)
    old, new = base.model.encoder.embedding.weight, learn.model.encoder.embedding.weight
    for token in ("cat", "red", "xxbos"):
        assert torch.equal(new[other.vocab[token]], old[base.vocab[token]])


def test_the_vocabulary_is_extended_by_the_base_unless_the_recipe_says_no(base):
    texts = [Document("a zebra and a cat", "animal", 1), Document("red", "colour", 2)]
    wide = prepare(texts, base=base, recipe=TINY).vocab
    narrow = prepare(texts, base=base, recipe=replace(TINY, extend_vocab=False)).vocab
    assert "zebra" in wide and "zebra" in narrow
    assert "horse" in wide and "horse" not in narrow
    assert set(base.vocab.tokens) <= set(wide.tokens)


def test_stages_are_fits_with_their_own_schedule(data):
    stages = (Stage(1, 1e-2, freeze_to=-1), Stage(1, 1e-2, freeze_to=-2), Stage(2, 1e-2))
    training = replace(TINY.classify, stages=stages)
    learn = ulmfit.fit_stages(ulmfit.classifier(data, recipe=TINY, training=training), training)
    assert learn.history.column("fit") == [0, 1, 2, 2]
    lrs, fits = learn.history.steps["lrs"], learn.history.steps["fit"]
    trained = {
        name: {f for f, rate in zip(fits, rates) if rate is not None and rate == rate} for name, rates in lrs.items()
    }
    assert trained == {"embedding": {2}, "lstm1": {2}, "lstm2": {1, 2}, "head": {0, 1, 2}}


def test_stages_that_are_done_are_passed_over(data, tmp_path):
    stages = (Stage(1, 1e-2, freeze_to=-1), Stage(1, 1e-2))
    training = replace(TINY.classify, stages=stages)
    whole = ulmfit.fit_stages(ulmfit.classifier(data, recipe=TINY, training=training), training)
    half = ulmfit.classifier(data, recipe=TINY, training=training)
    ulmfit.fit_stages(half, replace(training, stages=stages[:1]))
    half.save(tmp_path)
    again = ulmfit.classifier(data, recipe=TINY, training=training)
    torch.nn.init.zeros_(again.model.encoder.embedding.weight)
    again.resume(tmp_path)
    ulmfit.fit_stages(again, training)
    for a, b in zip(whole.model.state_dict().values(), again.model.state_dict().values()):
        assert torch.equal(a, b)


def test_a_stage_is_made_of_callbacks():
    names = [type(c) for c in ulmfit.stage_callbacks(Stage(1, 1.0), replace(TINY.classify, unfreeze="gradual"))]
    assert names == [ParamSchedule, DiscriminativeLR, GradualUnfreeze]
    plain = replace(TINY.classify, discriminative=None, unfreeze=None)
    assert ulmfit.stage_callbacks(Stage(1, 1.0, schedule="constant"), plain) == []
    (only,) = ulmfit.stage_callbacks(Stage(1, 1.0, schedule="constant"), replace(plain, discriminative=(0.5, 1.0)))
    assert repr(only) == repr(DiscriminativeLR(multipliers=(0.5, 1.0)))


def test_random_weights_are_trained_whole_and_at_one_rate(data):
    stages = (Stage(1, 1e-2, freeze_to=-1), Stage(2, 1e-2))
    recipe = replace(TINY, classify=replace(TINY.classify, stages=stages, discriminative=2.6, unfreeze="gradual"))
    learn = ulmfit.classify(data, recipe=recipe)
    assert learn.history.column("fit") == [0, 0, 0]
    rates = [learn.history.steps["lrs"][group.name] for group in learn.groups]
    assert all(rate == rates[0] for rate in rates)


def test_windows_of_a_classifier_are_those_of_the_training_that_is_given(data):
    training = replace(TINY.classify, bptt=7, vary_bptt=True)
    config = ulmfit.classifier(data, recipe=TINY, training=training).model.config
    assert (config.bptt, config.vary_bptt) == (7, True)


def test_precision_and_clip(data):
    learn = ulmfit.classifier(data, recipe=TINY, precision="fp32")
    assert MixedPrecision not in map(type, learn.callbacks)
    assert learn.callback(ClipGrad).max_norm == TINY.classify.clip
    unclipped = ulmfit.classifier(data, recipe=TINY, training=replace(TINY.classify, clip=None))
    assert ClipGrad not in map(type, unclipped.callbacks)
    with pytest.raises(ValueError, match="precision must be one of bf16, fp16, fp32"):
        ulmfit.classifier(data, recipe=TINY, precision="fp8")  # type: ignore[arg-type]


def test_the_seed_decides_everything(data):
    a, b, c = (ulmfit.finetune(data, recipe=TINY, seed=seed).history.column("train_loss") for seed in (1, 1, 2))
    assert a == b != c


def test_backward_models_learn_too(data):
    learn = ulmfit.classify(data, recipe=TINY, backward=True)
    assert learn.history[-1]["accuracy"] > 0.6  # chance: a third


def test_unlabelled_documents_feed_the_language_model_alone():
    data = task(30, unlabelled=documents(50, seed=5))
    assert len(data.train) == 80
    assert data.labelled.tolist() == list(range(30))
    assert list(data.classes) == ["animal", "colour", "number"]


def test_held_out_words_do_not_enter_the_vocabulary():
    train, valid = documents(20), [Document("secret red", "colour", 1)]
    assert "secret" not in prepare(train, valid, recipe=TINY, tokenizer=RulesTokenizer()).vocab


def test_split_documents_is_stratified_and_seeded():
    docs = documents(90)
    kept, held = split_documents(docs, 0.2, seed=1)
    assert sorted(d.row for d in kept + held) == [d.row for d in docs]
    assert np.unique([d.label for d in held], return_counts=True)[1].tolist() == [6, 6, 6]
    assert split_documents(docs, 0.2, seed=1)[1] == held
    assert split_documents(docs, 0.2, seed=2)[1] != held
    assert [d.row for d in held] == sorted(d.row for d in held)
    with pytest.raises(ValueError, match="between 0 and 1"):
        split_documents(docs, 1.0)


def test_only_our_models_are_saved(data, tmp_path):
    learn = ulmfit.classifier(data, recipe=TINY)
    learn.model = torch.nn.Linear(2, 2)
    with pytest.raises(TypeError, match="not Linear"):
        ulmfit.save(tmp_path / "m", learn, data)


def test_a_report_of_ones_own_takes_the_place_of_the_recipes(data, capsys):
    own = Report(every_seconds=0, stream=io.StringIO())
    for learn in (
        ulmfit.language_model(data, recipe=TINY, callbacks=[own]),
        ulmfit.classifier(data, recipe=TINY, callbacks=[own]),
    ):
        assert [callback for callback in learn.callbacks if isinstance(callback, Report)] == [own]
        learn.fit(1, 1e-3)
    assert capsys.readouterr().out == ""
    assert "valid_loss" in own.stream.getvalue()
