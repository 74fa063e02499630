"""From the lines of the results to rows: means over the seeds, and whether rows stand in the paper's order."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from statistics import mean, stdev
from typing import Any

from experiments.cells import Cell, Line, cell_of

_SAME = 1e-6
"""Points of the error rate below which two means are the same: sums of the same errors in another order."""


@dataclass(frozen=True)
class Row:
    """The runs of one row: same cell, different seeds.

    Attributes:
        cell: The cell with the first seed.
        errors: Error rate of each run by seed, in per cent.
        minutes: Mean minutes of training and judging a run; language models that other cells share are counted in
            each.
    """

    cell: Cell
    errors: Mapping[int, float]
    minutes: float

    @property
    def mean(self) -> float:
        """Mean error rate, in per cent."""
        return mean(self.errors.values())

    @property
    def spread(self) -> float:
        """Standard deviation over the seeds, in points of the error rate; 0 for one run."""
        return stdev(self.errors.values()) if len(self.errors) > 1 else 0.0

    def __str__(self) -> str:
        """Write mean, standard deviation and number of runs."""
        runs = len(self.errors)
        return f"{self.mean:.2f} ± {self.spread:.2f} ({runs})" if runs > 1 else f"{self.mean:.2f} (1)"


def rows_of(lines: Iterable[Line], value: Callable[[Line], float] = lambda line: line["error"]) -> list[Row]:
    """Gather the runs of each row.

    Args:
        lines: Results.
        value: Which error rate of a line, from 0 to 1.
    """
    runs: defaultdict[str, list[Line]] = defaultdict(list)
    for line in lines:
        runs[repr(replace(cell_of(line), seed=0))].append(line)
    rows = []
    for group in runs.values():
        group.sort(key=lambda line: line["cell"]["seed"])
        errors = {line["cell"]["seed"]: 100 * value(line) for line in group}
        rows.append(Row(cell_of(group[0]), errors, mean(minutes(line) for line in group)))
    return rows


def minutes(line: Line) -> float:
    """Return the minutes of a run, its language models included whenever they were trained."""
    if "seconds" not in line:
        return line["total_seconds"] / 60
    return sum(sum(parts.values()) for parts in line["seconds"].values()) / 60


def setting(cell: Cell) -> dict[str, Any]:
    """Return what all rows of one table share besides the data; those of the test set are the directions of reading."""
    names = ("recipe", "model", "texts", "transductive", "lm_epochs", "lm_dropout", "epochs")
    values = asdict(cell)
    return {name: values[name] for name in names} | {"reading": None if cell.split == "test" else cell.reading}


def describe(shared: Mapping[str, Any]) -> str:
    """Return the settings of a table as a sentence."""
    parts = [f"recipe `{shared['recipe']}`"]
    parts.append(f"pretrained model `{shared['model']}`" if shared["model"] else "no pretrained model")
    if shared["reading"] not in (None, "forward"):
        parts.append("read in both directions" if shared["reading"] == "both" else f"read {shared['reading']}")
    if shared["texts"] is not None:
        parts.append(f"language models read {shared['texts']:,} texts")
    if shared["lm_dropout"] is not None:
        parts.append(f"dropouts of the language model times {shared['lm_dropout']:g}")
    for name, what in (("lm_epochs", "language model"), ("epochs", "classifier")):
        if shared[name] is not None:
            parts.append(f"{shared[name]} epochs of the {what}")
    if shared["transductive"]:
        parts.append("**transductive: the language model has read the held-out texts**")
    return ", ".join(parts)


@dataclass(frozen=True)
class Order:
    """How far the rows stand in the paper's order.

    Attributes:
        agree: Pairs of rows that stand in the same order.
        equal: Pairs whose means are the same here, and are not in the paper.
        disagree: Pairs in the other order: the better one here, the worse one, by how many points, and the standard
            error of that difference over the seeds (not a number with one seed).
    """

    agree: int
    equal: tuple[tuple[str, str], ...]
    disagree: tuple[tuple[str, str, float, float], ...]

    @property
    def n_pairs(self) -> int:
        """Number of pairs that are not equal in the paper."""
        return self.agree + len(self.equal) + len(self.disagree)


def compare(rows: Mapping[str, Row], paper: Mapping[str, float]) -> Order:
    """Compare the order of rows with the paper's.

    Args:
        rows: Ours, by name.
        paper: Error rates of the paper by name; pairs of equal ones do not count.
    """
    agree, equal, disagree = 0, [], []
    for one, other in combinations([name for name in rows if name in paper], 2):
        theirs, ours = paper[one] - paper[other], rows[one].mean - rows[other].mean
        if theirs == 0:
            continue
        if math.isclose(ours, 0, abs_tol=_SAME):
            equal.append((one, other))
        elif (ours < 0) == (theirs < 0):
            agree += 1
        else:
            better, worse = (one, other) if ours < 0 else (other, one)
            disagree.append((better, worse, abs(ours), _error(rows[one], rows[other])))
    return Order(agree, tuple(equal), tuple(disagree))


def _error(one: Row, other: Row) -> float:
    """Return the standard error of the mean difference over the seeds that both have."""
    differences: Sequence[float] = [one.errors[seed] - other.errors[seed] for seed in one.errors.keys() & other.errors]
    return stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else math.nan
