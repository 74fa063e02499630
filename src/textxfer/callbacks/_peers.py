"""The processes that train together, and what they tell each other.

What decides how training goes on travels through the hosts (gloo); tensors travel where they are (NCCL on GPUs).
Nothing is pickled.
"""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar
from uuid import uuid4
from weakref import WeakKeyDictionary

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

_ANSWER = timedelta(minutes=10)
"""How long processes wait for an answer where nothing else is said."""

_PATIENCE = timedelta(hours=24)
"""How long processes wait for work that one of them does for all, such as reading a corpus."""


_T = TypeVar("_T")

# What was found out or made for a group of processes, by name. It must not keep the group: the threads of gloo end with
# the last one who holds it, and after `dist.destroy_process_group()`, of whoever calls it, nobody may.
_known: WeakKeyDictionary[Any, dict[str, Any]] = WeakKeyDictionary()


class PeerError(RuntimeError):
    """Another process that trains with this one is lost, or does something else."""


class Peers:
    """The group of processes that this one belongs to.

    Args:
        timeout: Time in which the others must answer.

    Attributes:
        rank: Number of this process, from 0. Process 0 is the one that writes and reports.
        world: Number of processes.
    """

    def __init__(self, timeout: timedelta) -> None:
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self._timeout = timeout
        self._control()  # made now, while all are here

    def _control(self) -> dist.ProcessGroup | None:
        """Return the group for what travels through the hosts: None, the default one, if that is one of gloo."""
        if dist.get_backend() == "gloo":
            return None
        return _once(f"gloo, {self._timeout}", lambda: _new_group(self._timeout))

    def gather_ints(self, *values: int) -> list[list[int]]:
        """Tell all processes some whole numbers.

        Args:
            values: The numbers of this process, as many as every other one gives.

        Returns:
            What each process has told, by its rank.
        """
        own = torch.tensor(values, dtype=torch.int64)
        told = [torch.empty_like(own) for _ in range(self.world)]
        with self.contact():
            dist.all_gather(told, own, group=self._control())
        return [each.tolist() for each in told]

    def gather_texts(self, text: str) -> list[str]:
        """Tell all processes a text, and return that of each by its rank."""
        raw = text.encode()
        sizes = [size for (size,) in self.gather_ints(len(raw))]
        own = torch.zeros(max(*sizes, 1), dtype=torch.uint8)
        own[: len(raw)] = torch.frombuffer(bytearray(raw), dtype=torch.uint8) if raw else 0
        told = [torch.empty_like(own) for _ in range(self.world)]
        with self.contact():
            dist.all_gather(told, own, group=self._control())
        return [bytes(each[:size].tolist()).decode() for each, size in zip(told, sizes)]

    def sum_(self, *tensors: Tensor) -> None:
        """Replace tensors by their sums over all processes; all must be contiguous and alike everywhere."""
        with self.contact():
            works = [dist.all_reduce(tensor, async_op=True) for tensor in tensors]
            for work in works:
                if work is not None:
                    work.wait()

    def from_main_(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by those of process 0."""
        with self.contact():
            for tensor in tensors:
                copy = tensor.contiguous()
                dist.broadcast(copy, src=0)
                if copy is not tensor:
                    tensor.copy_(copy)

    def stacked(self, tensor: Tensor) -> Tensor:
        """Return the rows of all processes, in the order of their ranks; shapes are alike everywhere."""
        rows = tensor.new_zeros(self.world, *tensor.shape)
        rows[self.rank] = tensor
        self.sum_(rows)
        return rows.flatten(0, 1)

    @contextmanager
    def contact(self) -> Iterator[None]:
        """Say in plain words that an answer did not come."""
        try:
            yield
        except PeerError:
            raise
        except RuntimeError as error:  # torch has no class of its own for it
            raise PeerError(
                f"process {self.rank} of {self.world} hears no more from another one: that one has ended, does "
                "something else, or did not answer in time. What was saved last is complete; torchrun with "
                f"--max-restarts goes on from there. (torch: {str(error).splitlines()[0].split('. This')[0]})"
            ) from error


def launched() -> bool:
    """Whether torchrun, or a program that sets the same variables, started this process beside others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and {"RANK", "MASTER_ADDR"} <= os.environ.keys()


def join(device: torch.device, timeout_minutes: float) -> Peers | None:
    """Return the processes that train together; None if this one is alone.

    The process group is made if torchrun has started this process and it has none yet: gloo, and NCCL for a GPU.

    Args:
        device: Where this process computes.
        timeout_minutes: Time in which the others must answer, > 0.
    """
    if not dist.is_available():
        return None
    if not dist.is_initialized():
        if not launched():
            return None
        _begin("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timedelta(minutes=timeout_minutes))
    if dist.get_world_size() == 1:
        return None
    return Peers(timedelta(minutes=timeout_minutes))


def _begin(backend: str, timeout: timedelta) -> None:
    """Make the process group of those that torchrun has started."""
    try:
        store, rank, world = next(rendezvous("env://", timeout=timeout))
        store.set_timeout(timeout)
        own = PrefixStore(agreed_token(store, rank, world, timeout), store)
        dist.init_process_group(backend, store=own, rank=rank, world_size=world, timeout=timeout)
    except (dist.DistError, RuntimeError) as error:
        raise PeerError(f"the processes did not find each other: {error}") from error
    atexit.register(leave)


def leave() -> None:
    """Leave the process group, if there is one, so that its threads have ended before Python does.

    A thread of gloo that lets go of a tensor while Python comes to its end aborts the process, which has done all its
    work by then (torch 2.13, in one of four runs of few steps).
    """
    if dist.is_initialized():
        dist.destroy_process_group()


def agreed_token(store: Store, rank: int, world: int, timeout: timedelta) -> str:
    """Agree on a word that no earlier group of processes has used.

    After a restart torchrun (2.13) gives the new processes the store of the dead ones, in which their addresses still
    stand. So each process says hello with a word of its own; process 0 answers to each word with its own one, until all
    have taken it.

    Args:
        store: What all processes can read and write.
        rank: Number of this process.
        world: Number of processes.
        timeout: How long to wait.

    Raises:
        PeerError: The others did not come in time.
    """
    own = uuid4().hex
    store.set(f"hello/{rank}", own)
    if rank:
        store.wait([f"token/{own}"], timeout)
        token = store.get(f"token/{own}").decode()
        store.set(f"taken/{token}/{rank}", own)
        return token
    until, missing = time.monotonic() + timeout.total_seconds(), set(range(1, world))
    while missing:
        for other in [other for other in missing if store.check([f"hello/{other}"])]:
            store.set(f"token/{store.get(f'hello/{other}').decode()}", own)
        missing = {other for other in missing if not store.check([f"taken/{own}/{other}"])}
        if missing and time.monotonic() > until:
            raise PeerError(f"processes {sorted(missing)} of {world} did not come within {timeout}")
        time.sleep(0.01 if missing else 0)
    return own


def restarts() -> int:
    """Return how often `torchrun` has started the processes again after one of them failed.

    All processes call it, the first time, at the same place: they compare what their hosts have counted.
    """
    own = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    if not (dist.is_available() and dist.is_initialized()):
        return own
    return _once("restarts", lambda: max(count for (count,) in Peers(_ANSWER).gather_ints(own)))


def wait_for_main(peers: Peers, done: bool | None = None) -> None:
    """Let process 0 say that it has done something for all, while the others wait for as long as it takes.

    Args:
        peers: The processes.
        done: Of process 0: whether it has succeeded. None of the others.

    Raises:
        PeerError: It has not.
    """
    word = torch.tensor(int(bool(done)))
    with peers.contact():
        dist.broadcast(word, src=0, group=_once("patient", lambda: _new_group(_PATIENCE)))
    if done is None and not word:
        raise PeerError(f"process {peers.rank} waited for work of process 0, which has failed: see its error")


def _once(name: str, make: Callable[[], _T]) -> _T:
    """Return what `make` returned for this process group the first time; all processes call it at the same place."""
    known = _known.setdefault(dist.group.WORLD, {})
    if name not in known:
        known[name] = make()
    return known[name]


def _new_group(timeout: timedelta) -> dist.ProcessGroup:
    group = dist.new_group(backend="gloo", timeout=timeout)
    if not isinstance(group, dist.ProcessGroup):
        raise PeerError("this process is no member of its own process group")
    return group
