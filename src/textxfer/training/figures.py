"""How all figures look. matplotlib is imported when the first one is drawn.

Figures are made without `pyplot`: nothing needs a display, nothing stays in a global list of open figures.
"""

from __future__ import annotations

from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE, GREEN, PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SKY, AMBER, GREY, BLACK = "#56B4E9", "#E69F00", "#8C8C8C", "#000000"
CYCLE = (BLUE, ORANGE, GREEN, PINK, SKY, AMBER, BLACK)
"""Colours of lines in their order: those of Okabe & Ito (2008), which colour-blind readers can tell apart."""


def new_axes(width: float = 8.0, height: float = 4.5) -> Axes:
    """Return the axes of a new figure; a notebook shows them when they are the last value of a cell.

    Args:
        width: Of the figure, in units of 100 pixels.
        height: Of the figure, in units of 100 pixels.
    """
    from cycler import cycler
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    ax = figure.add_subplot(axes_class=_axes_class())
    ax.set_prop_cycle(cycler(color=CYCLE))
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color="#E6E6E6", linewidth=0.8)
    ax.set_axisbelow(True)
    return ax


def legend(ax: Axes, place: Literal["upper right", "lower left"] = "upper right") -> None:
    """Add a legend if there is something to tell apart; lines shine through it.

    Args:
        ax: Axes with labelled lines.
        place: matplotlib's name of the place. Fixed, because to find the best one takes long for many batches.
    """
    if len(ax.get_legend_handles_labels()[1]) > 1:
        ax.legend(loc=place, framealpha=0.8, edgecolor="none")


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
