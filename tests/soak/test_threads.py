"""Fits in several threads: with generators of their own they equal the fits alone, to the last bit."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.programs.toys import TINY, task
from tests.soak.jobs import Break, broken, quiet
from textxfer import ulmfit
from textxfer.callbacks import SaveEvery
from textxfer.models.head import HeadDropout
from textxfer.recipe import Recipe
from textxfer.task import TaskData
from textxfer.training import Callback, Learner, own_generator, set_seed

Weights = dict[str, Tensor]
LM, CLASSIFIER = ulmfit.language_model, ulmfit.classifier
DRY: Recipe = replace(
    TINY,
    pretrain=replace(TINY.pretrain, dropouts=TINY.pretrain.dropouts.scaled(0)),
    finetune=replace(TINY.finetune, dropouts=TINY.finetune.dropouts.scaled(0)),
)
MEETINGS, PATIENCE = 6, 60.0


@pytest.fixture(scope="module")
def data() -> TaskData:
    return task(120)


class Meet(Callback):
    """Waits in the first batches until the other fit has come as far: so they surely take turns."""

    train_only = True

    def __init__(self, barrier: threading.Barrier) -> None:
        self.barrier, self.left = barrier, MEETINGS

    def before_batch(self, learn: Learner) -> None:
        if self.left:
            self.left -= 1
            self.barrier.wait(PATIENCE)


def weights(learn: Learner) -> Weights:
    return {name: value.clone() for name, value in learn.model.state_dict().items()}


def equal(one: Weights, other: Weights) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def together(*jobs: Callable[[], Weights]) -> list[Weights]:
    """Run jobs at the same time."""
    with ThreadPoolExecutor(len(jobs)) as pool:
        return [each.result() for each in [pool.submit(job) for job in jobs]]


def train(
    kind: Callable[..., Learner], data: TaskData, seed: int, recipe: Recipe = TINY, more: Sequence[Callback] = ()
) -> Weights:
    learn = kind(data, recipe=recipe, callbacks=[quiet(), *more], seed=seed)
    learn.fit_one_cycle(2, 4e-3)
    return weights(learn)


def own(job: Callable[[], Weights]) -> Callable[[], Weights]:
    """Give a job a generator of its own; the seed does not matter, since ULMFiT's learners seed it."""

    def run() -> Weights:
        with own_generator(0):
            return job()

    return run


@pytest.mark.parametrize("kinds", [(LM, LM), (CLASSIFIER, CLASSIFIER), (LM, CLASSIFIER)])
def test_two_fits_in_two_threads_equal_the_fits_alone(
    kinds: tuple[Callable[..., Learner], Callable[..., Learner]], data: TaskData
) -> None:
    alone = [train(kind, data, seed) for seed, kind in enumerate(kinds)]
    barrier = threading.Barrier(2)
    jobs = [
        own(lambda kind=kind, seed=seed: train(kind, data, seed, more=[Meet(barrier)]))
        for seed, kind in enumerate(kinds)
    ]
    found = together(*jobs)
    assert all(map(equal, found, alone))
    assert not equal(*alone)


def test_fits_of_learners_that_were_built_before_leave_the_global_generator_alone(data: TaskData) -> None:
    def made() -> list[Learner]:
        return [ulmfit.language_model(data, recipe=TINY, callbacks=[quiet()], seed=seed) for seed in (1, 2)]

    def fitted(learn: Learner, seed: int) -> Weights:
        with own_generator(seed):
            learn.fit(2, 4e-3)
        return weights(learn)

    alone = []
    for learn in made():
        set_seed(7)
        learn.fit(2, 4e-3)
        alone.append(weights(learn))
    one, other = made()
    before = torch.get_rng_state()
    found = together(lambda: fitted(one, 7), lambda: fitted(other, 7))
    assert all(map(equal, found, alone))
    assert torch.equal(torch.get_rng_state(), before)


def test_without_generators_of_their_own_they_take_numbers_from_each_other(data: TaskData) -> None:
    alone = [train(LM, data, seed) for seed in (1, 1)]
    barrier = threading.Barrier(2)
    found = together(*[lambda: train(LM, data, 1, more=[Meet(barrier)])] * 2)
    assert equal(*alone)
    assert not equal(found[0], alone[0])


def test_without_anything_random_no_generator_is_needed(data: TaskData) -> None:
    alone = [train(LM, data, seed, DRY) for seed in (1, 2)]
    barrier = threading.Barrier(2)
    jobs = [lambda seed=seed: train(LM, data, seed, DRY, [Meet(barrier)]) for seed in (1, 2)]
    assert all(map(equal, together(*jobs), alone))


def test_the_rate_finder_and_a_resumed_run_do_not_disturb_the_other_thread(data: TaskData, tmp_path: Path) -> None:
    def learner(*more: Callback) -> Learner:
        parts = [quiet(), SaveEvery(tmp_path, batches=2), *more]
        return ulmfit.language_model(data, recipe=TINY, callbacks=parts, seed=3)

    def busy(*more: Callback) -> Weights:
        learn = learner(*more)
        learn.lr_find(n_steps=10)
        broken_fit = learner(Break(5))
        broken(broken_fit)
        resumed = learner()
        resumed.resume(tmp_path)
        resumed.fit_one_cycle(2, 4e-3)
        return weights(resumed)

    alone = [train(LM, data, 4), train(LM, data, 3)]
    found = together(own(lambda: train(LM, data, 4)), own(busy))
    assert all(map(equal, found, alone))


def test_resuming_leaves_the_generators_alone_that_others_may_draw_from(data: TaskData, tmp_path: Path) -> None:
    learn = ulmfit.language_model(data, recipe=TINY, callbacks=[quiet()])
    learn.save(tmp_path)
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    expected = random.getstate(), str(np.random.get_state())  # noqa: NPY002
    with own_generator(1):
        learn.resume(tmp_path)
        learn.fit(1, 4e-3)
    assert (random.getstate(), str(np.random.get_state())) == expected  # noqa: NPY002


def test_a_generator_within_another_and_after_an_error() -> None:
    drop = HeadDropout(0.5)
    x = torch.ones(64)

    def drawn(seed: int) -> Tensor:
        with own_generator(seed):
            return drop(x)

    first, second = drawn(1), drawn(2)
    assert not torch.equal(first, second)
    with own_generator(1):
        with own_generator(2), pytest.raises(KeyError):
            assert torch.equal(drop(x), second)
            raise KeyError
        assert torch.equal(drop(x), first)
    before = torch.get_rng_state()
    drop(x)
    assert not torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("p", [0.0, 0.3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_dropout_of_the_head_is_torchs(p: float, dtype: torch.dtype) -> None:
    x = torch.randn(7, 9, dtype=dtype, requires_grad=True)
    results = []
    for drop, context in ((nn.Dropout(p), None), (HeadDropout(p), None), (HeadDropout(p), own_generator(3))):
        set_seed(3)
        if context is None:
            out = torch.stack([drop(x), drop(x)])
        else:
            with context:
                out = torch.stack([drop(x), drop(x)])
        results.append((out.detach(), torch.autograd.grad(out.float().square().sum(), x)[0]))
    for out, grad in results[1:]:
        assert torch.equal(out, results[0][0]) and torch.equal(grad, results[0][1])
    with own_generator(3):
        assert HeadDropout(p).eval()(x) is x


def test_seeding_reaches_the_own_generator() -> None:
    drop, x = HeadDropout(0.5), torch.ones(64)
    with own_generator(1):
        set_seed(9)
        inside = drop(x)
    set_seed(9)
    assert torch.equal(inside, drop(x))
