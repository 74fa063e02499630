"""Predictions and fits in turn, in one process, and what it holds after each round."""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

from tests.programs.toys import FILLERS, TINY, WORDS, task
from tests.soak.jobs import JOBS, quiet
from tests.soak.watch import Sample, sample
from textxfer import Predictor, ulmfit
from textxfer.names import Precision
from textxfer.task import TaskData

PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "bf16", "int8")
LONGEST = 80
"""Words of the longest text."""


class Work:
    """The rounds: some predictions and a fit each.

    Args:
        folder: An empty folder to work in.
        predictions: Texts that are classified in each round.
        lengths: How many different lengths the texts have, up to 80 words. They come in an order that is drawn once
            and repeats itself, and so do the shapes of batches: oneDNN compiles code for each new one and keeps it,
            see `shapes`, which has to come to an end within the warm-up.
        seed: What texts are drawn from.
    """

    def __init__(self, folder: Path, predictions: int, lengths: int = LONGEST, seed: int = 0) -> None:
        self.folder, self.predictions = folder, predictions
        self._random = random.Random(seed)
        order = self._random.sample(range(1, lengths + 1), lengths)
        self._lengths = cycle([LONGEST * n // lengths for n in order])
        self._data: TaskData = task(120)
        learn = ulmfit.classify(self._data, recipe=TINY, callbacks=[quiet()])
        ulmfit.save(folder / "model", learn, self._data)
        self._predictors = [Predictor.load(folder / "model", dtype=dtype) for dtype in PRECISIONS]

    def round(self, number: int) -> None:
        """Classify and train.

        Args:
            number: Number of the round, from 0: it chooses the kind of fit and the predictor that is read again.

        Raises:
            AssertionError: A fit has left half-written files, or a prediction is none.
        """
        again = number % len(PRECISIONS)
        self._predictors[again] = Predictor.load(self.folder / "model", dtype=PRECISIONS[again])
        self._predict()
        place = self.folder / f"fit-{number}"
        place.mkdir()
        kind = number % len(JOBS)
        JOBS[kind](self._data, place, kind)
        left = [path for path in place.rglob("*") if path.name.startswith(".") or path.suffix == ".part"]
        assert not left, left
        shutil.rmtree(place)

    def _predict(self) -> None:
        """Classify texts by each predictor, half of them one at a time, the others together."""
        for index, predictor in enumerate(self._predictors):
            n = len(range(index, self.predictions, len(self._predictors)))
            texts = [self._text() for _ in range(n)]
            found = [row for text in texts[: n // 2] for row in predictor(text)] + predictor(texts[n // 2 :])
            assert len(found) == n
            assert all(abs(sum(row.probabilities.values()) - 1) < 1e-3 for row in found)

    def _text(self) -> str:
        """Draw a text of the next length; no word follows itself, for the tokenizer joins words that are repeated."""
        words, text = self._random.choice(list(WORDS.values())) + FILLERS, [""]
        for _ in range(next(self._lengths)):
            text.append(self._random.choice([word for word in words if word != text[-1]]))
        return " ".join(text[1:])


def soak(rounds: int, predictions: int, lengths: int = LONGEST, seed: int = 0) -> Iterator[Sample]:
    """Do the rounds and yield what the process held after each.

    Args:
        rounds: Their number, which is also that of the fits.
        predictions: Texts that are classified in each round.
        lengths: How many different lengths the texts have.
        seed: What texts are drawn from.
    """
    began = time.monotonic()
    with _scratch() as (folder, temporary):
        work = Work(folder, predictions, lengths, seed)
        for number in range(rounds):
            work.round(number)
            yield sample(number + 1, (number + 1) * predictions, time.monotonic() - began, temporary)


@contextmanager
def _scratch() -> Iterator[tuple[Path, Path]]:
    """Yield a folder to work in and one that is empty, in which all temporary files of this process go."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="textxfer-soak-") as folder:
        work, temporary = Path(folder) / "work", Path(folder) / "temporary"
        work.mkdir()
        temporary.mkdir()
        tempfile.tempdir = str(temporary)
        try:
            yield work, temporary
        finally:
            tempfile.tempdir = before
