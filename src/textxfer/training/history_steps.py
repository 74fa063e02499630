"""The training batches of a history, as columns. Losses stay on their device until somebody looks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypedDict

import torch
from torch import Tensor

from textxfer.training.metric import sum_dtype

_MAX_PENDING = 4096
_COLUMNS = ("fit", "epoch", "batch", "step", "loss", "n", "momentum")


class StepColumns(TypedDict):
    """The training batches as columns of equal length.

    Keys:
        fit, epoch, batch: Where the batch stood: number of the fit, of the epoch in it, of the batch in that.
        step: Optimizer updates made in the fit so far.
        loss: Reported loss of the batch.
        n: Number of targets that counted.
        momentum: Momentum or first beta; None where the optimizer has neither.
        lrs: Learning rate by layer group; NaN while the group was frozen.
    """

    fit: list[int]
    epoch: list[int]
    batch: list[int]
    step: list[int]
    loss: list[float]
    n: list[int]
    momentum: list[float | None]
    lrs: dict[str, list[float]]


class StepLog:
    """Columns that grow by a row per batch, without waiting for the device.

    Args:
        columns: What to begin with; nothing if None.

    Raises:
        ValueError: The columns are damaged.
    """

    def __init__(self, columns: StepColumns | None = None) -> None:
        self._columns = _no_steps() if columns is None else _checked(columns)
        self._pending: list[tuple[int, Tensor]] = []

    def __len__(self) -> int:
        return len(self._columns["fit"])

    def columns(self) -> StepColumns:
        """Return the columns themselves. Losses still on a device are fetched, all in one transfer."""
        self._settle()
        return self._columns

    def add(self, row: Mapping[str, Any], loss: Tensor | float, lrs: Mapping[str, float]) -> None:
        """Add a batch.

        Args:
            row: All other columns by name.
            loss: Reported loss, a number or a scalar tensor, which is copied and read later.
            lrs: Learning rate of each layer group that trains.
        """
        if isinstance(loss, Tensor):
            self._postpone(loss)
            loss = math.nan
        self._add_rates(lrs)
        values: dict[str, Any] = {**row, "loss": loss}
        for name in _COLUMNS:
            self._columns[name].append(values[name])

    def correct_n(self, n: int) -> None:
        """Set how many targets of the last batch count, if there is one."""
        if len(self):
            self._columns["n"][-1] = n

    def _add_rates(self, lrs: Mapping[str, float]) -> None:
        columns = self._columns["lrs"]
        for group in lrs:
            if group not in columns:
                columns[group] = [math.nan] * len(self)
        for group, rates in columns.items():
            rates.append(lrs.get(group, math.nan))

    def _postpone(self, loss: Tensor) -> None:
        if len(self._pending) >= _MAX_PENDING or (self._pending and self._pending[0][1].device != loss.device):
            self._settle()
        # A copy: a captured CUDA graph writes the next loss into the same memory.
        self._pending.append((len(self), loss.detach().reshape(()).to(sum_dtype(loss.device), copy=True)))

    def _settle(self) -> None:
        pending, self._pending = self._pending, []
        if pending:
            for (row, _), value in zip(pending, torch.stack([loss for _, loss in pending]).tolist()):
                self._columns["loss"][row] = value


def _no_steps() -> StepColumns:
    return {"fit": [], "epoch": [], "batch": [], "step": [], "loss": [], "n": [], "momentum": [], "lrs": {}}


def _checked(columns: Any) -> StepColumns:
    lists = [*(columns[name] for name in _COLUMNS), *columns["lrs"].values()]
    if not all(isinstance(each, list) for each in lists):
        raise ValueError("a column of this history is no list: it is damaged")
    if len({len(each) for each in lists}) != 1:
        raise ValueError("the columns of this history differ in length: it is damaged")
    return columns
