"""AR and TAR against their formulas."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.callbacks.toys import lm_learner, on
from textxfer.batch import Batch, Loaders
from textxfer.callbacks import ActivationReg, MixedPrecision, TemporalReg
from textxfer.models import AWDLSTMConfig, ClassifierConfig, TextClassifier
from textxfer.training import Learner, Order


def penalty(callback: Any, **out: Any) -> torch.Tensor:
    """What a callback adds to an objective of 0."""
    learn = SimpleNamespace(step=SimpleNamespace(out=SimpleNamespace(**out), objective=torch.zeros(())))
    callback.after_loss(learn)
    return learn.step.objective


def test_activation_reg_is_the_mean_square():
    dropped = torch.randn(4, 3, 5)
    expected = sum(float(x) ** 2 for x in dropped.flatten()) / 60 * 2
    assert penalty(ActivationReg(2.0), dropped=dropped).item() == pytest.approx(expected, rel=1e-5)


def test_temporal_reg_is_the_mean_squared_change():
    raw = torch.randn(4, 3, 5)
    changes = [float(raw[t + 1, b, e] - raw[t, b, e]) ** 2 for t in range(3) for b in range(3) for e in range(5)]
    expected = sum(changes) / len(changes) * 1.5
    assert penalty(TemporalReg(1.5), raw=raw).item() == pytest.approx(expected, rel=1e-5)


def test_padding_does_not_count():
    lengths = torch.tensor([4, 1, 2])
    raw = torch.randn(4, 3, 5)
    rows = [raw[:length, row] for row, length in enumerate(lengths.tolist())]
    squares = torch.cat([row.flatten() ** 2 for row in rows])
    changes = torch.cat([((row[1:] - row[:-1]) ** 2).flatten() for row in rows])
    assert len(changes) == (3 + 0 + 1) * 5
    torch.testing.assert_close(penalty(ActivationReg(2.0), dropped=raw, lengths=lengths), 2 * squares.mean())
    torch.testing.assert_close(penalty(TemporalReg(1.0), raw=raw, lengths=lengths), changes.mean())


@pytest.mark.parametrize("lengths", [None, torch.tensor([1, 1])])
def test_single_tokens_have_no_change(lengths):
    raw = torch.randn(1 if lengths is None else 3, 2, 5)
    assert penalty(TemporalReg(), raw=raw, lengths=lengths).item() == 0


def test_half_precision_is_summed_in_float32():
    values = torch.full((4, 2, 8), 300.0, dtype=torch.float16)  # 300 squared is too large for float16
    assert penalty(ActivationReg(1.0), dropped=values).item() == 90000
    jump = torch.stack([-values[0], values[0]])
    assert penalty(TemporalReg(1.0), raw=jump).item() == 360000


def test_what_is_differentiated_and_what_is_reported():
    seen = []

    def look(learn: Learner) -> None:
        step = learn.step
        loss = step.loss + 2 * step.out.dropped.square().mean() + (step.out.raw[1:] - step.out.raw[:-1]).square().mean()
        seen.append((step.objective.item(), loss.item(), step.loss.item()))

    plain = lm_learner(train=1)
    plain.fit(1, 1e-3)
    learn = lm_learner(TemporalReg(), ActivationReg(), on("after_loss", look, Order.OBSERVE, True), train=1)
    learn.fit(1, 1e-3)
    objective, expected, loss = seen[0]
    assert objective == pytest.approx(expected, rel=1e-6) != pytest.approx(loss, rel=1e-6)
    assert learn.history.steps["loss"] == plain.history.steps["loss"] == [loss]
    assert learn.validate()["loss"] != plain.validate()["loss"], "the penalty had no gradient"


def test_with_mixed_precision():
    dtypes = []
    watch = on("after_loss", lambda learn: dtypes.append(learn.step.objective.dtype), Order.OBSERVE)
    lm_learner(ActivationReg(), TemporalReg(), MixedPrecision("bf16"), watch).fit(1, 1e-3)
    assert set(dtypes) == {torch.float32}


def test_a_padded_batch_of_documents_equals_the_documents_alone():
    """fastai averages over padding (features.md, d 32)."""
    torch.manual_seed(0)
    model = TextClassifier(
        AWDLSTMConfig(vocab=9, embed=6, hidden=6, layers=2).scaled(0), ClassifierConfig(classes=2, bptt=4)
    )
    documents = [torch.randint(2, 9, (length, 1)) for length in (9, 3, 6)]
    lengths = torch.tensor([9, 3, 6])
    batch = torch.ones(9, 3, dtype=torch.int64)
    for row, ids in enumerate(documents):
        batch[: len(ids), row] = ids[:, 0]
    model.train()
    found = [penalty(ActivationReg(1.0), **model(batch, lengths)._asdict()).item()]
    found.append(penalty(TemporalReg(1.0), **model(batch, lengths)._asdict()).item())
    alone = [model(ids, torch.tensor([len(ids)])) for ids in documents]
    squares = sum(penalty(ActivationReg(1.0), dropped=out.dropped).item() * len(out.dropped) for out in alone)
    changes = sum(penalty(TemporalReg(1.0), raw=out.raw).item() * (len(out.raw) - 1) for out in alone)
    assert found == pytest.approx([squares / 18, changes / 15], rel=1e-5)


@pytest.mark.parametrize("callback", [ActivationReg(), TemporalReg()], ids=repr)
def test_a_model_without_activations_is_refused(callback):
    model = torch.nn.Linear(3, 2)
    data = [Batch((torch.randn(4, 3),), torch.zeros(4, dtype=torch.int64), 4)]
    learn = Learner(model, Loaders(data), torch.nn.functional.cross_entropy, callbacks=[callback], device="cpu")
    with pytest.raises(TypeError, match=f"{type(callback).__name__} needs a model .* field `(raw|dropped)`.*Tensor"):
        learn.fit(1, 1e-3)


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_weights_are_checked(value):
    with pytest.raises(ValueError, match="alpha must be a number >= 0"):
        ActivationReg(value)
    with pytest.raises(ValueError, match="beta must be a number >= 0"):
        TemporalReg(value)
