from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from textxfer.training.metrics import (
    F1,
    Accuracy,
    ErrorRate,
    Loss,
    Mean,
    Metric,
    MetricGroup,
    Perplexity,
    SumMetric,
)

AVERAGES = ("macro", "micro", "weighted")


def margin(pred: Tensor, target: Tensor) -> Tensor:
    return pred.max(-1).values.mean()


def every_metric() -> list[Metric]:
    return [
        Loss(),
        Perplexity(),
        Accuracy(),
        ErrorRate(),
        *(F1(average, f"f1_{average}") for average in AVERAGES),
        Mean(margin, "margin", "higher"),
    ]


def data(n: int = 101, classes: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(classes, (n,), generator=generator)
    pred = torch.randn(n, classes, generator=generator) + 1.5 * F.one_hot(target, classes)
    return pred, target


def feed(metric: Metric | MetricGroup, pred: Tensor, target: Tensor, size: int) -> None:
    for p, t in zip(pred.split(size), target.split(size)):
        metric.update(p, t, len(t), F.cross_entropy(p, t))


def plain_f1(pred: np.ndarray, target: np.ndarray, average: str) -> float:
    """Class by class, from the definitions of precision and recall."""
    scores, support = [], []
    for c in sorted(set(pred) | set(target)):
        tp = sum((pred == c) & (target == c))
        precision = tp / sum(pred == c) if any(pred == c) else 0.0
        recall = tp / sum(target == c) if any(target == c) else 0.0
        scores.append(2 * precision * recall / (precision + recall) if tp else 0.0)
        support.append(sum(target == c))
    if average == "micro":
        return float(np.mean(pred == target))
    return float(np.average(scores, weights=support if average == "weighted" else None))


class TestValues:
    @pytest.mark.parametrize("size", [1, 7, 64, 101])
    def test_loss_and_perplexity_do_not_depend_on_the_batch_size(self, size):
        pred, target = data()
        group = MetricGroup([Loss(), Perplexity()])
        feed(group, pred, target, size)
        exact = F.cross_entropy(pred.double(), target).item()
        assert group.compute() == pytest.approx({"loss": exact, "perplexity": math.exp(exact)}, rel=1e-6)

    def test_means_weigh_targets_and_not_batches(self):
        loss = Loss()
        loss.update(torch.empty(0, 2), torch.empty(0), 90, torch.tensor(1.0))
        loss.update(torch.empty(0, 2), torch.empty(0), 10, torch.tensor(2.0))
        assert loss.compute() == pytest.approx(1.1)

    def test_a_batch_in_which_nothing_counts_adds_nothing(self):
        loss = Loss()
        loss.update(torch.zeros(1, 2), torch.tensor([0]), 1, torch.tensor(3.0))
        loss.update(torch.zeros(1, 2), torch.tensor([-100]), 0, torch.tensor(math.nan))
        assert loss.compute() == 3.0

    def test_a_nan_is_not_hidden(self):
        loss = Loss()
        for value in (1.0, math.nan, 1.0):
            loss.update(torch.zeros(1, 2), torch.tensor([0]), 1, torch.tensor(value))
        assert math.isnan(loss.compute())

    def test_small_losses_are_not_lost_in_large_sums(self):
        loss = Loss()
        loss.update(torch.zeros(1, 2), torch.tensor([0]), 2**26, torch.tensor(1.0))
        for _ in range(100):
            loss.update(torch.zeros(1, 2), torch.tensor([0]), 1, torch.tensor(1.0))
        assert loss.compute() == 1.0
        assert loss.totals is not None and loss.totals.tolist() == [2**26 + 100] * 2

    def test_perplexity_of_a_huge_loss_is_infinite(self):
        metric = Perplexity()
        metric.update(torch.zeros(1, 2), torch.tensor([0]), 1, torch.tensor(1000.0))
        assert metric.compute() == math.inf

    def test_accuracy_of_rows_and_of_tokens(self):
        pred, target = data(120)
        expected = float(np.mean(pred.numpy().argmax(1) == target.numpy()))
        for shape in ((120,), (6, 20)):
            accuracy, error = Accuracy(), ErrorRate()
            for metric in (accuracy, error):
                metric.update(pred.view(*shape, -1), target.view(shape), 120, torch.tensor(0.0))
            assert accuracy.compute() == expected
            assert error.compute() == pytest.approx(1 - expected)

    def test_ignored_targets_count_nowhere(self):
        pred, target = data(60)
        masked = target.clone()
        masked[::3] = -100
        kept = masked != -100
        for metric in (Accuracy(), ErrorRate(), *(F1(average) for average in AVERAGES)):
            metric.update(pred, masked, int(kept.sum()), torch.tensor(0.0))
            with_mask = metric.compute()
            metric.reset()
            metric.update(pred[kept], target[kept], int(kept.sum()), torch.tensor(0.0))
            assert with_mask == metric.compute()

    @given(
        st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40),
        st.sampled_from(AVERAGES),
        st.integers(1, 50),
    )
    @settings(deadline=None, max_examples=60)
    def test_f1_equals_the_definition(self, pairs, average, size):
        pred, target = (torch.tensor(column) for column in zip(*pairs))
        metric = F1(average)
        feed(metric, F.one_hot(pred, 6).float(), target, size)
        assert metric.compute() == pytest.approx(plain_f1(pred.numpy(), target.numpy(), average))

    def test_f1_of_class_1(self):
        pred, target = torch.tensor([1, 1, 1, 0, 0, 0]), torch.tensor([1, 1, 0, 1, 0, 0])
        metric = F1("binary")
        feed(metric, F.one_hot(pred, 2).float(), target, 4)
        assert metric.compute() == pytest.approx(2 * 2 / (3 + 3))

    def test_f1_of_class_1_that_never_occurs(self):
        metric = F1("binary")
        feed(metric, torch.tensor([[1.0, 0.0]]), torch.tensor([0]), 1)
        assert math.isnan(metric.compute())

    def test_mean_of_any_function(self):
        pred, target = data()
        metric = Mean(margin, "margin", "higher")
        feed(metric, pred, target, 7)
        assert metric.compute() == pytest.approx(pred.max(-1).values.double().mean().item())


