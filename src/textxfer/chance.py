"""Where random numbers come from: torch's global generator, or one that a thread has of its own.

All threads of a process share torch's global generator. Two fits at the same time would take numbers from each other,
and neither could be repeated. In `own_generator` a thread has one that nobody else draws from.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class _Own(threading.local):
    generator: torch.Generator | None = None


_own = _Own()


@contextmanager
def own_generator(seed: int) -> Iterator[None]:
    """Let this thread draw from a generator of its own while the context is open; other threads do not notice.

    Dropout masks, window lengths and whatever else this package draws on the CPU come from it, and it is what a saved
    state holds. A fit in it equals, bit for bit, the same fit after `set_seed(seed)`, whatever other threads do:

    ```python
    def train(learn: Learner, seed: int) -> None:
        with own_generator(seed):
            learn.fit_one_cycle(10, lr=3e-3)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(train, learners, [0, 1]))
    ```

    Still drawn from generators that all threads share: numbers on a GPU, initial weights of a model that is built by
    hand, layers and functions of your own that draw without `generator=`, Python's `random` and NumPy's global one.
    `learn.resume` and `lr_find` leave Python's and NumPy's alone here, since others may be drawing from them.

    Args:
        seed: Any whole number that torch takes.
    """
    before, _own.generator = _own.generator, torch.Generator().manual_seed(seed)
    try:
        yield
    finally:
        _own.generator = before


def generator() -> torch.Generator | None:
    """Return the generator of this thread, to be given to torch's functions; None stands for the global one."""
    return _own.generator


def generator_state() -> Tensor:
    """Return the state of the generator that this thread draws from."""
    return torch.get_rng_state() if _own.generator is None else _own.generator.get_state()


def set_generator_state(state: Tensor) -> None:
    """Put the generator that this thread draws from back to a state.

    Args:
        state: What `generator_state` returned.
    """
    if _own.generator is None:
        torch.set_rng_state(state)
    else:
        _own.generator.set_state(state)


def seed_generator(seed: int) -> None:
    """Seed the generator that this thread draws from; without one of its own those of all devices.

    Args:
        seed: Any whole number that torch takes.
    """
    if _own.generator is None:
        torch.manual_seed(seed)
    else:
        _own.generator.manual_seed(seed)
