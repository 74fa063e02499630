"""Defects 17 to 19 and 28 of fastai 2.8.12: what each process gets, what decides the order, what is left out.

A test's docstring says what fastai does, and where; the test fails on that behaviour.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.text.samples import numbered_store, toy_store
from textxfer.batch import Loaders, SeekableLoader
from textxfer.models import token_loss
from textxfer.text import ClassBatches, LMBatches, TokenStore
from textxfer.training import Learner, Perplexity

WORLD = 4
SKEWED = numbered_store([2 + (document * 37 % 64) ** 2 // 8 for document in range(64)])
STORE = toy_store(60)


def disturb(seed: int) -> None:
    """Put all generators that nobody should look at somewhere else."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)


def words(store: TokenStore, ids: list[Tensor]) -> list[int]:
    """The ids of real words in tensors, sorted: without `xxbos`, padding and what does not count."""
    found = torch.cat([each.flatten() for each in ids]).tolist()
    return sorted(id_ for id_ in found if id_ >= 0 and id_ not in (store.vocab.bos_id, store.vocab.pad_id))


def test_defect_17_processes_get_about_as_many_tokens() -> None:
    """distributed.py:114 cuts the list that is sorted by length: the first process has all the long documents."""
    loaders = [ClassBatches(SKEWED, 4, shuffle=False, rank=rank, world=WORLD) for rank in range(WORLD)]
    passes = [[batch.inputs for batch in loader] for loader in loaders]
    tokens = [sum(int(lengths.sum()) for _, lengths in batches) for batches in passes]
    quarters = np.sort(SKEWED.lengths)[::-1].reshape(WORLD, -1).sum(axis=1)
    assert quarters.max() > 20 * quarters.min()  # what the plain cut would give
    assert max(tokens) < 1.1 * min(tokens)
    everything = words(SKEWED, [torch.from_numpy(SKEWED.ids.astype(np.int64))])
    assert words(SKEWED, [ids for batches in passes for ids, _ in batches]) == everything


def test_defect_18_processes_share_the_corpus_without_overlap() -> None:
    """text/data.py:94-97 shuffles by each process's own generator: documents are read twice, and others never."""
    seen: list[list[int]] = []
    for rank in range(WORLD):
        disturb(seed=rank)
        loader = LMBatches(SKEWED, 2, 10, rank=rank, world=WORLD)
        loader.set_epoch(3)
        seen.append(words(SKEWED, [batch.target for batch in loader if batch.target is not None]))
    everything = words(SKEWED, [torch.from_numpy(SKEWED.ids.astype(np.int64))])
    assert sorted(id_ for part in seen for id_ in part) == everything
    assert len(set(everything)) == len(everything) and min(map(len, seen)) > 0.9 * max(map(len, seen))


@pytest.mark.parametrize(
    "make", [lambda: LMBatches(STORE, 4, 7, vary_bptt=True), lambda: ClassBatches(STORE, 8)], ids=["LM", "classifier"]
)
def test_defect_19_seed_and_epoch_alone_decide_the_order(make: Callable[[], SeekableLoader]) -> None:
    """text/data.py:203, data/load.py:106: numpy's, the loader's and Python's generator decide, and none is saved."""
    orders = []
    for seed in range(2):
        disturb(seed)
        loader = make()
        loader.set_epoch(2)
        orders.append([batch.inputs[0].tolist() for batch in loader])
    disturb(2)
    resumed = make()
    resumed.set_epoch(2)
    resumed.seek(3)
    assert orders[0] == orders[1]
    assert [batch.inputs[0].tolist() for batch in resumed] == orders[0][3:]
    resumed.set_epoch(3)
    assert [batch.inputs[0].tolist() for batch in resumed] != orders[0]


class Bigrams(nn.Module):
    """Looks at the last word only: what it predicts does not depend on where lanes and windows begin."""

    def __init__(self, vocab: int) -> None:
        super().__init__()
        self.table = nn.Embedding(vocab, vocab)

    def forward(self, ids: Tensor) -> Tensor:
        return self.table(ids)


def test_defect_28_perplexity_does_not_depend_on_the_batch_size() -> None:
    """text/data.py:84-91 drops the tail that fills no row of the batch, in validation too."""
    model = Bigrams(len(STORE.vocab))
    ids = torch.from_numpy(STORE.ids.astype(np.int64))
    before = torch.cat([torch.tensor([STORE.vocab.pad_id]), ids[:-1]])
    expected = nn.functional.cross_entropy(model(before), ids).exp().item()
    for batch_size in (1, 7, 64):
        loader = LMBatches(STORE, batch_size, 5, shuffle=False)
        learn = Learner(model, Loaders([], loader), token_loss, metrics=[Perplexity()], device="cpu")
        assert learn.validate()["perplexity"] == pytest.approx(expected, rel=1e-6)
        assert sum(batch.n for batch in loader) == STORE.n_tokens
    assert math.isfinite(expected) and STORE.n_tokens % 7 and STORE.n_tokens % 64