class TestEveryMetric:
    @pytest.mark.parametrize("metric", every_metric(), ids=lambda metric: metric.name)
    def test_update_does_not_wait_for_the_device(self, metric):
        # The meta device holds no values: reading one, as item() or a mask does, is an error there.
        pred, target = torch.empty(4, 5, device="meta"), torch.empty(4, dtype=torch.int64, device="meta")
        for _ in range(2):
            metric.update(pred, target, 4, torch.empty((), device="meta"))
        with pytest.raises((RuntimeError, NotImplementedError)):
            metric.compute()
        metric.reset()

    @pytest.mark.parametrize("metric", every_metric(), ids=lambda metric: metric.name)
    def test_nothing_counted_is_nan(self, metric):
        assert math.isnan(metric.compute())
        feed(metric, *data(), size=50)
        assert not math.isnan(metric.compute())
        metric.reset()
        assert math.isnan(metric.compute())

    @pytest.mark.parametrize("cut", [0, 1, 3, 15])
    def test_resume_in_the_middle_of_a_pass_is_bit_identical(self, cut):
        pred, target = data()
        chunks = list(zip(pred.split(7), target.split(7)))
        whole, first, second = (MetricGroup(every_metric()) for _ in range(3))
        feed(whole, pred, target, 7)
        for p, t in chunks[:cut]:
            first.update(p, t, len(t), F.cross_entropy(p, t))
        state = first.state_dict()
        assert all(isinstance(value, Tensor) for value in state.values())
        second.load_state_dict({key: value.clone() for key, value in state.items()})
        for p, t in chunks[cut:]:
            second.update(p, t, len(t), F.cross_entropy(p, t))
        assert second.compute() == whole.compute()

    def test_a_saved_state_does_not_change_later(self):
        pred, target = data()
        metric = Accuracy()
        feed(metric, pred[:50], target[:50], 10)
        state, before = metric.state_dict(), metric.compute()
        feed(metric, pred[50:], target[50:], 10)
        metric.load_state_dict(state)
        feed(metric, pred[50:], target[50:], 10)
        metric.load_state_dict(state)
        assert metric.compute() == before

    def test_no_graph_is_kept(self):
        pred, target = data()
        for metric in every_metric():
            scores = pred.clone().requires_grad_()
            metric.update(scores, target, 101, F.cross_entropy(scores, target))
            assert isinstance(metric, SumMetric)
            assert metric.totals is not None and not metric.totals.requires_grad

    @pytest.mark.parametrize("metric", every_metric(), ids=lambda metric: metric.name)
    def test_repr_builds_it_again(self, metric):
        again = eval(repr(metric))
        assert (type(again), again.name, again.better) == (type(metric), metric.name, metric.better)

    def test_halves_of_two_processes_add_up(self):
        pred, target = data()
        for whole, left, right in zip(every_metric(), every_metric(), every_metric()):
            assert isinstance(whole, SumMetric) and isinstance(left, SumMetric) and isinstance(right, SumMetric)
            feed(whole, pred, target, 10)
            feed(left, pred[:50], target[:50], 10)
            feed(right, pred[50:], target[50:], 10)
            assert left.totals is not None and right.totals is not None
            left.totals += right.totals
            assert left.compute() == pytest.approx(whole.compute())


