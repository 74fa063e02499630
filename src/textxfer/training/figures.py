"""How all figures look. matplotlib is imported when the first one is drawn.

Figures are made without `pyplot`: nothing needs a display, nothing stays in a global list of open figures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure, FigureBase

BLUE, ORANGE, GREEN, PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SKY, AMBER, GREY, BLACK = "#56B4E9", "#E69F00", "#8C8C8C", "#000000"
CYCLE = (BLUE, ORANGE, GREEN, PINK, SKY, AMBER, BLACK)
"""Colours of lines in their order: those of Okabe & Ito (2008), which colour-blind readers can tell apart."""
STYLES = ("-", "--", "-.", ":", (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 1)))
"""Styles of lines that cross each other, in the order of the colours: they are told apart without colours too."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""The same for curves of few points."""

_MAX_NAME = 28
_CHARS_PER_INCH = 13  # of a legend; rather too few than too many
_CHARS_OF_LINE = 9  # the line beside a name in a legend, and the space to the next
_BINS = 40
_WIDTHS = 1000
"""Widths of a bin that are tried; in wider ones a few numbers more or less do not show."""
_ONE_ROW = 2  # panels side by side


def new_axes(width: float = 8.0, height: float = 4.5) -> Axes:
    """Return the axes of a new figure; a notebook shows them when they are the last value of a cell.

    Args:
        width: Of the figure, in units of 100 pixels.
        height: Of the figure, in units of 100 pixels.
    """
    return _axes_of(_new_figure(width, height))


def new_panels(heights: Sequence[float], wide: Sequence[bool], width: float = 12.0) -> list[Axes]:
    """Return the axes of one new figure for several pictures, two in a row, in reading order.

    Args:
        heights: Of each picture, in units of 100 pixels; the higher one counts for a row.
        wide: Whether each picture takes a whole row.
        width: Of the figure, in units of 100 pixels.
    """
    rows: list[list[int]] = []
    for place, alone in enumerate(wide):
        if alone or not rows or len(rows[-1]) == _ONE_ROW or wide[rows[-1][0]]:
            rows.append([])
        rows[-1].append(place)
    sizes = [max(heights[place] for place in row) for row in rows]
    figure = _new_figure(width, sum(sizes))
    panels = []
    for part, row in zip(figure.subfigures(len(rows), 1, squeeze=False, height_ratios=sizes)[:, 0], rows):
        columns = part.subfigures(1, 1 if wide[row[0]] else _ONE_ROW, squeeze=False)[0]
        panels += [_axes_of(column) for column, _ in zip(columns, row)]
    return panels


def legend(ax: Axes, place: Literal["above", "upper right", "lower left"] = "above") -> None:
    """Add a legend if there is something to tell apart.

    Args:
        ax: Axes with labelled lines.
        place: Above the axes, where it hides nothing, or matplotlib's name of a place within, where lines shine
            through it. Fixed, because to find the best one takes long for many batches.
    """
    labels = ax.get_legend_handles_labels()[1]
    if len(labels) < 2:
        return
    if place != "above":
        ax.legend(loc=place, framealpha=0.8, edgecolor="none")
        return
    figure = ax.get_figure()
    inches = figure.bbox.width / figure.dpi - 1 if figure is not None else 7.0
    columns = max(int(inches * _CHARS_PER_INCH / (max(map(len, labels)) + _CHARS_OF_LINE)), 1)
    rows = math.ceil(len(labels) / columns)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=math.ceil(len(labels) / rows), frameon=False)


def entitle(ax: Axes, title: str) -> None:
    """Write a title over the axes and their legend, as it is: a dollar sign begins no formula."""
    figure = ax.get_figure()
    if figure is not None:
        figure.suptitle(title, parse_math=False, fontsize="large")


def log_ticks(axis: Axis) -> None:
    """Give a logarithmic axis ticks at 1, 2, 5, 10 ..., or at powers of ten if it is long, with plain labels."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = sorted(axis.get_view_interval())
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 2000 * low else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    axis.set_minor_formatter(NullFormatter())


def bins(numbers: np.ndarray) -> tuple[np.ndarray, Literal["linear", "log"]]:
    """Choose the bins of a histogram: bins of whole numbers begin and end half-way between two of them."""
    low, high = float(numbers.min()), float(numbers.max())
    whole = bool((numbers == np.round(numbers)).all())
    if whole and low > 0 and high > 50 * low:
        return np.unique(np.round(np.geomspace(low, high + 1, _BINS + 1))) - 0.5, "log"
    if whole:
        span, least = int(high - low) + 1, math.ceil((high - low + 1) / _BINS)
        widths = range(least, min(2 * least, least + _WIDTHS))
        width = float(min(widths, key=lambda width: -span % width))  # the last bin as full as the others
        return np.arange(low, high + width + 1, width) - 0.5, "linear"
    return np.linspace(low, high, _BINS + 1) if low < high else np.array([low - 0.5, low + 0.5]), "linear"


def count_ticks(axis: Axis) -> None:
    """Give an axis of counts ticks at whole numbers, with separators of thousands."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def plain(value: float) -> str:
    """Write a number as ticks have it: 0.0002, 5,000, 2e-5."""
    if value and not 1e-4 <= abs(value) < 1e6:
        digits, power = f"{value:.3e}".split("e")
        return f"{float(digits):g}e{int(power)}"
    return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def shortened(names: Sequence[str]) -> list[str]:
    """Return names that leave room for the picture: long ones are cut, with an ellipsis."""
    return [name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}…" for name in names]


def _new_figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    return Figure(figsize=(width, height), dpi=100, layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))


def _axes_of(figure: FigureBase) -> Axes:
    from cycler import cycler

    ax = figure.add_subplot(axes_class=_axes_class())
    ax.set_prop_cycle(cycler(color=CYCLE))
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color="#E6E6E6", linewidth=0.8)
    ax.set_axisbelow(True)
    return ax


@cache
def _axes_class() -> type[Axes]:
    from matplotlib.axes import Axes

    class ShownAxes(Axes):
        """Axes that know how to show themselves in a notebook."""

        def _repr_png_(self) -> bytes:
            buffer = BytesIO()
            self.get_figure(root=True).savefig(buffer, format="png")  # pyright: ignore[reportOptionalMemberAccess]
            return buffer.getvalue()

    return ShownAxes
