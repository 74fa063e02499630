"""One training by several processes, each with its part of every batch."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor

from textxfer.batch import Batch, Loader, Loaders
from textxfer.callbacks import _shares
from textxfer.callbacks._meeting import Point, Quiet, check_same, description, exchange, met
from textxfer.callbacks._peers import PeerError, Peers, join
from textxfer.callbacks._pieces import collected, dealt
from textxfer.callbacks._reduce import sum_gradients, sum_metrics
from textxfer.chance import generator, generator_state, seed_generator, set_generator_state
from textxfer.training.callback import Callback, Order
from textxfer.training.metric import SumMetric

if TYPE_CHECKING:
    from textxfer.training.learner import Learner

__all__ = ["DataParallel", "PeerError"]

_SEEDS = 2**62


@final
class DataParallel(Callback):
    """Train with other processes, each on its part of every batch; alone it does nothing.

    The processes are those that `torchrun` has started, or those of the process group that is there. All of them run
    the same program. Their loaders are built with `rank` and `world`, and each gives its part of the same batch.
    Together they compute what one process with the whole batch computes: gradient of the mean over all targets that
    count, penalties, batch normalization, metrics and history. Only process 0 reports and saves. The random numbers
    of a batch, hence its dropout, are of each process's own; all others are the same on all.

    Gradients are summed after the backward pass of the batch whose update is due. Saved states are those of a
    single process: any number of processes that divides the batch can go on from them.

    A callback of your own that writes says `main_only = True`; then it acts on process 0 alone. `validate` and
    `predict` of the learner are called on all processes. Not with `CapturedStep`.

    Args:
        bucket_mb: Small gradients travel together, in pieces of about so many megabytes, > 0.
        timeout_minutes: Time in which the others must answer before they count as lost, > 0. Where the process group
            is there already, its own time counts for what goes through it.

    Raises:
        ValueError: A number is out of its range, or a loader was built for another process.
        PeerError: Another process is lost, or does something else than this one.

    Source: Goyal et al. 2017, "Accurate, Large Minibatch SGD", section 3, on what has to be summed.
    """

    order = Order.DATA  # gradients and metrics are whole before any other callback looks at them

    def __init__(self, bucket_mb: float = 25.0, timeout_minutes: float = 10.0) -> None:
        for name, value in (("bucket_mb", bucket_mb), ("timeout_minutes", timeout_minutes)):
            if not value > 0:
                raise ValueError(f"{name} must be > 0, not {value!r}")
        self.bucket_mb = bucket_mb
        self.timeout_minutes = timeout_minutes
        self._peers: Peers | None = None
        self._undo = ExitStack()
        self._n = self._own_n = 0
        self._loss: Tensor | None = None
        self._random: Tensor | None = None

    def before_fit(self, learn: Learner) -> None:
        """Find the others, compare what is to be done, and let only process 0 write."""
        self._peers = peers = join(learn.device, self.timeout_minutes)
        if peers is None:
            return
        _check_loaders(learn, peers)
        check_same(peers, description(learn), "the processes do not train the same")
        peers.from_main_([tensor.detach() for tensor in _weights(learn)])
        undo = self._undo
        _shares.share_statistics(learn.model, peers, lambda: learn.step.n > 0, undo)
        undo.callback(setattr, learn, "loaders", learn.loaders)
        meet = partial(self._meet, learn, peers, [learn.resumed is not None])
        learn.loaders = Loaders(met(learn.loaders.train, meet), learn.loaders.valid)
        undo.callback(vars(learn).pop, "save", None)
        setattr(learn, "save", partial(self._save, learn, peers, learn.save))  # noqa: B010  a method, for this fit
        undo.callback(vars(learn).pop, "ended", None)
        setattr(learn, "ended", partial(self._ended, learn, peers))  # noqa: B010  likewise
        _be_quiet(learn, peers, training=True)

    def before_epoch(self, learn: Learner) -> None:
        """Check that all still have the same weights."""
        if self._peers is not None:
            total = sum(tensor.detach().double().square().sum() for tensor in learn.model.parameters())
            check_same(self._peers, str(float(total)), "the weights differ, as sums of squares")

    def before_valid(self, learn: Learner) -> None:
        """Let only process 0 report, also outside of fits."""
        if self._peers is None and (peers := join(learn.device, self.timeout_minutes)) is not None:
            _be_quiet(learn, peers, training=False)

    def before_batch(self, learn: Learner) -> None:
        """Draw the random numbers of the batch from a generator of the process's own."""
        if self._peers is None or not learn.step.training:
            return
        self._own_n = learn.step.n
        seed = int(torch.randint(_SEEDS, (), generator=generator()))
        self._random = generator_state()
        seed_generator(seed + self._peers.rank)

    def after_loss(self, learn: Learner) -> None:
        """Learn what the batches of all have in them, and weight the activations that penalties will read."""
        step = learn.step
        if self._peers is None or not step.training:
            return
        own = _shares.shares_of(step.out, step.loss, step.n)
        total = _shares.summed(self._peers, own)
        self._loss = (total.loss / total.n.clamp(min=1)).to(step.loss.dtype)
        step.out = _shares.weighted_output(step.out, own, total)

    def before_backward(self, learn: Learner) -> None:
        """Weight the objective by what counts; until the gradients are there, the batch is that of all."""
        if self._peers is None:
            return
        step = learn.step
        if step.n != self._n:
            step.objective = step.objective * (step.n / max(self._n, 1))
        step.n = self._n

    def after_backward(self, learn: Learner) -> None:
        """Sum the gradients if an update is due; the reported loss becomes that of all."""
        if self._peers is None:
            return
        self._restore_random()
        step = learn.step
        step.n = self._own_n  # metrics count what this process has seen, and are summed in the end
        if self._loss is not None:
            step.loss = self._loss
        if step.update is not None:
            sum_gradients(self._peers, learn.model, self._bucket_bytes)

    def after_batch(self, learn: Learner) -> None:
        """Let history and report count the targets of all."""
        if self._peers is not None and learn.step.training:
            learn.step.n = self._n
            learn.history.correct_n(self._n)

    def after_train(self, learn: Learner) -> None:
        """Sum the metrics."""
        self._sum_metrics(learn, training=True)

    def after_valid(self, learn: Learner) -> None:
        """Sum the metrics."""
        self._sum_metrics(learn, training=False)

    def after_fit(self, learn: Learner) -> None:
        """Let all have the weights of process 0, such as the best ones; put everything back."""
        peers, self._peers = self._peers, None
        self._restore_random()
        self._loss = None
        self._undo.close()
        if peers is not None and learn.error is None:
            exchange(learn, peers, Point.FIT_END, 0, _nothing)
            peers.from_main_([tensor.detach() for tensor in _weights(learn)])

    @property
    def _bucket_bytes(self) -> float:
        return self.bucket_mb * 1e6

    def _meet(self, learn: Learner, peers: Peers, resumed: list[bool], batch: Batch | None) -> bool:
        """Wait for the others before a batch; before the first one of a resumed fit, take the own part of the state."""
        if resumed[0]:
            dealt(learn, peers)
            resumed[0] = False
        place = Point.PASS_END if batch is None else Point.BATCH
        self._n = exchange(learn, peers, place, 0 if batch is None else batch.n, partial(self._join_in, learn, peers))
        return not learn.stopping

    def _ended(self, learn: Learner, peers: Peers) -> bool:
        """Agree before an epoch or its validation on whether there is one: any process may have been told to stop."""
        exchange(learn, peers, Point.EPOCH, 0, _nothing)
        return learn.stopping

    def _join_in(self, learn: Learner, peers: Peers) -> None:
        """Give process 0 the parts of a state that it saves."""
        with collected(learn, peers, self._bucket_bytes):
            pass

    def _save(self, learn: Learner, peers: Peers, save: Callable[[Path], Path], folder: str | Path) -> Path:
        """Save on process 0 what all have; the others have no state to write."""
        if peers.rank:
            return Path(folder)
        if not (learn.savepoint and learn.savepoint[1]):  # between passes nobody has parts
            return save(Path(folder))
        exchange(learn, peers, Point.SAVE, 0, _nothing)
        with collected(learn, peers, self._bucket_bytes):
            return save(Path(folder))

    def _sum_metrics(self, learn: Learner, training: bool) -> None:
        peers = self._peers or join(learn.device, self.timeout_minutes)
        if peers is None:
            return
        metrics = learn.pass_metrics[training]
        if foreign := [metric.name for metric in metrics if not isinstance(metric, SumMetric)]:
            raise TypeError(f"metrics of several processes are put together from sums; no SumMetric: {foreign}")
        sum_metrics(peers, metrics, learn.device)
        learn.results = metrics.compute()

    def _restore_random(self) -> None:
        if self._random is not None:
            set_generator_state(self._random)
            self._random = None


def _weights(learn: Learner) -> list[Tensor]:
    return [*learn.model.parameters(), *learn.model.buffers()]


def _nothing() -> None:
    """Do nothing: nobody can save here."""


def _be_quiet(learn: Learner, peers: Peers, *, training: bool) -> None:
    if peers.rank:
        learn.dispatch = Quiet(learn.dispatch.callbacks)
        learn.fire = learn.dispatch.table(training)


def _check_loaders(learn: Learner, peers: Peers) -> None:
    """Refuse loaders of this package that were not told which process they are for."""
    loaders: list[Loader | None] = [learn.loaders.train, learn.loaders.valid]
    for name, loader in zip(("training", "validation"), loaders):
        place: tuple[Any, Any] = (getattr(loader, "rank", peers.rank), getattr(loader, "world", peers.world))
        if place != (peers.rank, peers.world):
            raise ValueError(
                f"the {name} loader is that of process {place[0]} of {place[1]}, this is process {peers.rank} of "
                f"{peers.world}: build it with rank={peers.rank}, world={peers.world} "
                "(textxfer.distributed.start() returns both)"
            )
