"""Figures of a training run and of its data. Each function draws into given or new axes; none needs a display.

Shapes: N documents, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from textxfer.files import replacing
from textxfer.training.figures import (
    BLUE,
    GREY,
    ORANGE,
    SKY,
    STYLES,
    bins,
    count_ticks,
    legend,
    log_ticks,
    new_axes,
    plain,
    shortened,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from textxfer.training.history import History
    from textxfer.training.lr_find import LRFinderResult
    from textxfer.training.schedule import Schedule

MAX_ANNOTATED = 15
"""Classes of a confusion matrix whose numbers are written."""
_MAX_NAMED = 60
_MAX_BARS = 20


def plot_losses(history: History, ax: Axes | None = None) -> Axes:
    """Draw training loss by batch and validation loss by epoch, over all fits.

    Args:
        history: The history of a learner, `learn.history`, or one that was saved.
        ax: Where to draw; new axes if None.

    Returns:
        The axes.
    """
    return history.plot(ax=ax)


def plot_lr_finder(result: LRFinderResult, ax: Axes | None = None) -> Axes:
    """Draw loss against learning rate, with the suggestions marked.

    Args:
        result: What `learn.lr_find()` returned.
        ax: Where to draw; new axes if None.

    Returns:
        The axes.
    """
    return result.plot(ax)


def plot_schedule(
    schedules: Schedule | Sequence[Schedule] | Mapping[str, Schedule], n_steps: int = 1000, ax: Axes | None = None
) -> Axes:
    """Draw one schedule or several in one picture.

    Args:
        schedules: One, several, or several by the name to show.
        n_steps: Updates of the fit, >= 1.
        ax: Where to draw; new axes if None.

    Returns:
        The axes.
    """
    ax = new_axes() if ax is None else ax
    for index, (name, schedule) in enumerate(_named(schedules).items()):
        schedule.plot(n_steps, ax)
        ax.lines[-1].set(label=name, linestyle=STYLES[index % len(STYLES)])
    legend(ax)
    return ax


def plot_group_rates(history: History, ax: Axes | None = None) -> Axes:
    """Draw the learning rate of each layer group by training batch, over all fits; a frozen group leaves a gap.

    The axis is logarithmic. It ends at a hundredth of the least rate that a group has at its best: the last updates of
    a schedule that falls to almost nothing may lie below it.

    Args:
        history: The history of a learner, with its batches.
        ax: Where to draw; new axes if None.

    Returns:
        The axes.
    """
    return history.plot("rates", ax)


def confusion_side(n: int) -> float:
    """Return how long the sides of a confusion matrix have to be, in units of 100 pixels.

    Args:
        n: Number of classes, C, >= 1.
    """
    return min(max(5.0, 0.5 * n + 3), 12.0)


def plot_confusion(matrix: np.ndarray, classes: Sequence[str], ax: Axes | None = None) -> Axes:
    """Draw a confusion matrix: shades are shares of the true class, numbers are counts (up to 15 classes).

    Args:
        matrix: Counts (C, C), row = true class, as `Evaluation.confusion` has them.
        classes: Names of the C classes. Long ones are cut; of more than 60 not all are written.
        ax: Where to draw; new axes if None.

    Returns:
        The axes.

    Raises:
        ValueError: There are not as many names as rows and columns.
    """
    n = len(classes)
    if matrix.shape != (n, n):
        raise ValueError(f"plot_confusion: {n} class names for a matrix of shape {matrix.shape}")
    side = confusion_side(n)
    ax = new_axes(side + 1, side) if ax is None else ax
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ax.grid(False)
    ax.set(xlabel="predicted class", ylabel="true class")
    size, named = min(10.0, 400 / n), range(0, n, math.ceil(n / _MAX_NAMED))
    names = shortened([classes[place] for place in named])
    ax.set_xticks(named, names, rotation=45, ha="right", rotation_mode="anchor", fontsize=size, parse_math=False)
    ax.set_yticks(named, names, fontsize=size, parse_math=False)
    ax.figure.colorbar(image, ax=ax, label="share of the true class", shrink=0.8, aspect=25)
    if n <= MAX_ANNOTATED:
        for row, column in np.ndindex(n, n):
            count = matrix[row, column]
            colour = "white" if shares[row, column] > 0.5 else "black" if count else GREY
            ax.text(column, row, f"{count:,}", ha="center", va="center", color=colour, fontsize=9)
    return ax


def plot_histogram(
    values: Sequence[float] | np.ndarray, what: str = "tokens per document", ax: Axes | None = None
) -> Axes:
    """Draw how many documents have which number: their lengths, or the numbers that are their labels.

    Whole numbers that span more than a factor of 50 get a logarithmic axis, as lengths of documents mostly do.

    Args:
        values: One number per document, (N,); `store.lengths` or `store.values`.
        what: What the numbers are, for the axis.
        ax: Where to draw; new axes if None.

    Returns:
        The axes.

    Raises:
        ValueError: There are no finite numbers.
    """
    ax = new_axes() if ax is None else ax
    numbers = np.asarray(values)
    numbers = numbers[np.isfinite(numbers)]
    if not numbers.size:
        raise ValueError(f"plot_histogram: there are no finite numbers of {what} to draw")
    edges, scale = bins(numbers)
    ax.hist(numbers, edges.tolist(), color=SKY, edgecolor="white", linewidth=0.5)
    middle, high = np.quantile(numbers, [0.5, 0.95])
    ax.axvline(middle, color=BLUE, linewidth=1.8, label=f"median {plain(middle)}")
    ax.axvline(high, color=ORANGE, linewidth=1.8, linestyle="--", label=f"95 % are at most {plain(high)}")
    ax.set(xscale=scale, xlabel=what, ylabel="documents")
    count_ticks(ax.yaxis)
    if scale == "log":
        log_ticks(ax.xaxis)
    legend(ax)
    return ax


def plot_classes(counts: Mapping[str, int], unlabelled: int = 0, ax: Axes | None = None) -> Axes:
    """Draw the number of documents of each class.

    Args:
        counts: Documents by class, as `textxfer.text.card` counts them. Of more than 20 classes the most frequent are
            drawn, and the sum of the others.
        unlabelled: Documents without a label, >= 0.
        ax: Where to draw; new axes if None.

    Returns:
        The axes.
    """
    shown = dict(counts)
    if len(counts) > _MAX_BARS:
        shown = dict(sorted(counts.items(), key=lambda item: -item[1])[: _MAX_BARS - 1])
    others = {f"{len(counts) - len(shown):,} other classes": sum(counts.values()) - sum(shown.values())}
    rest = (others if len(shown) < len(counts) else {}) | ({"no label": unlabelled} if unlabelled else {})
    names, numbers = [*shortened(list(shown)), *rest], [*shown.values(), *rest.values()]
    ax = new_axes(height=1.2 + 0.28 * max(len(names), 3)) if ax is None else ax
    colours = [BLUE] * len(shown) + [GREY] * len(rest)
    bars = ax.barh(range(len(names)), numbers, color=colours, height=0.7)
    ax.bar_label(bars, [f"{number:,}" for number in numbers], padding=3, fontsize=9)
    ax.set_yticks(range(len(names)), names, parse_math=False)
    ax.set_ylim(max(len(names), 3) - 0.4, -0.6)
    ax.margins(x=0.1)  # room for the numbers
    ax.grid(visible=False, axis="y")
    count_ticks(ax.xaxis)
    ax.set(xlabel="documents", ylabel="class")
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
