"""A cell: one training with one error rate, its identity and its line in the results."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from textxfer.files import write_text
from textxfer.locks import alone
from textxfer.text import DataError

RESULTS = Path(__file__).parent / "results"
Method = Literal["textxfer", "scratch", "tf-idf"]
Reading = Literal["forward", "backward", "both"]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One training.

    Attributes:
        data: Name of the data set.
        method: ULMFiT; the same classifier from random weights; or TF-IDF with logistic regression.
        variant: Row of an ablation table, see `textxfer.variants`; None is the recipe as it is.
        reading: Direction of reading, or both with their probabilities averaged.
        split: What the error is of: the official test set, or a tenth of the training set.
        labels: Labelled documents; None: all.
        texts: Texts that the language model reads, the labelled ones included; 0: these only; None: all there are.
        transductive: Whether it reads the held-out texts, without their labels, as well.
        model: Pretrained model.
        recipe: Name of the preset.
        lm_epochs: Epochs of the language model instead of the recipe's.
        lm_dropout: Factor on the dropouts of the language model's training; None: as in the recipe.
        epochs: Epochs of the classifier instead of the recipe's.
        seed: Seed of the choice of labelled documents, weights, dropouts and order.
    """

    data: str
    method: Method = "textxfer"
    variant: str | None = None
    reading: Reading = "forward"
    split: Literal["test", "valid"] = "test"
    labels: int | None = None
    texts: int | None = None
    transductive: bool = False
    model: str | None = None
    recipe: str = "small"
    lm_epochs: int | None = None
    lm_dropout: float | None = None
    epochs: int | None = None
    seed: int = 0

    def __str__(self) -> str:
        """Name what differs from the defaults."""
        parts = [
            f"{each.name} {getattr(self, each.name)}"
            for each in fields(self)
            if getattr(self, each.name) != each.default
        ]
        return ", ".join(parts)


Line = dict[str, Any]
"""A line of the results: the cell and what came out."""


def path_of(data: str, folder: Path = RESULTS) -> Path:
    """Return the file with the results of a data set."""
    return folder / f"{data}.jsonl"


def read_lines(data: str, folder: Path = RESULTS) -> list[Line]:
    """Return the results of a data set; none if there are none.

    Raises:
        DataError: A line is damaged; the message says which.
    """
    path = path_of(data, folder)
    if not path.exists():
        return []
    lines = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            value = json.loads(line)
            Cell(**value["cell"])
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"{path}, line {number} is damaged ({error}): remove it, and its cell is run again"
            ) from error
        lines.append(value)
    return lines


def cell_of(line: Line) -> Cell:
    """Return the cell that a line is about."""
    return Cell(**line["cell"])


def keep(line: Line, folder: Path = RESULTS) -> None:
    """Add a line to the results; one of the same cell is replaced. The file is whole at any moment."""
    data = line["cell"]["data"]
    path = path_of(data, folder)
    with alone(path.with_suffix(".lock")):  # else a line that another command adds meanwhile would be gone
        lines = [other for other in read_lines(data, folder) if cell_of(other) != cell_of(line)]
        rows = sorted([*lines, line], key=lambda each: json.dumps(each["cell"], sort_keys=True))
        write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def done(cells: Iterable[Cell], folder: Path = RESULTS) -> dict[Cell, Line]:
    """Return the results that there are of some cells."""
    wanted = dict.fromkeys(cells)
    lines = {cell_of(line): line for data in {cell.data for cell in wanted} for line in read_lines(data, folder)}
    return {cell: lines[cell] for cell in wanted if cell in lines}


def as_json(cell: Cell) -> dict[str, Any]:
    """Return the cell as JSON values."""
    return asdict(cell)
