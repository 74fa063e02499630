"""The memory of the soak test as a curve."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from tests.soak.watch import Sample
from textxfer.plots import save_figure
from textxfer.training.figures import BLUE, GREY, ORANGE, count_ticks, legend, new_axes


def draw(samples: Sequence[Sample], warmup: int, path: Path) -> Path:
    """Draw the memory after each round, and the band of 2 % around its median after the warm-up.

    Args:
        samples: One for each round.
        warmup: How many of them do not count.
        path: The picture.
    """
    ax = new_axes(height=3.6)
    fits, memory = [each.fits for each in samples], [each.rss / 2**20 for each in samples]
    middle = median(memory[warmup:])
    ax.axvspan(0, warmup, color=GREY, alpha=0.15, linewidth=0, label="warm-up")
    ax.axhspan(0.99 * middle, 1.01 * middle, color=ORANGE, alpha=0.25, linewidth=0, label="band of 2 %")
    ax.plot(fits, memory, color=BLUE, linewidth=1.6, label="memory of the process")
    ax.set(xlabel=f"fits, each with {samples[0].predictions} predictions", ylabel="MiB", xlim=(0, fits[-1]))
    ax.set_ylim(min(0.93 * middle, 0.99 * min(memory)), max(1.04 * middle, 1.01 * max(memory)))
    count_ticks(ax.xaxis)
    legend(ax)
    return save_figure(ax, path)
