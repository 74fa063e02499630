"""Seeds and states of all generators."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
import torch

from textxfer.chance import own_generator
from textxfer.training.seeds import capture_random, restore_random, seeded, set_seed


def drawn() -> tuple[float, ...]:
    """One number of each generator; normal ones, of which NumPy and Python make two at a time and keep one."""
    return random.gauss(0, 1), float(np.random.standard_normal()), float(torch.randn(()))  # noqa: NPY002


@pytest.mark.parametrize("seed", [0, 7, 2**40])
def test_a_seed_decides_what_every_generator_draws(seed: int) -> None:
    set_seed(seed)
    first = drawn()
    drawn()
    set_seed(seed)
    assert drawn() == first
    set_seed(seed + 1)
    assert all(one != other for one, other in zip(drawn(), first, strict=True))


def test_states_go_through_json_and_back() -> None:
    drawn()  # now one normal number is waiting
    tensors, values = capture_random()
    following = [drawn() for _ in range(3)]
    restore_random(tensors, json.loads(json.dumps(values)))
    assert [drawn() for _ in range(3)] == following


def test_a_generator_of_the_threads_own_is_captured_and_the_shared_ones_are_left_alone() -> None:
    with own_generator(3):
        tensors, values = capture_random()
        assert torch.equal(tensors["torch"], torch.Generator().manual_seed(3).get_state())
        set_seed(4)
        shared = drawn()
        set_seed(4)
        restore_random(tensors, values)
        assert torch.equal(capture_random()[0]["torch"], tensors["torch"])
        assert drawn()[:2] == shared[:2]


def test_a_seeded_block_draws_what_the_seed_says_and_the_rest_goes_on_behind_it() -> None:
    set_seed(5)
    inside, behind = drawn(), float(torch.randn(()))
    with own_generator(9):
        with seeded(5):
            assert drawn() == inside
        state = capture_random()[0]["torch"]
    assert float(torch.randn((), generator=torch.Generator().set_state(state))) == behind
