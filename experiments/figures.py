"""The curves and rows of the page as pictures."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from typing import TYPE_CHECKING

from experiments.summary import Row
from textxfer.plots import save_figure as save
from textxfer.training.figures import BLUE, MARKERS, ORANGE, entitle, legend, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ablation", "low_shot", "save"]


def low_shot(curves: Mapping[str, Mapping[int, Row]], data: str) -> Axes:
    """Draw error by number of labels, with the standard deviation over the seeds."""
    ax = new_axes(7.5, 4.5)
    for (name, curve), marker in zip(sorted(curves.items()), cycle(MARKERS)):
        counts = sorted(curve)
        errors, spreads = [curve[n].mean for n in counts], [curve[n].spread for n in counts]
        ax.errorbar(counts, errors, spreads, label=name, marker=marker, markersize=5, capsize=3)
    ax.set_xscale("log")
    ticks = sorted({n for curve in curves.values() for n in curve})
    ax.set_xticks(ticks, [f"{n:,}" for n in ticks])
    ax.set_xticks([], minor=True)
    ax.set_xlabel("labelled documents")
    ax.set_ylabel("test error, %")
    ax.set_ylim(bottom=0)
    legend(ax)
    entitle(ax, data)
    return ax


def ablation(rows: Mapping[str, Row], paper: Mapping[str, float], titles: Mapping[str, str]) -> Axes:
    """Draw the error of each row, ours with its standard deviation, the paper's beside it."""
    ax = new_axes(7.5, 0.9 + 0.35 * len(rows))
    names = list(rows)[::-1]
    places = range(len(names))
    ours = [rows[name] for name in names]
    ax.errorbar(
        [row.mean for row in ours],
        places,
        xerr=[row.spread for row in ours],
        fmt="o",
        color=BLUE,
        capsize=3,
        label="textxfer",
    )
    known = [(paper[name], place) for place, name in zip(places, names) if name in paper]
    if known:
        ax.plot(*zip(*known), "D", color=ORANGE, markerfacecolor="none", label="paper, full size")
    ax.set_yticks(places, [titles[name] for name in names])
    ax.set_ylim(-0.6, len(names) - 0.4)  # room for the first and the last row, though there be no others
    ax.set_xlim(left=0)
    ax.set_xlabel("validation error, %")
    ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)  # above: no row is free of points
    return ax
