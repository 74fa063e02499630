"""Programs that several processes run together: which one this is, and what only one of them does.

`torchrun --nproc-per-node 4 script.py` starts four processes of one program. `textxfer.ulmfit` and the command line
find out and take their part of the work; a program that builds loaders and learners itself asks `start()` for its
place:

```python
from textxfer import distributed
from textxfer.callbacks import DataParallel

place = distributed.start()
train = LMBatches(store, place.share(64), rank=place.rank, world=place.world)
learn = Learner(model, Loaders(train), token_loss, callbacks=[CarryHidden(), DataParallel()], device=place.device)
learn.fit_one_cycle(10, lr=3e-3)
if place.is_main:
    save_artifact("models/wiki", model, store)
```
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist

from textxfer.callbacks._peers import PeerError, join, launched, restarts, wait_for_main
from textxfer.text import DataError

__all__ = ["PeerError", "Place", "is_main", "launched", "main_first", "restarts", "start"]


@dataclass(frozen=True)
class Place:
    """Which of the processes this one is.

    Attributes:
        rank: Its number, from 0.
        world: Number of processes.
        device: Where it computes: with GPUs, one for each process of a machine.
    """

    rank: int
    world: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether it is the one that writes and reports."""
        return self.rank == 0

    def share(self, batch_size: int) -> int:
        """Return this process's part of a batch.

        Args:
            batch_size: Lanes or documents of the batch of all processes together.

        Raises:
            DataError: They cannot be shared evenly.
        """
        if batch_size % self.world:
            raise DataError(
                f"a batch of {batch_size} cannot be shared evenly by {self.world} processes: take a multiple of "
                f"{self.world} (--batch-size), or another number of processes"
            )
        return batch_size // self.world


def start(device: str | torch.device | None = None, timeout_minutes: float = 10.0) -> Place:
    """Join the processes that `torchrun` has started with this one. May be called again; alone it does nothing.

    Args:
        device: Where to train; with several GPUs each process of a machine gets its own. The GPUs if there are some.
        timeout_minutes: Time in which the others must answer before they count as lost, > 0; the first call decides.

    Raises:
        PeerError: The others did not come in time.
    """
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    together = launched() or (dist.is_available() and dist.is_initialized())
    if together and chosen.type == "cuda" and chosen.index is None:
        chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(chosen)
    peers = join(chosen, timeout_minutes)
    return Place(0, 1, chosen) if peers is None else Place(peers.rank, peers.world, chosen)


def is_main() -> bool:
    """Whether this process is the one that writes and reports; a process that is alone is."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank() == 0
    return not launched() or int(os.environ["RANK"]) == 0


@contextmanager
def main_first() -> Iterator[None]:
    """Run a block on process 0 before it runs on the others, however long that takes: they find what it has written.

    Raises:
        PeerError: On the others, if the block failed on process 0.
    """
    peers = join(torch.device("cpu"), 10.0)
    if peers is None:
        yield
        return
    if peers.rank:
        wait_for_main(peers)
        yield
        return
    done = False
    try:
        yield
        done = True
    finally:
        wait_for_main(peers, done)
