"""Weights and training states on disk, written while training; each file or folder is complete or absent."""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import torch
from safetensors import safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from textxfer.callbacks._tracked import Tracked, track
from textxfer.callbacks.average import WeightAverage
from textxfer.files import remove_folder, write_bytes
from textxfer.training.callback import Callback, Order
from textxfer.training.checkpoint import checkpoints, next_state
from textxfer.training.metrics import Metric

if TYPE_CHECKING:
    from textxfer.training.learner import Learner

_log = logging.getLogger(__name__)
_CLOCK_STEP = 0.01
"""Seconds by which a file system's clock may lag behind the time of day."""


@final
class SaveBest(Callback):
    """Save the weights whenever a validation metric improves, and end the fit with the best ones.

    The metric says itself whether lower or higher is better. What is saved are the weights that were validated: with
    `WeightAverage`, the average. A fit in which nothing was saved, because no value was a number, leaves the weights
    alone and says so; so does a fit that ends with an error.

    Args:
        folder: Where `best.safetensors` goes: the weights by name. It is replaced in each fit.
        metric: A metric of the learner or its name; `loss` is the validation loss.
        restore: Whether to put the best weights into the model at the end of the fit.

    Attributes:
        best: The best value of the fit; None before the first.
        best_epoch: The epoch of that value.
    """

    order = Order.REPORT  # before SaveEvery, whose state shall know of it
    main_only = True

    def __init__(self, folder: str | Path, metric: Metric | str = "loss", restore: bool = True) -> None:
        self.folder = os.fspath(folder)
        self.metric = metric
        self.restore = restore
        self.best: float | None = None
        self.best_epoch: int | None = None
        self._tracked: Tracked | None = None

    @property
    def path(self) -> Path:
        """The file with the best weights."""
        return Path(self.folder) / "best.safetensors"

    def before_fit(self, learn: Learner) -> None:
        """Find the metric; start anew."""
        self.best = self.best_epoch = None
        self._tracked = track(learn, self.metric, self)

    def after_epoch(self, learn: Learner) -> None:
        """Save if the epoch was the best so far."""
        value = None if self._tracked is None else self._tracked.latest(learn)
        if self._tracked is None or value is None or not self._tracked.is_better(value, self.best):
            return
        self.best, self.best_epoch = value, learn.progress.epoch
        tensors = _weights(learn.model)
        for callback in learn.active_callbacks:
            tensors |= callback.weights if isinstance(callback, WeightAverage) else {}
        tensors = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
        write_bytes(self.path, to_bytes(tensors, self._label(learn)))

    def after_fit(self, learn: Learner) -> None:
        """Restore the best weights of this fit."""
        if learn.error is not None or not self.restore or self._tracked is None:
            return
        if self.best is None:
            _log.warning("%r: no epoch of this fit had a usable value; the weights stay as they are", self)
            return
        with safe_open(self.path, "pt") as file:
            if file.metadata() != self._label(learn):
                _log.warning("%r: %s is not of this fit; the weights stay as they are", self, self.path)
                return
            _load(learn.model, {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118  not a dict

    def state_dict(self) -> dict[str, Any]:
        """Return the best value and its epoch; the weights are on disk."""
        return {"best": self.best, "best_epoch": self.best_epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        self.best, self.best_epoch = state["best"], state["best_epoch"]

    def _label(self, learn: Learner) -> dict[str, str]:
        """Return what tells the file from one of another fit."""
        tracked = self._tracked.metric.name if self._tracked else ""
        values = {"fit": learn.progress.fit, "epoch": self.best_epoch, "metric": tracked, "value": self.best}
        return {key: json.dumps(value) for key, value in values.items()}


@final
class SaveEvery(Callback):
    """Save the full training state from time to time, so that an interrupted run can go on; see `Learner.resume`.

    States go to sub-folders `step-...` of the folder. Of those that this callback wrote the last few are kept, and the
    one of the best epoch if asked for; what lay there before is left alone.

    Args:
        folder: Where the states go.
        epochs: Save after this many epochs, >= 1; 1 if nothing else is given.
        batches: Save after this many training batches, >= 1, counted over the epochs of a fit.
        minutes: Save when this much time has passed since the last state, > 0.
        keep_last: How many states to keep, >= 1.
        keep_best: A metric of the learner or its name (`loss` is the validation loss). The state after the epoch with
            its best value is saved, whether one is due or not, and kept beside the last ones.

    Attributes:
        best: The folder of the best state, and its value; None before the first.

    Raises:
        ValueError: More than one of `epochs`, `batches` and `minutes` is given, or a number is out of its range.
    """

    order = Order.SAVE
    train_only = True
    main_only = True

    def __init__(
        self,
        folder: str | Path,
        epochs: int | None = None,
        batches: int | None = None,
        minutes: float | None = None,
        keep_last: int = 2,
        keep_best: Metric | str | None = None,
    ) -> None:
        self.folder = os.fspath(folder)
        given = {"epochs": epochs, "batches": batches, "minutes": minutes}
        given = {name: value for name, value in given.items() if value is not None} or {"epochs": 1}
        if len(given) > 1:
            raise ValueError(f"SaveEvery takes one of epochs, batches and minutes, not {' and '.join(given)}")
        for name, value in (given | {"keep_last": keep_last}).items():
            if not (value > 0 and (name == "minutes" or value >= 1)):
                raise ValueError(f"{name} must be at least 1 (minutes: more than 0), not {value!r}")
        self.epochs, self.batches, self.minutes = (given.get(name) for name in ("epochs", "batches", "minutes"))
        self.keep_last, self.keep_best = keep_last, keep_best
        self.best: tuple[str, float] | None = None
        self._tracked: Tracked | None = None
        self._began: float | None = None
        self._n_batches = 0
        self._last = 0.0

    def before_fit(self, learn: Learner) -> None:
        """Start counting."""
        self._n_batches, self._last = 0, time.monotonic()
        self.best, self._tracked = None, None if self.keep_best is None else track(learn, self.keep_best, self)
        if self._began is None:
            self._began = time.time() - _CLOCK_STEP

    def after_batch(self, learn: Learner) -> None:
        """Save if enough batches or minutes have passed."""
        self._n_batches += 1
        by_count = self.batches is not None and self._n_batches % self.batches == 0
        if by_count or (self.minutes is not None and time.monotonic() - self._last >= 60 * self.minutes):
            self.save(learn)

    def after_epoch(self, learn: Learner) -> None:
        """Save if enough epochs have passed, or if this one was the best so far."""
        is_due = self.epochs is not None and (learn.progress.epoch + 1) % self.epochs == 0
        value = None if self._tracked is None else self._tracked.latest(learn)
        if self._tracked is not None and value is not None:
            best = None if self.best is None else self.best[1]
            if self._tracked.is_better(value, best):
                self.best, is_due = (next_state(learn, Path(self.folder)).name, value), True
        if is_due:
            self.save(learn)

    def state_dict(self) -> dict[str, Any]:
        """Return the count of batches, since when states in the folder are this callback's, and which is the best."""
        return {"began": self._began, "n_batches": self._n_batches, "best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        self._began, self._n_batches = state["began"], state["n_batches"]
        best = state.get("best")  # states of version 0.1 have none
        self.best = None if best is None else (best[0], best[1])

    def save(self, learn: Learner) -> None:
        """Save a state now; of this callback's the last few are kept, and the best.

        Args:
            learn: The learner whose state is saved.
        """
        learn.save(self.folder)
        self._last = time.monotonic()
        best = None if self.best is None else self.best[0]
        own = [path for path in checkpoints(Path(self.folder)) if path.stat().st_mtime >= (self._began or 0)]
        own.sort(key=lambda path: (path.stat().st_mtime, path.name))
        for path in own[: -self.keep_last]:
            if path.name != best:
                remove_folder(path)


def _weights(model: nn.Module) -> dict[str, Tensor]:
    """Return parameters and saved buffers by name; a shared parameter stands there once."""
    saved = model.state_dict()
    return {
        **dict(model.named_parameters()),
        **{name: saved[name] for name, _ in model.named_buffers() if name in saved},
    }


@torch.no_grad()
def _load(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    for name, own in _weights(model).items():
        own.copy_(tensors[name])
