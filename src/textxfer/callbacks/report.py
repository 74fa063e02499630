"""Progress while training and a table of epochs, in a terminal, a notebook or a plain log."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Literal, TextIO, final

from torch import Tensor

from textxfer.display import Display, choose_display
from textxfer.training.callback import Callback, Order
from textxfer.training.history_view import format_value

if TYPE_CHECKING:
    from textxfer.training.learner import Learner

_WIDTH = 11
_SMOOTHING = 0.05


@final
class Report(Callback):
    """Show a progress bar with rate, loss and learning rate, and a row of figures after each epoch.

    A terminal gets a bar, a notebook a widget (if ipywidgets is installed), anything else plain lines now and then.
    The loss is fetched from the device only when it is shown, a few times a second at most.

    Args:
        every_seconds: Least time between two plain lines, >= 0.
        unit: What the loaders count (`Batch.n`), for the rate: `tokens` for a language model, `documents` for a
            classifier.
        stream: Where to write; standard output at the time of the fit if None.

    Raises:
        ValueError: `every_seconds` is negative, or there is no such `unit`.
    """

    order = Order.REPORT
    main_only = True

    def __init__(
        self,
        every_seconds: float = 10.0,
        unit: Literal["items", "tokens", "documents"] = "items",
        stream: TextIO | None = None,
    ) -> None:
        if not every_seconds >= 0:
            raise ValueError(f"every_seconds must be >= 0, not {every_seconds!r}")
        if unit not in ("items", "tokens", "documents"):
            raise ValueError(f"unit must be 'items', 'tokens' or 'documents', not {unit!r}")
        self.every_seconds = every_seconds
        self.unit: Literal["items", "tokens", "documents"] = unit
        self.stream = stream
        self._in_fit = False
        self._columns: list[str] = []
        self._display: Display | None = None
        self._training = False
        self._loss: Tensor | None = None
        self._began = self._shown = 0.0
        self._batches = self._counted = 0

    def before_fit(self, learn: Learner) -> None:
        """Start a new table."""
        self._in_fit, self._columns = True, []

    def before_train(self, learn: Learner) -> None:
        """Close what a validation on the side may have left open."""
        self._close()

    def before_valid(self, learn: Learner) -> None:
        """Close what is open: the batches to come are other ones."""
        self._close()

    def before_batch(self, learn: Learner) -> None:
        """Open a bar at the first batch of a pass, also in the middle of one that was resumed."""
        step = learn.step
        if self._display is None or self._training != step.training:
            self._close()
            self._open(learn)

    def after_batch(self, learn: Learner) -> None:
        """Count; show if it is time."""
        step = learn.step
        self._counted += step.n
        if step.target is not None and step.n:  # the mean over nothing is NaN, or 0
            self._batches += 1
            loss = step.loss.detach().float()
            self._loss = (
                loss.clone() if self._loss is None else self._loss.lerp(loss, max(1 / self._batches, _SMOOTHING))
            )
        now = time.monotonic()
        if self._display is not None and now - self._shown >= self._display.seconds:
            self._shown = now
            self._display.show(step.index + 1, self._figures(learn))

    def after_train(self, learn: Learner) -> None:
        """Close the bar."""
        self._close()

    def after_valid(self, learn: Learner) -> None:
        """Close the bar."""
        self._close()

    def after_epoch(self, learn: Learner) -> None:
        """Write the row of the epoch, and before the first of a fit the header."""
        row = learn.history[-1]
        columns = [name for name in row if name != "fit"]
        stream = self._stream()
        if not set(columns) <= set(self._columns):
            self._columns = columns
            stream.write("".join(f"  {name:>{_WIDTH}}" for name in columns).rstrip() + "\n")
        cells = (format_value(name, row.get(name)) for name in self._columns)
        stream.write(
            "".join(f"  {cell:>{max(_WIDTH, len(name))}}" for name, cell in zip(self._columns, cells)).rstrip() + "\n"
        )
        stream.flush()

    def after_fit(self, learn: Learner) -> None:
        """Close the bar, however the fit ended."""
        self._in_fit = False
        self._close()

    def _open(self, learn: Learner) -> None:
        step, at = learn.step, learn.progress
        title = "training" if step.training else "validation"
        if self._in_fit:
            title = f"epoch {at.epoch} of {at.n_epochs}, {title}"
        valid = learn.loaders.valid
        total = at.n_batches if step.training else len(valid) if self._in_fit and valid is not None else None
        self._display = choose_display(self._stream(), self.every_seconds, title, total, step.index)
        self._training, self._loss = step.training, None
        self._began = self._shown = time.monotonic()
        self._batches = self._counted = 0

    def _close(self) -> None:
        display, self._display, self._loss = self._display, None, None
        if display is not None:
            display.close()

    def _figures(self, learn: Learner) -> str:
        """Return loss, rate of learning and of work as text; this waits for the device."""
        parts = [] if self._loss is None else [f"loss {self._loss.item():.4f}"]
        if self._training:
            parts.append(f"lr {learn.optimizer.param_groups[-1]['lr']:.2e}")
        seconds = max(time.monotonic() - self._began, 1e-9)
        return ", ".join([*parts, f"{self._counted / seconds:,.0f} {self.unit}/s"])

    def _stream(self) -> TextIO:
        return sys.stdout if self.stream is None else self.stream
