"""What happened: one row per epoch and one per training batch, over all fits of a learner.

The JSON form holds no NaN and no infinities, which strict readers refuse; see `non_finite`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from torch import Tensor

from textxfer.files import write_text
from textxfer.non_finite import decode, encode
from textxfer.training import history_view
from textxfer.training.history_steps import StepColumns, StepLog

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

FORMAT = 1


class History:
    """Rows per epoch, columns per training batch; later fits are added, nothing is ever cleared.

    `len` is the number of epochs, an index or a slice gives rows of epochs.

    Attributes:
        epochs: One row per epoch: `fit`, `epoch`, `train_loss`, and what else the learner reported.
    """

    def __init__(self) -> None:
        self.epochs: list[dict[str, Any]] = []
        self._steps = StepLog()

    def add_step(
        self,
        fit: int,
        epoch: int,
        batch: int,
        step: int,
        loss: Tensor | float,
        n: int,
        lrs: Mapping[str, float],
        momentum: float | None = None,
    ) -> None:
        """Add a training batch, without waiting for the device.

        Args:
            fit: Number of the fit, from 0.
            epoch: Epoch in the fit, from 0.
            batch: Batch in the epoch, from 0.
            step: Optimizer updates made in the fit so far.
            loss: Reported loss, a number or a scalar tensor, which is copied and read later.
            n: Number of targets that count.
            lrs: Learning rate of each layer group that trains.
            momentum: Momentum or first beta, if the optimizer has one.
        """
        row = {"fit": fit, "epoch": epoch, "batch": batch, "step": step, "n": n, "momentum": momentum}
        self._steps.add(row, loss, lrs)

    def correct_n(self, n: int) -> None:
        """Say how many targets of the last batch count; several processes know it only together.

        Args:
            n: Number of targets that count.
        """
        self._steps.correct_n(n)

    def add_epoch(self, row: Mapping[str, Any]) -> None:
        """Add the row of an epoch.

        Args:
            row: Numbers, texts or None by name, with the keys `fit` and `epoch`.

        Raises:
            ValueError: One of the two is missing.
        """
        if missing := {"fit", "epoch"} - row.keys():
            raise ValueError(f"the row of an epoch lacks {', '.join(sorted(missing))}: {dict(row)}")
        self.epochs.append({name: _plain(name, value) for name, value in row.items()})

    @property
    def n_steps(self) -> int:
        """Number of training batches over all fits."""
        return len(self._steps)

    @property
    def steps(self) -> StepColumns:
        """The training batches as columns. Losses still on a device are fetched, all in one transfer."""
        return self._steps.columns()

    def column(self, name: str) -> list[Any]:
        """Return one value per epoch; None where the row has no such value.

        Args:
            name: Key of the rows, such as `valid_loss`.

        Raises:
            KeyError: No row has it.
        """
        if not any(name in row for row in self.epochs):
            names = ", ".join(history_view.column_names(self.epochs))
            raise KeyError(f"no epoch has {name!r}; there are {names or 'none'}")
        return [row.get(name) for row in self.epochs]

    def __len__(self) -> int:
        return len(self.epochs)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        """Return the row of an epoch, or those of a slice."""
        return self.epochs[index]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.epochs)

    def __bool__(self) -> bool:
        """Whether anything has been recorded, be it only part of an epoch."""
        return bool(self.epochs or self.n_steps)

    def to_json(self) -> dict[str, Any]:
        """Return a copy as JSON values."""
        return {"format": FORMAT, "epochs": encode(self.epochs), "steps": encode(self.steps)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> History:
        """Build a history from what `to_json` returned.

        Args:
            data: JSON values.

        Returns:
            The history.

        Raises:
            ValueError: The data are of another format, or damaged: the columns differ in length.
        """
        history = cls()
        history.load_state_dict(data)
        return history

    def state_dict(self) -> dict[str, Any]:
        """Return the same as `to_json`."""
        return self.to_json()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace all rows by those of a state that `state_dict` returned.

        Args:
            state: JSON values as `to_json` returns them.

        Raises:
            ValueError: They are of another format, or damaged: the columns differ in length.
        """
        if state.get("format") != FORMAT:
            raise ValueError(f"the history has format {state.get('format')!r}; this version reads format {FORMAT}")
        epochs = decode(state["epochs"])
        if not isinstance(epochs, list):
            raise ValueError("the rows of this history are no list: it is damaged")
        self._steps, self.epochs = StepLog(decode(state["steps"])), epochs

    def save(self, path: str | Path) -> None:
        """Write a JSON file, whole or not at all.

        Args:
            path: The file; an existing one is replaced.
        """
        write_text(path, json.dumps(self.to_json(), allow_nan=False))

    @classmethod
    def load(cls, path: str | Path) -> History:
        """Read a file that `save` wrote.

        Args:
            path: A file that `save` wrote.

        Returns:
            The history.

        Raises:
            ValueError: The file holds something else, or is damaged.
        """
        try:
            return cls.from_json(json.loads(Path(path).read_text(encoding="utf-8")))
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"{path} is no history of a training, or damaged: {error}") from error

    def table(self) -> str:
        """Return the epochs of all fits as a table in aligned columns."""
        return history_view.text_table(self.epochs)

    def to_frame(self) -> DataFrame:
        """Return the epochs as a pandas data frame."""
        from pandas import DataFrame

        return DataFrame(self.epochs, columns=history_view.column_names(self.epochs) or None)

    def plot(self, name: str = "loss", ax: Axes | None = None) -> Axes:
        """Draw the losses, the learning rates or a column of the epochs such as `perplexity`, over all fits.

        Args:
            name: `loss` for the training loss of each batch and the validation loss of each epoch, `rates` for the
                learning rate of each layer group; else a column.
            ax: Where to draw; new axes if None.

        Returns:
            The axes.

        Raises:
            KeyError: No epoch has such a value.
            ValueError: The column holds no numbers, or the history no batches whose rates could be drawn.
        """
        if name == "loss":
            return history_view.plot_losses(self, ax)
        if name == "rates":
            return history_view.plot_rates(self, ax)
        self.column(name)
        return history_view.plot_column(self, name, ax)

    def __str__(self) -> str:
        return self.table()

    def __repr__(self) -> str:
        return f"<History of {len({row['fit'] for row in self})} fits, {len(self)} epochs, {self.n_steps} batches>"

    def _repr_html_(self) -> str:
        return history_view.html_table(self.epochs)


def _plain(name: str, value: Any) -> Any:
    """Turn numbers of torch and numpy into Python's."""
    value = value.item() if hasattr(value, "item") else value
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"the row of an epoch takes numbers, texts and None, but {name!r} is a {type(value).__name__}")
