"""The rate of an update follows the length of its window."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.callbacks.toys import on
from textxfer.batch import Batch, Loaders
from textxfer.callbacks import ClipGrad, WindowRate
from textxfer.training import Learner, Optimizer, Order

LENGTHS = (70, 35, 105, 70)


class Counter(nn.Module):
    """Its only weight falls by the rate in each update."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.weight


def learner(*callbacks) -> Learner:
    batches = [Batch((torch.zeros(length, 2, dtype=torch.int64),), torch.zeros(1), 1) for length in LENGTHS]

    def loss(pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return pred.sum()

    return Learner(Counter(), Loaders(batches), loss, callbacks=callbacks, optimizer=Optimizer("sgd"), device="cpu")


def test_updates_are_scaled_by_length_over_bptt():
    learn = learner(WindowRate(70))
    learn.fit(1, 0.1)
    assert learn.model.weight.item() == pytest.approx(-0.1 * sum(LENGTHS) / 70)
    assert [group["lr"] for group in learn.optimizer.param_groups] == [0.1] * len(learn.optimizer.param_groups)


def test_the_schedule_and_the_clip_see_nothing_of_it():
    learn = learner(WindowRate(70), ClipGrad(0.5))
    learn.fit_one_cycle(1, 0.1, momentum=None)
    plain = learner(ClipGrad(0.5))
    plain.fit_one_cycle(1, 0.1, momentum=None)
    rates = plain.history.steps["lrs"]
    assert learn.history.steps["lrs"] == rates
    # The gradient is 1 in each update, and 0.5 after clipping.
    assert plain.model.weight.item() == pytest.approx(-sum(0.5 * rate for rate in rates["model"]))
    scaled = sum(0.5 * rate * length / 70 for rate, length in zip(rates["model"], LENGTHS, strict=True))
    assert learn.model.weight.item() == pytest.approx(-scaled)


def test_an_update_that_a_guard_holds_stays_held():
    def hold(learn: Learner) -> None:
        learn.step.update = None

    learn = learner(WindowRate(70), on("before_update", hold, Order.SCALING))
    learn.fit(1, 0.1)
    assert learn.model.weight.item() == 0


def test_a_length_must_be_positive():
    with pytest.raises(ValueError, match="bptt must be at least 1, not 0"):
        WindowRate(0)
