"""Training that leaves no trace: afterwards the learner is as it was, however the training ended."""

from __future__ import annotations

import copy
import random
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from textxfer.batch import Batch, Loader, Loaders, batches_from, epoch_length
from textxfer.training.callback import Order
from textxfer.training.history import History
from textxfer.training.metric_group import MetricGroup
from textxfer.training.metrics import Loss
from textxfer.training.param_schedule import ParamSchedule
from textxfer.training.state import capture
from textxfer.training.state_restore import restore

if TYPE_CHECKING:
    from textxfer.training.learner import Learner


@contextmanager
def sandbox(learn: Learner) -> Iterator[None]:
    """Let a learner train as it would, and put everything back at the end, also after an error or Ctrl-C.

    Inside, the training data have no end, there are no validation data, the history is empty, and of the learner's
    callbacks those act that are neither a schedule nor report or save: nothing is written to disk. What is put back:
    weights, buffers, gradients, optimizer, rates, frozen groups, random generators (those of the loader too),
    history, progress, callbacks. The copy in memory is as large as the model and its optimizer state.

    Args:
        learn: The learner; not within a fit.

    Raises:
        RuntimeError: A fit is running.
    """
    if learn.in_fit:
        raise RuntimeError("a fit of this learner is running: call lr_find() before or after it")
    with ExitStack() as undo:
        undo.callback(_set_attributes, learn, dict(vars(learn)))
        learn.history, learn.resumed = History(), None
        _keep_outside_of_state(learn, undo)
        undo.callback(restore, learn, capture(learn).clone())
        _leave_out_callbacks(learn, undo)
        learn.pass_metrics = {True: MetricGroup([Loss()]), False: MetricGroup([Loss()])}
        learn.loaders = Loaders(_Endless(learn.loaders.train, learn.epochs_done))
        yield


def _leave_out_callbacks(learn: Learner, undo: ExitStack) -> None:
    """Let only those callbacks act that may; keep what all of them hold beside their state."""
    undo.callback(setattr, learn, "callbacks", learn.callbacks)
    for callback in learn.callbacks:
        undo.callback(_set_attributes, callback, dict(vars(callback)))
    learn.callbacks = [
        callback
        for callback in learn.callbacks
        if callback.order not in (Order.REPORT, Order.SAVE) and not isinstance(callback, ParamSchedule)
    ]


def _set_attributes(owner: object, attributes: dict[str, Any]) -> None:
    vars(owner).clear()
    vars(owner).update(attributes)


def _keep_outside_of_state(learn: Learner, undo: ExitStack) -> None:
    """Keep what the training state leaves out: modes, gradients, passing buffers and the loader's generators."""
    for module in learn.model.modules():
        undo.callback(setattr, module, "training", module.training)
    for param in learn.model.parameters():
        undo.callback(param.requires_grad_, param.requires_grad)  # a part of a group may be frozen by hand
        undo.callback(setattr, param, "grad", param.grad)
        param.grad = None
    saved = learn.model.state_dict()
    for name, buffer in learn.model.named_buffers():
        if name not in saved:
            undo.callback(_set_buffer, learn.model, name, buffer.clone())
    for generator in _generators(learn.loaders.train):
        undo.callback(*_rewind(generator))


def _set_buffer(model: nn.Module, name: str, value: Tensor) -> None:
    model.get_buffer(name).copy_(value)


def _generators(loader: Any) -> list[Any]:
    """Find the random generators that a loader keeps, itself or in a sampler (torch's `DataLoader` does)."""
    kinds = (torch.Generator, np.random.Generator, random.Random)
    parts = (loader, getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None))
    values = [value for part in parts for value in getattr(part, "__dict__", {}).values()]
    return list({id(value): value for value in values if isinstance(value, kinds)}.values())


def _rewind(generator: Any) -> tuple[Any, ...]:
    """Return a function and its arguments that put a generator back to where it is now."""
    if isinstance(generator, torch.Generator):
        return generator.set_state, generator.get_state()
    if isinstance(generator, random.Random):
        return generator.setstate, generator.getstate()
    return partial(setattr, generator.bit_generator, "state"), copy.deepcopy(generator.bit_generator.state)


class _Endless:
    """The epochs of a loader one after the other, as one epoch that does not end.

    Works on a copy of the loader, so that the epoch and position of the loader itself stay.
    """

    def __init__(self, loader: Loader, epoch: int) -> None:
        self._loader, self._epoch = copy.copy(loader), epoch

    def __len__(self) -> int:
        return sys.maxsize if epoch_length(self._loader, self._epoch) else 0

    def __iter__(self) -> Iterator[Batch]:
        for epoch in count(self._epoch):
            epoch_length(self._loader, epoch)
            batch = None
            for batch in batches_from(self._loader):
                yield batch
            if batch is None:  # nothing more will come
                return
