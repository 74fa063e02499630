"""Which groups train when."""

from __future__ import annotations

import pytest
import torch

from tests.callbacks.toys import Planned, fail, lm_learner, on, weights
from textxfer.callbacks import GradualUnfreeze
from textxfer.training import Order

GRADUAL = [(2,), (1, 2), (0, 1, 2), (0, 1, 2), (0, 1, 2)]
CHAIN_THAW = [(2,), (0,), (1,), (0, 1, 2), (0, 1, 2)]


def test_after_an_error_what_was_frozen_by_hand_is_so_again():
    learn = lm_learner(
        GradualUnfreeze(), on("after_epoch", lambda learn: fail(learn) if learn.progress.epoch == 3 else None)
    )
    param = learn.groups[0].params[0]
    param.requires_grad_(False)
    with pytest.raises(Planned):
        learn.fit(5, 1e-3)
    assert learn.trainable == (0, 1, 2) and not param.requires_grad


def sequence(callback, n_epochs):
    seen = []
    learn = lm_learner(callback, on("before_train", lambda learn: seen.append(learn.trainable)), train=1, valid=None)
    learn.fit(n_epochs, 1e-3)
    assert learn.trainable == seen[-1]
    return seen


@pytest.mark.parametrize(("mode", "expected"), [("gradual", GRADUAL), ("chain-thaw", CHAIN_THAW), ("last", [(2,)] * 5)])
def test_what_trains_in_each_epoch(mode, expected):
    assert sequence(GradualUnfreeze(mode=mode), 5) == expected


@pytest.mark.parametrize(("mode", "stages"), [("gradual", GRADUAL), ("chain-thaw", CHAIN_THAW)])
def test_stages_of_two_epochs(mode, stages):
    assert sequence(GradualUnfreeze(2, mode), 8) == [stage for stage in stages[:4] for _ in range(2)]


def test_chain_thaw_of_five_groups_trains_each_once_alone():
    """Felbo et al. 2017: the new layer, each other from the bottom up, all."""
    callback = GradualUnfreeze(mode="chain-thaw")
    assert [list(callback.trainable(epoch, 5)) for epoch in range(7)] == [
        *([4], [0], [1], [2], [3]),
        *([0, 1, 2, 3, 4], [0, 1, 2, 3, 4]),
    ]


@pytest.mark.parametrize("mode", ["gradual", "chain-thaw", "last"])
def test_a_single_group_always_trains(mode):
    callback = GradualUnfreeze(mode=mode)
    assert [list(callback.trainable(epoch, 1)) for epoch in range(3)] == [[0]] * 3


def test_frozen_groups_do_not_move():
    moved = []

    def compare(learn):
        changed = {name for name, value in weights(learn.model).items() if not torch.equal(value, before[name])}
        moved.append({group.name for group in learn.groups if changed & names[group.name]})
        before.update(weights(learn.model))

    learn = lm_learner(GradualUnfreeze(mode="chain-thaw"), on("after_epoch", compare))
    params = {id(param): name for name, param in learn.model.named_parameters()}
    names = {group.name: {params[id(param)] for param in group.params} for group in learn.groups}
    before = weights(learn.model)
    learn.fit_one_cycle(4, 1e-2)
    assert moved == [{"decoder"}, {"lstm1"}, {"lstm2"}, {"lstm1", "lstm2", "decoder"}]


def test_after_an_error_the_groups_are_as_before():
    learn = lm_learner(GradualUnfreeze())
    learn.set_trainable([0, 2])
    late = on("after_batch", lambda learn: fail(learn) if learn.progress.epoch == 1 else None)
    with pytest.raises(Planned):
        learn.fit(3, 1e-3, callbacks=[late])
    assert learn.trainable == (0, 2)
    assert [group.params[0].requires_grad for group in learn.groups] == [True, False, True]


def test_an_error_after_resuming_goes_back_to_what_was_before_the_interrupted_fit(tmp_path):
    """The resumed learner starts frozen as the interrupted epoch was; that is not what the fit began with."""

    def run(event_of_error, resume):
        save = on("after_batch", lambda learn: learn.save(tmp_path), train_only=True)
        learn = lm_learner(GradualUnfreeze(), *([] if resume else [save]), on(event_of_error, fail))
        if resume:
            learn.resume(tmp_path)
        with pytest.raises(Planned):
            learn.fit(3, 1e-3)
        return learn.trainable

    run("after_train", resume=False)
    assert run("after_epoch", resume=True) == (0, 1, 2)


def test_groups_stay_unfrozen_for_the_next_fit():
    learn = lm_learner()
    learn.freeze()
    learn.fit(2, 1e-3, callbacks=[GradualUnfreeze()])
    assert learn.trainable == (1, 2)


def test_on_freeze_is_heard_by_others():
    heard = []
    learn = lm_learner(on("on_freeze", lambda learn: heard.append(learn.trainable), Order.OBSERVE), GradualUnfreeze())
    learn.fit(4, 1e-3)
    assert heard == [(2,), (1, 2), (0, 1, 2)]


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="epochs_per_group must be at least 1"):
        GradualUnfreeze(0)
    with pytest.raises(ValueError, match="mode must be one of 'gradual', 'chain-thaw', 'last', not 'all'"):
        GradualUnfreeze(mode="all")  # type: ignore[arg-type]
