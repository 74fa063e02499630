"""Figures of a training run. Each function draws into given or new axes and returns them; none needs a display.

Shapes: N documents, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from textxfer.files import replacing
from textxfer.training.figures import CYCLE, legend, new_axes
from textxfer.training.history_view import mark_fits

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from textxfer.training.history import History
    from textxfer.training.lr_find import LRFinderResult
    from textxfer.training.schedule import Schedule

_MAX_ANNOTATED = 15


def plot_losses(history: History, ax: Axes | None = None) -> Axes:
    """Draw training loss by batch and validation loss by epoch, over all fits."""
    return history.plot(ax)


def plot_lr_finder(result: LRFinderResult, ax: Axes | None = None) -> Axes:
    """Draw loss against learning rate, with the suggestions marked."""
    return result.plot(ax)


def plot_schedule(
    schedules: Schedule | Sequence[Schedule] | Mapping[str, Schedule], n_steps: int = 1000, ax: Axes | None = None
) -> Axes:
    """Draw one schedule or several in one picture.

    Args:
        schedules: One, several, or several by the name to show.
        n_steps: Updates of the fit.
        ax: Where to draw.
    """
    ax = new_axes() if ax is None else ax
    for name, schedule in _named(schedules).items():
        schedule.plot(n_steps, ax)
        ax.lines[-1].set_label(name)
    legend(ax)
    return ax


def plot_group_rates(history: History, ax: Axes | None = None) -> Axes:
    """Draw the learning rate of each layer group by training batch, over all fits; a frozen group leaves a gap."""
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
            label=name,
        )
    mark_fits(history, ax)
    ax.set(yscale="log", xlabel="training batch, over all fits", ylabel="learning rate")
    if groups:
        ax.legend(frameon=False, title="layer group", loc="upper left", bbox_to_anchor=(1, 1))
    return ax


def plot_confusion(matrix: np.ndarray, classes: Sequence[str], ax: Axes | None = None) -> Axes:
    """Draw a confusion matrix: shades are shares of the true class, numbers are counts (up to 15 classes).

    Args:
        matrix: Counts (C, C), row = true class, as `Evaluation.confusion` has them.
        classes: Names of the C classes.
        ax: Where to draw.
    """
    n = len(classes)
    if matrix.shape != (n, n):
        raise ValueError(f"plot_confusion: {n} class names for a matrix of shape {matrix.shape}")
    side = min(max(5.0, 0.5 * n + 3), 12.0)
    ax = new_axes(side + 1, side) if ax is None else ax
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ax.grid(False)
    ax.set(xlabel="predicted class", ylabel="true class")
    ax.set_xticks(range(n), labels=classes, rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(n), labels=classes)
    ax.figure.colorbar(image, ax=ax, label="share of the true class", shrink=0.8)
    if n <= _MAX_ANNOTATED:
        for row, column in np.ndindex(n, n):
            colour = "white" if shares[row, column] > 0.5 else "black"
            ax.text(column, row, f"{matrix[row, column]}", ha="center", va="center", color=colour, fontsize=9)
    return ax


def save_figure(figure: Figure | Axes, path: str | Path, dpi: int = 100) -> Path:
    """Write a figure, whole or not at all.

    Args:
        figure: The figure, or axes of it.
        path: Its suffix chooses the format: .png, .svg, .pdf.
        dpi: Pixels per inch; 100 makes the usual figure 800 pixels wide.

    Returns:
        The path.

    Raises:
        ValueError: The suffix is missing or of no known format.
    """
    from matplotlib.figure import Figure

    path = Path(path)
    whole = figure if isinstance(figure, Figure) else figure.get_figure(root=True)
    if whole is None:
        raise ValueError("save_figure: these axes belong to no figure")
    kind = path.suffix.removeprefix(".").lower()
    if kind not in whole.canvas.get_supported_filetypes():
        raise ValueError(f"save_figure: {path.name} must end in .png, .svg or .pdf")
    with replacing(path) as scratch:
        whole.savefig(scratch, format=kind, dpi=dpi)
    return path


def _named(schedules: Schedule | Sequence[Schedule] | Mapping[str, Schedule]) -> dict[str, Schedule]:
    if isinstance(schedules, Mapping):
        return dict(schedules)
    several = list(schedules) if isinstance(schedules, Sequence) else [schedules]
    short = [type(schedule).__name__ for schedule in several]
    return {repr(s) if short.count(name) > 1 else name: s for name, s in zip(short, several)}


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
