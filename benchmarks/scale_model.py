"""What a training by many processes would cost, from what one and two of them were measured at.

A step of N processes is the step of one with the same batch, then the sum of the gradients of all. gloo sums in a ring:
each process sends 2 (N - 1) pieces of 1/N of the gradients to its neighbour (Patarasu & Yuan 2009, "Bandwidth optimal
all-reduce algorithms for clusters of workstations"). So the sum takes

    2 (N - 1) (latency + bytes / (N bandwidth)).

Latency and bandwidth of a link are fitted to sums that two processes were measured at. The model has no terms for
processes that wait for the slowest one, nor for those of one machine that compete for its memory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PER_BATCH, PER_UPDATE = 2, 1
"""Messages of a few bytes: what comes next and what the batches have in them; which gradients there are."""
TOKENS = 10**9
"""A corpus to reckon with."""


@dataclass(frozen=True)
class Link:
    """How fast processes talk to each other.

    Attributes:
        latency: Time of a message without content, s.
        bandwidth: Bytes per s.
    """

    latency: float
    bandwidth: float

    @classmethod
    def fitted(cls, seconds: Mapping[int, float]) -> Link:
        """Fit to the times of sums over two processes.

        The squares of the relative errors are least, so that a message of a kilobyte counts as much as one of a
        hundred megabytes.

        Args:
            seconds: The time of a sum by its bytes; at least two sizes.

        Raises:
            ValueError: The times do not grow with the bytes.
        """
        # Relative errors: a / t + b x / t should be 1, for the intercept a and the slope b.
        rows = [(1 / each, size / each) for size, each in seconds.items()]
        aa, ab, bb = (sum(row[i] * row[j] for row in rows) for i, j in ((0, 0), (0, 1), (1, 1)))
        a, b = (sum(row[i] for row in rows) for i in (0, 1))
        det = aa * bb - ab * ab
        if len(rows) < 2 or det <= 0:
            raise ValueError("a link is fitted to sums of at least two sizes")
        intercept, slope = (a * bb - b * ab) / det, (b * aa - a * ab) / det
        if slope <= 0:
            raise ValueError("the measured sums do not take longer for more bytes: nothing can be fitted to them")
        return cls(max(intercept, 0.0) / 2, 1 / slope)

    def sum_seconds(self, size: float, world: int) -> float:
        """Return the time in which processes sum.

        Args:
            size: Bytes that each of them has.
            world: Number of processes, >= 1.
        """
        return 2 * (world - 1) * (self.latency + size / (world * self.bandwidth))


@dataclass(frozen=True)
class Training:
    """A training as one process was measured at it.

    Attributes:
        name: Of the model.
        seconds: Forward and backward pass and update of a batch, s.
        tokens: Tokens of that batch.
        gradients: Bytes of the gradients: four for each parameter.
    """

    name: str
    seconds: float
    tokens: int
    gradients: int

    def step(self, link: Link, world: int, accumulate: int = 1) -> float:
        """Return the time between two updates, if each process keeps its batch size.

        Args:
            link: How the processes talk.
            world: Number of processes, >= 1.
            accumulate: Batches of each process to one update, >= 1.
        """
        batch = self.seconds + PER_BATCH * link.sum_seconds(0, world)
        return accumulate * batch + self._update(link, world)

    def tokens_per_second(self, link: Link, world: int, accumulate: int = 1) -> float:
        """Return the tokens of all processes per second; arguments as in `step`."""
        return world * accumulate * self.tokens / self.step(link, world, accumulate)

    def efficiency(self, link: Link, world: int, accumulate: int = 1) -> float:
        """Return the speed as a share of that of as many processes that need not talk; arguments as in `step`."""
        return self.tokens_per_second(link, world, accumulate) * self.seconds / (world * self.tokens)

    def hours(self, link: Link, world: int, accumulate: int = 1, tokens: int = TOKENS) -> float:
        """Return the hours for one pass over a corpus of so many tokens; the others as in `step`."""
        return tokens / self.tokens_per_second(link, world, accumulate) / 3600

    def accumulation(self, link: Link, world: int, efficiency: float = 0.9) -> int | None:
        """Return how many batches to accumulate for an efficiency; None if no number is enough.

        Args:
            link: How the processes talk.
            world: Number of processes, >= 1.
            efficiency: The share to reach, > 0 and < 1.
        """
        spare = self.seconds * (1 / efficiency - 1) - PER_BATCH * link.sum_seconds(0, world)
        return max(math.ceil(self._update(link, world) / spare), 1) if spare > 0 else None

    def _update(self, link: Link, world: int) -> float:
        return PER_UPDATE * link.sum_seconds(0, world) + link.sum_seconds(self.gradients, world)


WORLDS = (1, 2, 4, 8, 16, 32, 64)


def table(training: Training, link: Link, worlds: Sequence[int] = WORLDS) -> list[dict[str, float | int | str]]:
    """Return the figures of each number of processes, a row each.

    Args:
        training: What one process was measured at.
        link: How the processes talk.
        worlds: Numbers of processes.
    """
    return [
        {
            "processes": world,
            "step, ms": round(1000 * training.step(link, world)),
            "of it the sum, ms": round(1000 * link.sum_seconds(training.gradients, world)),
            "tokens/s": round(training.tokens_per_second(link, world)),
            "efficiency": f"{100 * training.efficiency(link, world):.0f} %",
            "hours": _short(training.hours(link, world)),
            "batches for 90 %": training.accumulation(link, world) or "never",
        }
        for world in worlds
    ]


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"
