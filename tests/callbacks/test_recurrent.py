"""The carried hidden state."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from tests.callbacks.toys import lm, lm_batch, lm_batches, lm_learner, on
from textxfer.batch import Batch, Loaders
from textxfer.callbacks import CarryHidden
from textxfer.models import token_loss
from textxfer.training import Learner, Order


def windows(ids: Tensor, length: int) -> list[Batch]:
    starts = range(0, len(ids) - 1, length)
    parts = [(ids[i : i + length], ids[i + 1 : i + length + 1]) for i in starts]
    return [Batch((x,), y, y.numel()) for x, y in parts]


def given(learn: Learner, seen: list) -> None:
    seen.append((learn.step.training, learn.step.inputs[1:]))


def test_windows_are_read_as_one_text():
    ids = torch.randint(0, 11, (13, 3))
    learn = lm_learner(CarryHidden(), valid=windows(ids, 4))
    with torch.no_grad():
        whole = token_loss(learn.model.eval()(ids[:-1]).logits, ids[1:])
    assert learn.validate()["loss"] == pytest.approx(whole.item(), rel=1e-6)
    assert learn.validate()["loss"] == pytest.approx(whole.item(), rel=1e-6), "the state was not reset"
    assert lm_learner(valid=windows(ids, 4)).validate()["loss"] != pytest.approx(whole.item(), rel=1e-6)


def test_the_state_is_that_in_which_the_last_batch_ended():
    seen, ended = [], []
    watch = on("after_forward", lambda learn: given(learn, seen), Order.OBSERVE)
    keep = on("after_batch", lambda learn: ended.append(learn.step.out.hidden))
    lm_learner(CarryHidden(), watch, keep, valid=None).fit(1, 1e-3)
    assert [len(inputs) for _, inputs in seen] == [0, 1, 1]
    for (_, inputs), hidden in zip(seen[1:], ended):
        for got, want in zip(inputs[0], hidden):
            assert all(torch.equal(one, other) and not one.requires_grad for one, other in zip(got, want))


def test_each_pass_starts_empty():
    seen: list = []
    watch = on("after_forward", lambda learn: given(learn, seen))
    lm_learner(CarryHidden(), watch).fit(2, 1e-3)
    epoch = [(True, 0), (True, 1), (True, 1), (False, 0), (False, 1)]
    assert [(training, len(inputs)) for training, inputs in seen] == 2 * epoch


def test_validation_in_the_middle_of_an_epoch_does_not_disturb_training():
    def losses(*callbacks):
        learn = lm_learner(CarryHidden(), *callbacks, dropout=False)
        learn.fit(1, 1e-2)
        return learn.history.steps["loss"]

    assert losses(on("after_batch", lambda learn: learn.validate(), train_only=True)) == losses()


def test_another_width_starts_anew():
    seen: list = []
    watch = on("after_forward", lambda learn: given(learn, seen))
    train = [lm_batch(3), lm_batch(2), lm_batch(2)]
    lm_learner(CarryHidden(), watch, train=train, valid=None).fit(1, 1e-3)
    assert [len(inputs) for _, inputs in seen] == [0, 0, 1]


def test_nothing_is_kept_after_a_fit():
    carry = CarryHidden()
    lm_learner(carry).fit(1, 1e-3)
    assert carry.state_dict() == {}


def test_the_saved_state_is_flat():
    carry, states = CarryHidden(), []
    lm_learner(carry, on("after_batch", lambda learn: states.append(carry.state_dict()), train_only=True)).fit(1, 1e-3)
    assert sorted(states[0]) == ["0/0", "0/1", "1/0", "1/1"]
    other = CarryHidden()
    other.load_state_dict(states[0])
    again = other.state_dict()
    assert again.keys() == states[0].keys()
    assert all(torch.equal(tensor, states[0][key]) for key, tensor in again.items())


class NoHidden(nn.Module):
    def __init__(self):
        super().__init__()
        self.lm = lm()

    def forward(self, ids):
        return self.lm(ids).logits


class OddOutput(NamedTuple):
    logits: Tensor
    hidden: Tensor


class OddHidden(NoHidden):
    def forward(self, ids):
        out = self.lm(ids)
        return OddOutput(out.logits, out.hidden[0][0])


@pytest.mark.parametrize(("model", "found"), [(NoHidden, "Tensor"), (OddHidden, "OddOutput with a hidden of type")])
def test_a_model_without_state_is_refused_before_it_trains(model, found):
    learn = Learner(model(), Loaders(lm_batches(2)), token_loss, callbacks=[CarryHidden()], device="cpu")
    with pytest.raises(TypeError, match=f"field `hidden`: for each layer .* returned {found}"):
        learn.fit(1, 1e-3)
    assert learn.progress.step == 0
