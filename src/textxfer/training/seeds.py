"""Seeds of all random generators, and their states: what makes a run that goes on equal to an unbroken one."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from textxfer.chance import generator, generator_state, seed_generator, set_generator_state

_seeding = threading.RLock()


def set_seed(seed: int) -> None:
    """Seed the generators of Python, NumPy and torch (all devices), and the one that this thread has of its own.

    Args:
        seed: Any whole number that torch takes; NumPy gets its lowest 32 bits.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  users' code may draw from the global generator
    torch.manual_seed(seed)
    seed_generator(seed)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed all generators for a block that draws from the global ones, as new weights do; one thread at a time.

    A generator that the thread has of its own goes on behind what was drawn, as the global one does.

    Args:
        seed: As for `set_seed`.
    """
    with _seeding:
        set_seed(seed)
        yield
        set_generator_state(torch.get_rng_state())


def capture_random() -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the states of torch's generators as tensors, and those of NumPy and Python as JSON values."""
    tensors = {"torch": generator_state()}
    if torch.cuda.is_available():
        tensors |= {f"cuda{index}": state for index, state in enumerate(torch.cuda.get_rng_state_all())}
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    version, words, gauss = random.getstate()
    return tensors, {"numpy": [kind, np.asarray(keys).tolist(), *rest], "python": [version, list(words), gauss]}


def restore_random(saved: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
    """Put the generators back to states that `capture_random` returned; those of GPUs that are not here are left out.

    In `own_generator` the ones that all threads share stay as they are.
    """
    set_generator_state(saved["torch"].cpu())
    if torch.cuda.is_available():
        states = [saved[f"cuda{index}"].cpu() for index in range(torch.cuda.device_count()) if f"cuda{index}" in saved]
        for index, of_device in enumerate(states):
            torch.cuda.set_rng_state(of_device, index)
    if generator() is not None:  # other threads may be drawing from those that follow
        return
    kind, keys, position, has_gauss, gauss = values["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), position, has_gauss, gauss))  # noqa: NPY002
    version, words, next_gauss = values["python"]
    random.setstate((version, tuple(words), next_gauss))
