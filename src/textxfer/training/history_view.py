"""How a history is shown: as text, as HTML and as a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from textxfer.training.figures import BLUE, CYCLE, GREY, ORANGE, count_ticks, legend, log_ticks, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from textxfer.training.history import History

_PERCENTAGES = ("accuracy", "error_rate")
_FEW = 300

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
    """Draw the training loss of each batch and the validation loss of each epoch against the batches of all fits.

    A history of epochs alone, such as the card of a model folder has, is drawn by epoch.
    """
    ax = new_axes() if ax is None else ax
    if history.n_steps or not len(history):
        losses = history.steps["loss"]
        batches = range(1, len(losses) + 1)
        mark = "." if len(losses) <= _FEW else None  # where smoothing changes little, the points show beside the line
        ax.plot(batches, losses, color=BLUE, alpha=0.35, linewidth=0.8, marker=mark, label="training, each batch")
        ax.plot(batches, moving_average(losses), color=BLUE, linewidth=1.8, label="training, smoothed")
    else:
        _plot_column(history, "train_loss", ax, color=BLUE, marker="s", label="training, mean of the epoch")
    _plot_column(history, "valid_loss", ax, color=ORANGE, marker="o", label="validation")
    mark_fits(history, ax)
    name_places(history, ax)
    ax.set_ylabel("loss per target")
    legend(ax)
    return ax


def plot_rates(history: History, ax: Axes | None = None) -> Axes:
    """Draw the learning rate of each layer group against the batches of all fits; a frozen group leaves a gap.

    Raises:
        ValueError: The history has no batches.
    """
    if not history.n_steps and len(history):
        raise ValueError("this history has epochs alone: the rates of its batches were not kept")
    ax = new_axes() if ax is None else ax
    groups = sorted(history.steps["lrs"].items(), key=_highest, reverse=True)
    # Wide lines below narrow ones, so that groups of equal rate stay visible.
    for index, ((name, rates), width) in enumerate(zip(groups, np.linspace(3.5, 1.2, max(len(groups), 2)))):
        batches, values = _with_gaps(history.steps["fit"], rates)
        ax.plot(
            batches,
            values,
            color=CYCLE[index % len(CYCLE)],
            linestyle=("-", "--", ":")[index // len(CYCLE) % 3],
            linewidth=width,
            marker="o" if _has_lone_points(values) else None,
            markersize=width + 1.5,
            label=_plain(name),
        )
    mark_fits(history, ax)
    name_places(history, ax)
    ax.set(yscale="log", ylabel="learning rate")
    if peaks := [peak for peak in map(_highest, groups) if peak > 0]:
        ax.set_ylim(bottom=max(ax.get_ylim()[0], min(peaks) / 100))
        log_ticks(ax.yaxis)
    if groups:
        ax.legend(frameon=False, title="layer group", loc="upper left", bbox_to_anchor=(1, 1))
    return ax


def plot_column(history: History, name: str, ax: Axes | None = None) -> Axes:
    """Draw a column of the epochs against the batches of all fits.

    Raises:
        ValueError: The column holds no numbers.
    """
    ax = new_axes() if ax is None else ax
    if not _plot_column(history, name, ax, color=ORANGE, marker="o", label=_plain(name)):
        raise ValueError(f"the column {name!r} of this history holds no numbers that could be drawn")
    if name in _PERCENTAGES:
        from matplotlib.ticker import PercentFormatter

        ax.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    mark_fits(history, ax)
    name_places(history, ax)
    ax.set_ylabel(_plain(name))
    return ax


def mark_fits(history: History, ax: Axes) -> None:
    """Draw a vertical line wherever a new fit begins."""
    fits = history.steps["fit"] or [row["fit"] for row in history]
    for place, (before, after) in enumerate(pairwise(fits), start=1):
        if before != after:
            ax.axvline(place + 0.5, color=GREY, linewidth=1, linestyle="--", zorder=1)


def name_places(history: History, ax: Axes) -> None:
    """Name the axis of the batches, or of the epochs if the history has no batches; its ticks are whole numbers."""
    ax.set_xlabel("training batch, over all fits" if history.n_steps or not len(history) else "epoch, over all fits")
    count_ticks(ax.xaxis)


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


def _plot_column(history: History, name: str, ax: Axes, *, color: str, marker: str, label: str) -> bool:
    """Draw what is a number in a column, and return whether there is any."""
    ends = epoch_ends(history)
    points = []
    for epoch, row in enumerate(history, start=1):
        place, value = ends.get((row["fit"], row["epoch"])) if ends else epoch, row.get(name)
        if place is not None and isinstance(value, int | float):
            points.append((place, value))
    if points:
        ax.plot(*zip(*points), color=color, marker=marker, markersize=5, linewidth=1.5, label=label)
    return bool(points)


def _plain(name: str) -> str:
    """Return a name as a label that is written as it is: a dollar sign in it begins no formula."""
    return name.replace("$", r"\$")


def _highest(group: tuple[str, list[float]]) -> float:
    return max((rate for rate in group[1] if math.isfinite(rate)), default=0.0)


def _with_gaps(fits: Sequence[int], rates: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return batches and rates with a gap where a fit ends and where a rate is 0, which has no logarithm."""
    starts = np.flatnonzero(np.diff(fits)) + 1
    values = np.asarray(rates, dtype=np.float64)
    values = np.where(values > 0, values, np.nan)
    return np.insert(np.arange(1.0, len(values) + 1), starts, starts + 0.5), np.insert(values, starts, np.nan)


def _has_lone_points(values: np.ndarray) -> bool:
    """Whether some value stands between two gaps, where a line shows nothing."""
    gap = np.isnan(np.concatenate(([np.nan], values, [np.nan])))
    return bool((~gap[1:-1] & gap[:-2] & gap[2:]).any())


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f}"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
