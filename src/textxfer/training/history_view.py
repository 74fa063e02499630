"""How a history is shown: as text, as HTML and as a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from textxfer.training.figures import BLUE, GREY, ORANGE, legend, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from textxfer.training.history import History

_PERCENTAGES = ("accuracy", "error_rate")

Row = Mapping[str, Any]


def column_names(rows: Sequence[Row]) -> list[str]:
    """Return the names of all values that occur in the rows, in order of appearance; `seconds` comes last."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return sorted(names, key=lambda name: name == "seconds")


def format_value(name: str, value: Any) -> str:
    """Write a value of an epoch as people read it: 4.1237, 91.20 %, 12.3 or 1:02:05 for `seconds`.

    Args:
        name: Column of the value. `accuracy` and `error_rate` become percentages, `seconds` a duration.
        value: A number, a text or None (an empty text).
    """
    if value is None:
        return ""
    if not isinstance(value, float) or not math.isfinite(value):
        return str(value)
    if name == "seconds":
        return _duration(value)
    if name in _PERCENTAGES:
        return f"{100 * value:.2f} %"
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.3e}"


def text_table(rows: Sequence[Row]) -> str:
    """Return the rows as lines of text with aligned columns."""
    names = column_names(rows)
    if not names:
        return "no epochs yet"
    cells = [names, *([format_value(name, row.get(name)) for name in names] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(names))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths)).rstrip() for line in cells)


def html_table(rows: Sequence[Row]) -> str:
    """Return the rows as an HTML table."""
    names = column_names(rows)
    if not names:
        return "<p>no epochs yet</p>"
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    lines = ("".join(f"<td>{escape(format_value(name, row.get(name)))}</td>" for name in names) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def plot_losses(history: History, ax: Axes | None = None) -> Axes:
    """Draw the training loss of each batch and the validation loss of each epoch against the batches of all fits."""
    ax = new_axes() if ax is None else ax
    losses = history.steps["loss"]
    batches = range(1, len(losses) + 1)
    ax.plot(batches, losses, color=BLUE, alpha=0.35, linewidth=0.8, label="training, each batch")
    ax.plot(batches, moving_average(losses), color=BLUE, linewidth=1.8, label="training, smoothed")
    if valid := _valid_losses(history):
        ax.plot(*zip(*valid), color=ORANGE, marker="o", markersize=5, linewidth=1.5, label="validation")
    mark_fits(history, ax)
    ax.set(xlabel="training batch, over all fits", ylabel="loss per target")
    legend(ax)
    return ax


def mark_fits(history: History, ax: Axes) -> None:
    """Draw a vertical line wherever a new fit begins."""
    for batch, (before, after) in enumerate(pairwise(history.steps["fit"]), start=1):
        if before != after:
            ax.axvline(batch + 0.5, color=GREY, linewidth=1, linestyle="--", zorder=1)


def epoch_ends(history: History) -> dict[tuple[int, int], int]:
    """Return (fit, epoch) -> number of training batches, over all fits, when that epoch was done."""
    steps = history.steps
    return {key: batch for batch, key in enumerate(zip(steps["fit"], steps["epoch"]), start=1)}


def moving_average(values: Sequence[float]) -> list[float]:
    """Return the exponential moving average, free of the bias of its start; what is not finite is skipped.

    It looks back over about a thirtieth of the values, at most 200.
    """
    decay = 1 - 1 / min(max(len(values) / 30, 1), 200)
    total = weight = 0.0
    averages = []
    for value in values:
        if math.isfinite(value):
            total, weight = decay * total + value, decay * weight + 1
        averages.append(total / weight if weight else math.nan)
    return averages


def _valid_losses(history: History) -> list[tuple[int, float]]:
    ends = epoch_ends(history)
    points = [(ends.get((row["fit"], row["epoch"])), row.get("valid_loss")) for row in history]
    return [(batch, loss) for batch, loss in points if batch is not None and loss is not None]


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f}"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
