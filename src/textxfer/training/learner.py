"""The Learner: a model, its data, its optimizer and the fits that train it.

The loop stands in `loop.py`; everything optional is a callback. Three functions are meant to be replaced where speed
asks for it: `learn.forward`, `learn.compute` and `step.update`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from textxfer.batch import Batch, Loader, Loaders
from textxfer.training import checkpoint
from textxfer.training.callback import Callback
from textxfer.training.dispatch import Dispatcher
from textxfer.training.evaluation import predict, validate
from textxfer.training.groups import Optimizer, apply_trainable, layer_groups, trainable_groups
from textxfer.training.history import History
from textxfer.training.loop import compute, run_fit
from textxfer.training.metrics import Loss, Metric, MetricGroup, validation_metrics
from textxfer.training.pages import keep_pages
from textxfer.training.param_schedule import ParamSchedule
from textxfer.training.schedule import OneCycle, SlantedTriangular, one_cycle_momentum
from textxfer.training.state import TrainingState
from textxfer.training.step import Progress, Step

if TYPE_CHECKING:
    from textxfer.training.lr_find import LRFinderResult

Model = TypeVar("Model", bound=nn.Module)
AnyCallback = TypeVar("AnyCallback", bound=Callback)


class Learner(Generic[Model]):
    """Trains a model on batches, with everything optional as callbacks.

    Args:
        model: Returns a prediction tensor, or a record with a field `logits`. It may list its layer groups
            (`layer_groups()`), from input to output.
        loaders: Training and validation batches.
        loss_fn: From prediction and target to the mean loss over the targets that count, a scalar.
        metrics: Computed on validation data beside the loss, weighted by what counts.
        callbacks: Act in every fit of this learner.
        optimizer: How to build the optimizer; its moments live as long as the learner.
        device: Where to train; the GPU if there is one.

    Raises:
        ValueError: Two metrics have the same name, or one has that of another column of the history.

    Attributes:
        forward: The function called with `step.inputs`; the model unless a callback puts something around it.
        compute: Forward pass, loss and backward pass of one step: the part that a CUDA graph may record.
        step: What lives for one batch.
        progress: Where the fit stands.
        history: Rows per batch and per epoch over all fits.
        results: Metrics of the pass that was closed last, with `loss`.
        error: What ended the last fit early, or None.
        stopping: Whether `stop()` was called in this fit.
        trainable: Indices of the layer groups that train.
        fits_done: Number of fits that came to their end.
        epoch_lengths: Batches of each epoch of the last fit that was begun.
    """

    def __init__(
        self,
        model: Model,
        loaders: Loaders,
        loss_fn: Callable[[Tensor, Tensor], Tensor],
        *,
        metrics: Sequence[Metric] = (),
        callbacks: Sequence[Callback] = (),
        optimizer: Optimizer | None = None,
        device: str | torch.device | None = None,
    ) -> None:
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.model: Model = model.to(self.device)
        self.loaders = loaders
        self.loss_fn = loss_fn
        self._metrics = tuple(metrics)
        self.pass_metrics = {True: MetricGroup([Loss()]), False: validation_metrics(self._metrics)}
        self.next_metrics: MetricGroup | None = None
        self.callbacks = list(callbacks)
        self.groups = layer_groups(model)
        self.optimizer = (optimizer or Optimizer()).build(self.groups)
        self.trainable = trainable_groups(self.groups)
        self.forward: Callable[..., Any] = self.model
        self.compute: Callable[[Step], None] = partial(compute, self)
        self.step = Step(0, False, Batch((), None, 0))
        self.progress = Progress()
        self.history = History()
        self.results: dict[str, float] = {}
        self.error: BaseException | None = None
        self.stopping = False
        self.fits_done = self.fits_begun = 0
        self.epochs_done = 0
        self.epoch_lengths: list[int] = []
        self.in_fit = False
        self.savepoint: tuple[int, int] | None = None
        self.resumed: TrainingState | None = None
        self.dispatch = Dispatcher([])
        self.fire = self.dispatch.table(training=True)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics that validation computes beside the loss.

        A tuple: assign another to compute that from the next pass on, `learn.metrics = [*learn.metrics, ErrorRate()]`.

        Raises:
            ValueError: Two have the same name, or one is called like a column that the history has anyway.
        """
        return self._metrics

    @metrics.setter
    def metrics(self, metrics: Sequence[Metric]) -> None:
        metrics = tuple(metrics)
        self.next_metrics = validation_metrics(metrics)
        self._metrics = metrics

    # ---- fitting -------------------------------------------------------------------------------------------------

    def fit(self, n_epochs: int, lr: float, callbacks: Sequence[Callback] = ()) -> None:
        """Train for `n_epochs` passes over the training data at the rate `lr`.

        Args:
            n_epochs: Number of epochs, at least 1.
            lr: Base rate of all layer groups; schedules and `DiscriminativeLR` multiply or divide it.
            callbacks: Act in this fit only, beside the learner's own.

        Raises:
            ValueError: If `n_epochs` is below 1, the training loader is empty or a callback is given twice.
        """
        with self.activated(callbacks), keep_pages(self.device):
            run_fit(self, n_epochs, lr)
        self.fits_done += 1
        self.epochs_done += n_epochs

    @contextmanager
    def activated(self, callbacks: Sequence[Callback] = ()) -> Iterator[None]:
        """Let the learner's own callbacks and the given ones act; back to what was before on the way out.

        Args:
            callbacks: Act beside the learner's own.

        Raises:
            RuntimeError: A fit is running.
        """
        if self.in_fit:
            raise RuntimeError("a fit of this learner is already running: call fit() after it, not from a callback")
        self.dispatch = Dispatcher([*self.callbacks, *callbacks])
        self.fire = self.dispatch.table(training=True)
        self.in_fit = True
        try:
            yield
        finally:
            self.in_fit = False
            self.dispatch = Dispatcher([])
            self.fire = self.dispatch.table(training=True)

    # ---- fits with a schedule ------------------------------------------------------------------------------------

    def fit_one_cycle(
        self,
        n_epochs: int,
        lr: float,
        *,
        warmup: float = 0.25,
        div: float = 25.0,
        final_div: float = 1e5,
        momentum: tuple[float, float] | None = (0.8, 0.7),
        callbacks: Sequence[Callback] = (),
    ) -> None:
        """Train with one cycle of the rate (Smith 2018): up from `lr / div` to `lr`, down to `lr / final_div`.

        Args:
            n_epochs: Number of epochs.
            lr: The highest rate.
            warmup: Share of the updates on the way up.
            div: The first rate is `lr / div`.
            final_div: The last rate is `lr / final_div`.
            momentum: Highest and lowest momentum, cycled against the rate; None leaves it alone.
            callbacks: Act in this fit only.
        """
        cycled = None if momentum is None else one_cycle_momentum(*momentum, warmup=warmup)
        schedule = ParamSchedule(lr=OneCycle(warmup, div, final_div), momentum=cycled)
        self.fit(n_epochs, lr, [*callbacks, schedule])

    def fit_slanted(
        self, n_epochs: int, lr: float, *, cut: float = 0.1, ratio: float = 32, callbacks: Sequence[Callback] = ()
    ) -> None:
        """Train with slanted triangular rates (Howard & Ruder 2018, section 3.2).

        Args:
            n_epochs: Number of epochs.
            lr: The highest rate, eta_max.
            cut: Share of the updates on the way up, cut_frac.
            ratio: How much smaller the lowest rate is than the highest.
            callbacks: Act in this fit only.
        """
        self.fit(n_epochs, lr, [*callbacks, ParamSchedule(lr=SlantedTriangular(cut, ratio))])

    def lr_find(self, start: float = 1e-7, end: float = 10.0, n_steps: int = 100) -> LRFinderResult:
        """Try rates and report the loss at each; leaves no trace on the learner.

        Args:
            start: First rate, > 0.
            end: Last rate, > `start`; the test ends earlier where the loss explodes.
            n_steps: Number of updates, >= 2; the rate grows by the same factor with each.

        Returns:
            Rates, losses and two suggestions.

        Source: Smith 2017, "Cyclical Learning Rates for Training Neural Networks", section 3.3.
        """
        from textxfer.training.lr_find import find_lr

        return find_lr(self, start, end, n_steps)

    # ---- evaluation ----------------------------------------------------------------------------------------------

    def validate(self, loader: Loader | None = None) -> dict[str, float]:
        """Compute loss and metrics; fires no fit events, writes no history.

        Args:
            loader: The batches; the learner's validation loader if None. Of an empty one all figures are NaN.

        Returns:
            The figures by name, `loss` among them.

        Raises:
            ValueError: There is no loader.
        """
        loader = self.loaders.valid if loader is None else loader
        if loader is None:
            raise ValueError("this learner has no validation loader: pass one to validate()")
        return validate(self, loader)

    def predict(self, loader: Loader) -> Tensor:
        """Predict every batch of a loader.

        Args:
            loader: The batches, with or without targets.

        Returns:
            The predictions of all batches one after the other, such as (N, C), float32, on the CPU.
        """
        return predict(self, loader)

    # ---- what callbacks and users ask for ------------------------------------------------------------------------

    def stop(self) -> None:
        """End the fit after this batch: the pass is closed, and the epoch is not validated.

        A validation that has begun is finished first.
        """
        self.stopping = True

    def ended(self) -> bool:
        """Whether the fit is over, as the loop asks before each epoch and before its validation.

        `DataParallel` asks all processes.
        """
        return self.stopping

    @property
    def active_callbacks(self) -> list[Callback]:
        """The callbacks of the current fit in their order or, outside of fits, the learner's own."""
        return self.dispatch.callbacks if self.in_fit else self.callbacks

    def callback(self, cls: type[AnyCallback]) -> AnyCallback:
        """Return the callback of a class: the one that acts in the current fit, or one of the learner's own.

        Args:
            cls: The class, or one that it is derived from.

        Raises:
            KeyError: If there is none; the message lists those present.
        """
        for callback in self.active_callbacks:
            if isinstance(callback, cls):
                return callback
        names = ", ".join(type(callback).__name__ for callback in self.active_callbacks) or "none"
        raise KeyError(f"no {cls.__name__} among the callbacks; present: {names}")

    def plan_updates(self, every: int) -> None:
        """Plan the fit's updates, which schedules count: one per group of batches, and one at the end of each epoch.

        Args:
            every: Batches in a group, >= 1.
        """
        self.progress = replace(self.progress, n_steps=sum(ceil(length / every) for length in self.epoch_lengths))

    def freeze_to(self, index: int) -> None:
        """Train the layer groups from an index on and freeze those below.

        Args:
            index: The first group that trains; negative ones count from the end, the number of groups freezes all.

        Raises:
            ValueError: The model has no such group.
        """
        n_groups = len(self.groups)
        if not -n_groups <= index <= n_groups:
            raise ValueError(f"freeze_to({index}): this model has {n_groups} layer groups")
        self.set_trainable(range(index % n_groups if index < n_groups else n_groups, n_groups))

    def freeze(self) -> None:
        """Train the last layer group only."""
        self.freeze_to(-1)

    def unfreeze(self) -> None:
        """Train all layer groups.

        A group that trains already is left alone, with the parameters in it that were frozen by hand
        (`requires_grad_(False)`). `set_trainable([])` and then `unfreeze()` lets every parameter train.
        """
        self.freeze_to(0)

    def set_trainable(self, indices: Collection[int]) -> None:
        """Train exactly these layer groups.

        Args:
            indices: Their indices, from 0 at the input; none freezes all.

        Raises:
            ValueError: The model has no such group.
        """
        chosen = tuple(sorted(set(indices)))
        if chosen and not (chosen[0] >= 0 and chosen[-1] < len(self.groups)):
            raise ValueError(f"layer groups {chosen} asked for; this model has 0 to {len(self.groups) - 1}")
        if apply_trainable(self.groups, chosen, self.trainable):
            self.trainable = chosen
            with ExitStack() as stack:
                if not self.in_fit:
                    stack.enter_context(self.activated())
                # The training table even after an error in validation: callbacks of training alone must hear of it too.
                self.dispatch.table(training=True)(Callback.on_freeze, self)

    def show_loop(self, callbacks: Sequence[Callback] = ()) -> None:
        """Print the loop, with the callbacks of the current or next fit at the lines where they act.

        Args:
            callbacks: Those that the next fit is to have, beside the learner's own; of no account within a fit.
        """
        print((self.dispatch if self.in_fit else Dispatcher([*self.callbacks, *callbacks])).describe())

    def save(self, folder: str | Path) -> Path:
        """Write the full training state into a new sub-folder.

        May be called outside of fits and, from callbacks, in `after_batch` of training and in `after_epoch`.

        Args:
            folder: Where the sub-folder `step-...` goes.

        Returns:
            The sub-folder.
        """
        return checkpoint.save(self, Path(folder))

    def resume(self, folder: str | Path) -> None:
        """Take back the state that `save` wrote; the next call of the interrupted `fit...` goes on where it was.

        A fit that the state does not belong to is refused, and the state waits for the right one.

        Args:
            folder: What `save` was given, for the latest state, or the sub-folder of another one.

        Raises:
            CheckpointError: There is no state, it is damaged or does not fit the learner, or a fit is running.
        """
        checkpoint.resume(self, Path(folder))
