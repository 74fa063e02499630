"""Several metrics over one pass, with one transfer from the device for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from textxfer.training.metric import Metric, SumMetric


class MetricGroup:
    """Metrics that are updated and computed together.

    Args:
        metrics: Metrics of different names, each of which says which values are better.

    Raises:
        TypeError: One of them is not a `Metric`, or has no name or direction.
        ValueError: Two of them have the same name.
    """

    def __init__(self, metrics: Sequence[Metric]) -> None:
        for metric in metrics:
            _check(metric)
        names = [metric.name for metric in metrics]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"metrics need different names, but there are several called {', '.join(twice)}")
        self.metrics = tuple(metrics)

    def __len__(self) -> int:
        return len(self.metrics)

    def __iter__(self) -> Iterator[Metric]:
        return iter(self.metrics)

    def __getitem__(self, name: str) -> Metric:
        """Return the metric of this name; KeyError listing the names otherwise."""
        for metric in self.metrics:
            if metric.name == name:
                return metric
        raise KeyError(f"no metric is called {name!r}; there are {', '.join(m.name for m in self.metrics) or 'none'}")

    @property
    def reads_pred(self) -> bool:
        """Whether a metric looks at the prediction."""
        return any(metric.reads_pred for metric in self.metrics)

    def reset(self) -> None:
        """Forget everything: a pass begins."""
        for metric in self.metrics:
            metric.reset()

    @torch.no_grad()
    def update(self, pred: Tensor, target: Tensor, n: int, loss: Tensor) -> None:
        """Take in one batch, see `Metric.update`."""
        for metric in self.metrics:
            metric.update(pred, target, n, loss)

    def compute(self) -> dict[str, float]:
        """Return name -> figure, in the order of the metrics."""
        host = _to_host({m.name: m.totals for m in self.metrics if isinstance(m, SumMetric) and m.totals is not None})
        return {
            m.name: m.value(host[m.name]) if isinstance(m, SumMetric) and m.name in host else m.compute()
            for m in self.metrics
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the state of all metrics in one flat dict; keys are `name/key`."""
        return {f"{m.name}/{key}": value for m in self.metrics for key, value in m.state_dict().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` of metrics of the same names returned.

        Raises:
            ValueError: The state holds metrics that are not here.
        """
        prefixes = {f"{metric.name}/": metric for metric in self.metrics}
        if unknown := [key for key in state if not key.startswith(tuple(prefixes))]:
            raise ValueError(f"the state holds metrics that this learner lacks: {', '.join(sorted(unknown))}")
        for prefix, metric in prefixes.items():
            own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
            metric.load_state_dict(own)

    def __repr__(self) -> str:
        return f"MetricGroup({list(self.metrics)!r})"


def _check(metric: Metric) -> None:
    if not isinstance(metric, Metric):
        hint = f"; write {metric.__name__}()" if isinstance(metric, type) and issubclass(metric, Metric) else ""
        raise TypeError(f"{metric!r} is not a Metric{hint}")
    name = getattr(metric, "name", None)
    if not isinstance(name, str) or not name or "/" in name:
        raise TypeError(f"{type(metric).__name__}.name must be a word without '/', not {name!r}")
    if getattr(metric, "better", None) not in ("lower", "higher"):
        raise TypeError(f'{type(metric).__name__}.better must be "lower" or "higher": nothing is guessed from the name')


def _to_host(totals: dict[str, Tensor]) -> dict[str, list[float]]:
    """Move vectors to the host, in one transfer if they are on one device."""
    vectors = list(totals.values())
    if len({vector.device for vector in vectors}) != 1:
        return {name: vector.tolist() for name, vector in totals.items()}
    parts = torch.cat(vectors).cpu().split([len(vector) for vector in vectors])
    return {name: part.tolist() for name, part in zip(totals, parts)}
