"""Cached features give what computed ones give, and are dropped when they could be others."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F

from tests.callbacks.toys import assert_close, lm_learner, on, weights
from textxfer.batch import Batch, Loaders
from textxfer.callbacks import ActivationReg, CacheFeatures, TemporalReg
from textxfer.models import AWDLSTMConfig, ClassifierConfig, TextClassifier
from textxfer.training import Callback, Learner

VOCAB, C = 20, 3


def model(dropout: float = 0.0) -> TextClassifier:
    torch.manual_seed(0)
    config = AWDLSTMConfig(VOCAB, embed=6, hidden=8, layers=2, dropout_output=dropout).scaled(float(dropout > 0))
    head = ClassifierConfig(C, head_hidden=5, dropout_pooled=0.0, dropout_head=0.0, bptt=4)
    return TextClassifier(config, head)


def batches(*sizes: int) -> list[Batch]:
    generator, found = torch.Generator().manual_seed(1), []
    for size in sizes:
        lengths = torch.randint(1, 10, (size,), generator=generator).sort(descending=True).values
        ids = torch.randint(2, VOCAB, (int(lengths[0]), size), generator=generator)
        ids[torch.arange(len(ids))[:, None] >= lengths] = 1
        found.append(Batch((ids, lengths), torch.arange(size) % C, size))
    return found


def learner(callbacks: Sequence[Callback], dropout: float = 0.0) -> Learner[TextClassifier]:
    loaders = Loaders(batches(4, 3, 4), batches(5))
    return Learner(model(dropout), loaders, F.cross_entropy, callbacks=callbacks, device="cpu")


def test_a_frozen_encoder_trains_the_same_head_and_is_run_once() -> None:
    ends, cache = [], CacheFeatures()
    for callbacks in ([], [cache]):
        learn = learner(callbacks)
        learn.freeze()
        learn.fit(3, 1e-2)
        ends.append((weights(learn.model), learn.history.epochs[-1]["valid_loss"]))
    assert_close(ends[0][0], ends[1][0], rtol=1e-3, atol=1e-5)
    assert ends[0][1] == pytest.approx(ends[1][1], rel=1e-4)
    assert cache.n_computed == 4 + 3 + 4 + 5
    assert not cache._known


def test_batches_of_known_and_of_new_documents_may_mix() -> None:
    (ids, lengths), target, _ = batches(6)[0]
    assert target is not None
    mixed = [Batch((ids[:, rows], lengths[rows]), target[rows], 4) for rows in ([0, 1, 2, 3], [1, 4, 2, 5])]
    ends = []
    for callbacks in ([], [CacheFeatures()]):
        learn = learner(callbacks)
        learn.loaders = Loaders(mixed)
        learn.freeze()
        learn.fit(2, 1e-2)
        ends.append(weights(learn.model))
    assert_close(*ends, rtol=1e-3, atol=1e-5)


def test_features_are_without_dropout() -> None:
    cache = CacheFeatures()
    learn = learner([cache], dropout=0.3)
    learn.freeze()
    learn.loaders = Loaders(batches(4))
    seen = []
    learn.fit(1, 1e-2, callbacks=[on("after_batch", lambda learn: seen.extend(cache._known.values()))])
    (ids, lengths), _, _ = batches(4)[0]
    with torch.no_grad():
        torch.testing.assert_close(torch.stack(seen), learn.model.eval().features(ids, lengths))


def test_padding_and_order_do_not_make_another_document() -> None:
    cache, learn = CacheFeatures(), learner([])
    learn.freeze()
    (ids, lengths), target, n = batches(4)[0]
    padded = torch.cat([ids, torch.ones_like(ids[:2])]).flip(1)
    learn.loaders = Loaders([Batch((ids, lengths), target, n), Batch((padded, lengths.flip(0)), target, n)])
    learn.fit(1, 1e-2, callbacks=[cache])
    assert cache.n_computed == 4


def test_a_model_that_trains_runs_as_ever() -> None:
    cache = CacheFeatures()
    for unfrozen, computed in ((-1, 16), (0, 0), (-2, 0)):
        learn = learner([cache])
        learn.freeze_to(unfrozen)
        learn.fit(1, 1e-3)
        assert cache.n_computed == computed


def test_unfreezing_in_the_middle_forgets() -> None:
    class Thaw(Callback):
        def before_epoch(self, learn: Learner) -> None:
            learn.freeze_to((-1, 0, -1)[learn.progress.epoch])

    cache = CacheFeatures()
    learner([cache, Thaw()]).fit(3, 1e-2)
    assert cache.n_computed == 16 + 16, "while all trains, the whole model is run, in validation too"


def test_penalties_on_activations_find_nothing_to_do() -> None:
    learn = learner([CacheFeatures(), ActivationReg(), TemporalReg()], dropout=0.3)
    learn.freeze()
    learn.fit(1, 1e-2)
    assert learn.forward is learn.model


def test_another_kind_of_model_is_refused() -> None:
    with pytest.raises(TypeError, match="features"):
        lm_learner(CacheFeatures()).fit(1, 1e-3)


def test_the_loop_leaves_the_lengths_on_the_cpu() -> None:
    from textxfer.training.loop import batch_to

    batch = batches(3)[0]
    placed = batch_to(batch, torch.device("meta"), model().host_inputs)
    assert [item.device.type for item in placed.inputs] == ["meta", "cpu"]
