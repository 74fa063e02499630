"""Training states of several processes: the state of one process that has trained alone.

Each process has a part of the texts, hence a part of the sums in metrics, of the gradients of an update that is held,
and of the hidden states. While a state is written, process 0 has them all, so that any number of processes can go on
from it, one included.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from textxfer.callbacks._peers import PeerError, Peers
from textxfer.callbacks._reduce import sum_gradients, sum_metrics
from textxfer.callbacks.recurrent import CarryHidden
from textxfer.training.state import CheckpointError

if TYPE_CHECKING:
    from textxfer.training.learner import Learner


@contextmanager
def collected(learn: Learner, peers: Peers, bucket_bytes: float) -> Iterator[None]:
    """Let process 0 have the parts of all while the block runs. Sums stay with it; hidden states go back.

    Args:
        learn: The learner, behind a batch of training.
        peers: The processes; all of them call this at the same batch.
        bucket_bytes: As `sum_gradients`.
    """
    metrics = learn.pass_metrics[True]
    sum_gradients(peers, learn.model, bucket_bytes)
    sum_metrics(peers, metrics, learn.device)
    if peers.rank:  # what process 0 has taken over must not be added again
        metrics.reset()
        learn.optimizer.zero_grad(set_to_none=True)
    carry = _carry(learn)
    own = {} if carry is None else carry.state_dict()
    sizes = peers.gather_ints(len(own), *(own["0/0"].shape if own else (0, 0)))
    if any(size != sizes[0] for size in sizes):
        raise PeerError(f"the processes carry hidden states of different shapes: {sizes}")
    if carry is None or not own:
        yield
        return
    carry.load_state_dict({key: peers.stacked(item) for key, item in own.items()})
    try:
        yield
    finally:
        carry.load_state_dict(own)


def dealt(learn: Learner, peers: Peers) -> None:
    """Take the own part of a state that was just resumed.

    Args:
        learn: The learner, before the first batch.
        peers: The processes.

    Raises:
        CheckpointError: The lanes of the state cannot be dealt evenly.
    """
    if peers.rank:
        learn.pass_metrics[True].reset()
        learn.optimizer.zero_grad(set_to_none=True)
    carry = _carry(learn)
    whole = {} if carry is None else carry.state_dict()
    if carry is None or not whole:
        return
    lanes = len(whole["0/0"])
    if lanes % peers.world:
        raise CheckpointError(f"the state has {lanes} lanes, which {peers.world} processes cannot share evenly")
    carry.load_state_dict({key: item.chunk(peers.world)[peers.rank] for key, item in whole.items()})


def _carry(learn: Learner) -> CarryHidden | None:
    return next((each for each in learn.active_callbacks if isinstance(each, CarryHidden)), None)
