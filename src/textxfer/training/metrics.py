"""Metrics of one pass over the data: sums on the device, one transfer to the host when the pass is done.

Shapes: T time, B batch, C classes (for a language model the classes are the words of the vocabulary). `pred` has one
axis more than `target`, the last one: (B, C) with (B,), or (T, B, C) with (T, B). A target of -100 does not count.

A metric says itself whether lower or higher values are better. Nothing is guessed from its name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from textxfer.training.metric import Better, Metric, SumMetric, sum_dtype
from textxfer.training.metric_group import MetricGroup

__all__ = [
    "F1",
    "IGNORED",
    "Accuracy",
    "ErrorRate",
    "Loss",
    "Mean",
    "Metric",
    "MetricGroup",
    "Perplexity",
    "SumMetric",
    "validation_metrics",
]

IGNORED = -100
"""The target that counts nowhere, as in `torch.nn.functional.cross_entropy`."""

_COLUMNS = {"fit", "epoch", "train_loss", "valid_loss", "seconds"}
"""What the history and the figures of a pass have beside the metrics."""

F1Average = Literal["macro", "micro", "weighted", "binary"]


class Loss(SumMetric):
    """The mean loss over all targets that count, whatever the sizes of the batches."""

    name = "loss"
    better = "lower"
    reads_pred = False

    def sums(self, pred: Tensor, target: Tensor, n: int, loss: Tensor) -> Tensor:
        """Return (summed loss, number of targets)."""
        return _weighted(loss, n)

    def value(self, totals: Sequence[float]) -> float:
        """Return the mean."""
        return _ratio(*totals)


def validation_metrics(metrics: Sequence[Metric]) -> MetricGroup:
    """Return the metrics of a validation: the loss and the given ones.

    Args:
        metrics: Metrics of different names.

    Raises:
        ValueError: Two of them have the same name, or one has that of another column of the history.
    """
    group = MetricGroup([Loss(), *metrics])
    if taken := sorted(_COLUMNS & {metric.name for metric in metrics}):
        raise ValueError(
            f"a metric cannot be called {' or '.join(taken)}: the history has a column of that name; give it another"
        )
    return group


class Perplexity(Loss):
    """exp of the mean loss per token: exact over the pass, so it does not depend on the batch size."""

    name = "perplexity"

    def value(self, totals: Sequence[float]) -> float:
        """Return exp of the mean; infinity where that is too large for a float."""
        try:
            return math.exp(super().value(totals))
        except OverflowError:
            return math.inf


class Mean(SumMetric):
    """The mean of any function of prediction and target, weighted by the number of targets that count.

    Args:
        fn: `(pred, target) -> scalar tensor`, the mean over the batch. It must not wait for the device.
        name: Key of the figure.
        better: Which values are better: "lower" or "higher".

    Raises:
        ValueError: `better` is neither of the two.
    """

    def __init__(self, fn: Callable[[Tensor, Tensor], Tensor], name: str, better: Better) -> None:
        super().__init__()
        if better not in ("lower", "higher"):
            raise ValueError(f'better must be "lower" or "higher", not {better!r}')
        self.fn, self.name, self.better = fn, name, better

    def sums(self, pred: Tensor, target: Tensor, n: int, loss: Tensor) -> Tensor:
        """Return (summed value, number of targets).

        Raises:
            ValueError: The function returned something else than a scalar.
        """
        mean = self.fn(pred, target)
        if mean.numel() != 1:
            raise ValueError(f"{self!r}: the function must return the mean of the batch, not shape {tuple(mean.shape)}")
        return _weighted(mean, n)

    def value(self, totals: Sequence[float]) -> float:
        """Return the mean."""
        return _ratio(*totals)

    def __repr__(self) -> str:
        fn = getattr(self.fn, "__name__", repr(self.fn))
        return f"Mean(fn={fn}, name={self.name!r}, better={self.better!r})"


class Accuracy(SumMetric):
    """The share of targets that the largest prediction hits."""

    name = "accuracy"
    better = "higher"

    def sums(self, pred: Tensor, target: Tensor, n: int, loss: Tensor) -> Tensor:
        """Return (hits, number of targets); no prediction equals an ignored target."""
        hits = _predicted(pred, target, self) == target
        return torch.stack((hits.sum(), (target != IGNORED).sum()))

    def value(self, totals: Sequence[float]) -> float:
        """Return the share, 0 to 1."""
        return _ratio(*totals)


class ErrorRate(Accuracy):
    """The share of targets that the largest prediction misses."""

    name = "error_rate"
    better = "lower"

    def value(self, totals: Sequence[float]) -> float:
        """Return the share, 0 to 1."""
        hits, count = totals
        return _ratio(count - hits, count)


class F1(SumMetric):
    """The harmonic mean of precision and recall.

    The classes are counted from `pred.shape[-1]`. A class that neither occurs nor is predicted is left out of the
    averages, as scikit-learn does.

    Args:
        average: "macro": mean over classes; "weighted": the same, weighted by how often a class occurs; "micro": from
            counts summed over classes (for one label per document this is the accuracy); "binary": of class 1, for
            two classes.
        name: Key of the figure.

    Raises:
        ValueError: There is no such average.
    """

    better = "higher"

    def __init__(self, average: F1Average = "macro", name: str = "f1") -> None:
        super().__init__()
        if average not in ("macro", "micro", "weighted", "binary"):
            raise ValueError(f'average must be "macro", "micro", "weighted" or "binary", not {average!r}')
        self.average, self.name = average, name

    def sums(self, pred: Tensor, target: Tensor, n: int, loss: Tensor) -> Tensor:
        """Return per class: hits, predictions, occurrences; (3 * C,).

        Raises:
            ValueError: The average is "binary" and there are not two classes.
        """
        classes = pred.shape[-1]
        if self.average == "binary" and classes != 2:
            raise ValueError(f'F1(average="binary") is for 2 classes, but the model predicts {classes}')
        predicted, target = _predicted(pred, target, self).flatten(), target.flatten()
        counted = target != IGNORED
        actual = torch.where(counted, target, 0)
        rows = ((actual, counted & (predicted == target)), (predicted, counted), (actual, counted))
        zeros = torch.zeros(classes, dtype=torch.int64, device=pred.device)
        # Not bincount: on a GPU that waits for the device to learn the number of bins.
        return torch.cat([zeros.scatter_add(0, index, counts.long()) for index, counts in rows])

    def value(self, totals: Sequence[float]) -> float:
        """Return the average, 0 to 1."""
        hits, predictions, occurrences = torch.tensor(totals, dtype=torch.float64).reshape(3, -1)
        if self.average == "micro":
            return _ratio(2 * hits.sum().item(), (predictions + occurrences).sum().item())
        present = predictions + occurrences > 0
        scores = 2 * hits / (predictions + occurrences).clamp(min=1)
        if self.average == "binary":
            return scores[1].item() if present[1] else math.nan
        weights = occurrences if self.average == "weighted" else present.double()
        return _ratio((weights * scores).sum().item(), weights.sum().item())

    def __repr__(self) -> str:
        return f"F1(average={self.average!r}, name={self.name!r})"


def _weighted(mean: Tensor, n: int) -> Tensor:
    mean = mean.detach().reshape(()).to(sum_dtype(mean.device))
    return torch.stack((mean, torch.ones_like(mean))) * n


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def _predicted(pred: Tensor, target: Tensor, metric: Metric) -> Tensor:
    if pred.shape[:-1] != target.shape:
        raise ValueError(
            f"{metric!r} compares predictions of shape (..., classes) with targets of shape (...), "
            f"not {tuple(pred.shape)} with {tuple(target.shape)}"
        )
    return pred.argmax(-1)