class TestDirection:
    def test_each_metric_says_it_itself(self):
        directions = {metric.name: metric.better for metric in every_metric()}
        assert {name for name, better in directions.items() if better == "lower"} == {
            "loss",
            "perplexity",
            "error_rate",
        }

    def test_is_better(self):
        assert Perplexity().is_better(20.0, 30.0)
        assert not Perplexity().is_better(30.0, 20.0)
        assert Accuracy().is_better(0.9, 0.8)
        for metric in (Loss(), Accuracy()):
            assert not metric.is_better(1.0, 1.0)
            assert metric.is_better(1.0, math.nan)
            assert not metric.is_better(math.nan, 1.0)
            assert not metric.is_better(math.nan, math.nan)

    def test_a_metric_without_direction_is_refused(self):
        class Silent(Accuracy):
            better = None  # type: ignore[assignment]

        with pytest.raises(TypeError, match=r"Silent\.better must be"):
            MetricGroup([Silent()])
        with pytest.raises(ValueError, match="better must be"):
            Mean(margin, "margin", "up")  # type: ignore[arg-type]


class TestErrors:
    def test_shapes(self):
        with pytest.raises(ValueError, match=r"Accuracy\(\) compares .* not \(4, 2\) with \(4, 2\)"):
            Accuracy().update(torch.zeros(4, 2), torch.zeros(4, 2), 4, torch.tensor(0.0))
        with pytest.raises(ValueError, match=r"must return the mean of the batch, not shape \(4,\)"):
            Mean(lambda p, t: p[:, 0], "first", "lower").update(torch.zeros(4, 2), torch.zeros(4), 4, torch.tensor(0.0))

    def test_f1(self):
        with pytest.raises(ValueError, match="average must be"):
            F1("samples")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="for 2 classes, but the model predicts 3"):
            F1("binary").update(torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64), 4, torch.tensor(0.0))


class Longest(Metric):
    """The most targets in a batch: not a sum, so it keeps its own state."""

    name = "longest"
    better = "higher"

    def __init__(self) -> None:
        self.most = 0

    def reset(self) -> None:
        self.most = 0

    def update(self, pred, target, n, loss) -> None:
        self.most = max(self.most, n)

    def compute(self) -> float:
        return float(self.most)

    def state_dict(self):
        return {"most": self.most}

    def load_state_dict(self, state) -> None:
        self.most = state["most"]


class TestGroup:
    def test_equals_the_metrics_alone_in_their_order(self):
        pred, target = data()
        group, alone = MetricGroup([*every_metric(), Longest()]), [*every_metric(), Longest()]
        for part in (group, *alone):
            feed(part, pred, target, 30)
        assert group.compute() == {metric.name: metric.compute() for metric in alone}
        assert list(group.compute()) == [metric.name for metric in alone]

    def test_one_transfer_for_all(self, monkeypatch):
        group = MetricGroup(every_metric())
        feed(group, *data(), size=50)
        transfers = []
        monkeypatch.setattr(Tensor, "cpu", lambda self: transfers.append(len(self)) or self)
        group.compute()
        assert len(transfers) == 1

    def test_reset(self):
        group = MetricGroup(every_metric())
        feed(group, *data(), size=50)
        group.reset()
        assert all(math.isnan(value) for value in group.compute().values())

    def test_empty(self):
        group = MetricGroup([])
        feed(group, *data(), size=50)
        assert group.compute() == group.state_dict() == {}

    def test_names_must_differ(self):
        with pytest.raises(ValueError, match="several called accuracy, loss"):
            MetricGroup([Loss(), Accuracy(), Loss(), Accuracy(), F1()])

    def test_classes_and_strangers(self):
        with pytest.raises(TypeError, match=r"is not a Metric; write Accuracy\(\)"):
            MetricGroup([Accuracy])  # type: ignore[list-item]
        with pytest.raises(TypeError, match="is not a Metric"):
            MetricGroup([margin])  # type: ignore[list-item]
        with pytest.raises(TypeError, match="must be a word without '/', not 'a/b'"):
            MetricGroup([Mean(margin, "a/b", "lower")])

    def test_by_name(self):
        group = MetricGroup([Loss(), F1()])
        assert isinstance(group["f1"], F1)
        assert [metric.name for metric in group] == ["loss", "f1"] and len(group) == 2
        with pytest.raises(KeyError, match="no metric is called 'F1'; there are loss, f1"):
            group["F1"]

    def test_state_of_other_metrics_is_refused(self):
        group = MetricGroup([Loss(), Accuracy()])
        feed(group, *data(), size=50)
        assert set(group.state_dict()) == {"loss/totals", "accuracy/totals"}
        with pytest.raises(ValueError, match="this learner lacks: accuracy/totals"):
            MetricGroup([Loss()]).load_state_dict(group.state_dict())
