"""The perplexity of a text does not depend on how it is cut into lanes and windows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.programs.toys import TINY, documents
from textxfer import LMBatches, Loaders, ulmfit
from textxfer.task import prepare
from textxfer.text import RulesTokenizer


@pytest.fixture(scope="module")
def trained():
    data = prepare(documents(300), documents(600, seed=1), recipe=TINY, tokenizer=RulesTokenizer())
    training = replace(TINY.finetune, discriminative=None)
    return data, ulmfit.fit_stages(
        ulmfit.language_model(data, recipe=TINY, training=training, precision="fp32"), training
    )


@pytest.mark.parametrize("bptt", [7, 70])
def test_perplexity_for_different_batch_sizes(trained, bptt):
    data, learn = trained
    measured = {}
    for batch_size in (1, 7, 64):
        batches = LMBatches(data.valid, batch_size, bptt, shuffle=False)
        assert sum(batch.n for batch in batches) == data.valid.n_tokens
        measured[batch_size] = learn.validate(batches)["perplexity"]
    assert measured[1] > 1.5  # it has something to predict
    for perplexity in measured.values():
        assert perplexity == pytest.approx(measured[1], rel=0.01)


def test_perplexity_is_that_of_all_tokens_one_by_one(trained):
    data, learn = trained
    ids = torch.from_numpy(np.concatenate([[data.vocab.pad_id], data.valid.ids.astype(np.int64)]))
    model = learn.model.eval()
    with torch.no_grad():
        logits = model(ids[:-1, None]).logits.squeeze(1).float()
    expected = torch.nn.functional.cross_entropy(logits, ids[1:]).exp().item()
    whole = learn.validate(LMBatches(data.valid, 1, 50, shuffle=False))
    assert whole["perplexity"] == pytest.approx(expected, rel=1e-4)


def test_loaders_may_be_swapped(trained):
    data, learn = trained
    before = learn.validate()
    learn.loaders = Loaders(learn.loaders.train, LMBatches(data.valid, 8, 10, shuffle=False))
    assert learn.validate()["perplexity"] == pytest.approx(before["perplexity"], rel=0.01)
