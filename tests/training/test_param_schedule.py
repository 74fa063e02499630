from __future__ import annotations

import pytest
import torch

from tests.training.toys import learner
from textxfer.training import Callback, Optimizer, Order
from textxfer.training import schedule as schedule_module
from textxfer.training.param_schedule import ParamSchedule
from textxfer.training.schedule import Constant, Linear, OneCycle, SlantedTriangular, one_cycle_momentum


class Watch(Callback):
    """Notes rates and momentum as each update sees them."""

    order = Order.OBSERVE

    def __init__(self, error_at: int | None = None, base: tuple[float, ...] = ()) -> None:
        self.error_at, self.base = error_at, base
        self.seen: list[list[tuple[float, float]]] = []

    def before_fit(self, learn):
        for group, factor in zip(learn.optimizer.param_groups, self.base):
            group["base_lr"] *= factor

    def before_batch(self, learn):
        if learn.step.training:
            groups = learn.optimizer.param_groups
            self.seen.append([(g["lr"], g["betas"][0] if "betas" in g else g["momentum"]) for g in groups])
            if len(self.seen) == self.error_at:
                raise RuntimeError("injected")


def test_rates_are_multiples_of_each_base_rate():
    watch, lr = Watch(base=(0.1, 0.1, 0.5, 0.5, 1, 1)), SlantedTriangular(0.2, 32)
    learn = learner(train=5)
    learn.fit(3, 2e-3, [ParamSchedule(lr=lr), watch])
    for step, groups in enumerate(watch.seen):
        assert [rate for rate, _ in groups] == pytest.approx([2e-3 * f * lr.at(step, 15) for f in watch.base])
    assert [group["lr"] for group in learn.optimizer.param_groups] == pytest.approx([2e-3 * f for f in watch.base])


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
@pytest.mark.parametrize("error_at", [None, 4])
def test_momentum_is_absolute_and_put_back_even_after_errors(kind, error_at):
    optimizer = Optimizer(kind, betas=(0.9, 0.95), momentum=0.9)
    learn, watch = learner(train=5, optimizer=optimizer), Watch(error_at)
    schedule = ParamSchedule(lr=OneCycle(), momentum=one_cycle_momentum())
    if error_at:
        with pytest.raises(RuntimeError, match="injected"):
            learn.fit(2, 1e-3, [schedule, watch])
    else:
        learn.fit(2, 1e-3, [schedule, watch])
    expected = [one_cycle_momentum().at(step, 10) for step in range(error_at or 10)]
    assert [groups[0][1] for groups in watch.seen] == expected
    for group in learn.optimizer.param_groups:
        assert group["lr"] == group["base_lr"] == 1e-3
        if kind == "sgd":
            assert group["momentum"] == 0.9
        else:
            assert group["betas"] == (0.9, 0.95)


def test_second_beta_is_left_alone():
    class Betas(Callback):
        def after_update(self, learn):
            assert learn.optimizer.param_groups[0]["betas"] == (0.6, 0.95)

    learner(optimizer=Optimizer(betas=(0.9, 0.95))).fit(1, 1e-3, [ParamSchedule(momentum=Constant(0.6)), Betas()])


def test_validation_does_not_move_the_rate():
    watch = Watch()
    learn = learner(train=4, valid=7)
    learn.fit(2, 1.0, [ParamSchedule(lr=Linear(1, 0)), watch])
    assert [groups[0][0] for groups in watch.seen] == [Linear(1, 0).at(step, 8) for step in range(8)]


def test_updates_count_and_not_batches():
    class EverySecond(Callback):
        order = Order.GRADIENT

        def before_fit(self, learn):
            learn.plan_updates(every=2)

        def before_batch(self, learn):
            if learn.step.training and learn.step.index % 2 == 0:
                learn.step.update = None

    watch = Watch()
    learner(train=6, valid=None).fit(1, 1.0, [EverySecond(), ParamSchedule(lr=Linear(1, 0)), watch])
    assert [groups[0][0] for groups in watch.seen] == pytest.approx([1, 1, 2 / 3, 2 / 3, 1 / 3, 1 / 3])


def test_two_owners_of_one_parameter_are_refused():
    class Plateau(ParamSchedule):
        pass

    learn = learner()
    with pytest.raises(ValueError, match=r"both set lr: keep one of them"):
        learn.fit(1, 1e-3, [ParamSchedule(lr=Linear()), Plateau(lr=Constant())])
    assert learn.history.n_steps == 0
    learn.fit(1, 1e-3, [ParamSchedule(lr=Linear()), Plateau(momentum=Constant(0.5))])


def test_momentum_needs_an_optimizer_that_has_one():
    learn = learner()
    learn.optimizer = torch.optim.Adagrad([{"params": list(learn.model.parameters()), "base_lr": 0.0}])
    schedule = ParamSchedule(momentum=Constant(0.5))
    with pytest.raises(ValueError, match="neither `betas` nor `momentum`"):
        learn.fit(1, 1e-3, [schedule])


def test_rates_may_be_those_of_an_optimizer_without_momentum():
    learn = learner()
    params = [
        {"params": list(group.params), "name": group.name, "layer": group.name, "base_lr": 0.0}
        for group in learn.groups
    ]
    learn.optimizer = torch.optim.Adagrad(params)
    learn.fit(1, 1e-3, [ParamSchedule(lr=Linear())])
    assert learn.history.steps["lrs"]["top"] == [1e-3, 5e-4]
    assert learn.history.steps["momentum"] == [None, None]


def test_wrong_arguments():
    with pytest.raises(ValueError, match="needs a schedule"):
        ParamSchedule()
    with pytest.raises(TypeError, match=r"lr must be a Schedule or None, not 0.1"):
        ParamSchedule(lr=0.1)  # type: ignore[arg-type]


def test_state_holds_the_momentum_to_go_back_to():
    states = []

    class Save(Callback):
        def after_update(self, learn):
            states.append(learn.callback(ParamSchedule).state_dict())

    class Resume(Callback):
        order = Order.SAVE

        def before_fit(self, learn):
            learn.callback(ParamSchedule).load_state_dict(states[0])

    learner(optimizer=Optimizer(betas=(0.9, 0.95))).fit(1, 1e-3, [ParamSchedule(momentum=Constant(0.5)), Save()])
    interrupted = learner(optimizer=Optimizer(betas=(0.5, 0.95)))  # as the optimizer comes out of a checkpoint
    interrupted.fit(1, 1e-3, [ParamSchedule(momentum=Constant(0.5)), Resume()])
    assert interrupted.optimizer.param_groups[0]["betas"] == (0.9, 0.95)


def test_repr_builds_it_again():
    schedule = ParamSchedule(lr=OneCycle(), momentum=one_cycle_momentum())
    again = eval(repr(schedule), vars(schedule_module) | {"ParamSchedule": ParamSchedule})
    assert (again.lr, again.momentum) == (schedule.lr, schedule.momentum)
