from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from tests.training.test_sandbox import Broken, assert_no_trace, everything, noisy
from tests.training.toys import learner
from textxfer.batch import Batch, Loaders
from textxfer.training import Callback, Order
from textxfer.training.lr_find import LRFinderResult, find_lr
from textxfer.training.lr_result import greatest_fall, read_curve, smooth


class Rates(Callback):
    """Notes the rates that each update sees."""

    order = Order.OBSERVE

    def __init__(self) -> None:
        self.seen: list[list[float]] = []

    def after_backward(self, learn):
        self.seen.append([group["lr"] for group in learn.optimizer.param_groups])


class Proportions(Callback):
    """Gives the lower half of the groups a tenth of the rate."""

    def before_fit(self, learn):
        for group in learn.optimizer.param_groups[:3]:
            group["base_lr"] *= 0.1


class EverySecond(Callback):
    order = Order.GRADIENT

    def before_fit(self, learn):
        learn.plan_updates(every=2)

    def before_batch(self, learn):
        if learn.step.index % 2 == 0:
            learn.step.update = None


class TestFindLr:
    def test_rates_grow_by_one_factor_in_all_groups(self):
        watch = Rates()
        result = find_lr(learner(watch, Proportions(), train=3), 1e-6, 1e-1, n_steps=11, stop_factor=1e9)
        expected = [1e-6 * 10 ** (step / 2) for step in range(11)]
        assert result.lrs == pytest.approx(expected)
        assert result.lrs[0] == 1e-6 and result.lrs[-1] == pytest.approx(1e-1)
        for groups, lr in zip(watch.seen, expected, strict=True):
            assert groups == pytest.approx([0.1 * lr] * 3 + [lr] * 3)

    def test_losses_are_those_of_a_plain_loop(self):
        learn = learner(train=3, dropout=0.0)
        twin = learner(train=3, dropout=0.0)
        result = find_lr(learn, 1e-4, 1.0, n_steps=8, stop_factor=1e9)
        optimizer = torch.optim.AdamW(twin.model.parameters(), betas=(0.8, 0.99), eps=1e-8)
        for params in optimizer.param_groups:
            params["weight_decay"] = 0.0
        losses = []
        for step in range(8):
            x, y = twin.loaders.train[step % 3]  # type: ignore[index]
            loss = nn.functional.mse_loss(twin.model(x), y)
            losses.append(loss.item())
            optimizer.zero_grad()
            loss.backward()
            for group in optimizer.param_groups:
                group["lr"] = 1e-4 * 1e4 ** (step / 7)
            with torch.no_grad():  # decoupled decay, of matrices only
                for param in twin.model.parameters():
                    param.mul_(1 - group["lr"] * 0.01 * (param.ndim > 1))
            optimizer.step()
        assert result.losses == pytest.approx(losses, rel=1e-5)

    @pytest.mark.parametrize("n_batches", [1, 3, 200])
    def test_loader_of_any_length(self, n_batches):
        assert len(find_lr(learner(train=n_batches), n_steps=20, stop_factor=1e9).lrs) == 20

    def test_accumulated_batches_are_one_point(self):
        watch = Rates()
        result = find_lr(learner(EverySecond(), watch, train=3), 1e-6, 1e-5, n_steps=10)
        assert len(result.lrs) == 10
        assert len(watch.seen) == 20
        assert watch.seen[::2] == watch.seen[1::2]
        assert [groups[0] for groups in watch.seen[::2]] == pytest.approx(result.lrs)

    def test_stops_when_the_loss_explodes(self):
        result = find_lr(learner(train=5), 1e-3, 1e6, n_steps=200, stop_factor=4)
        assert 5 < len(result.lrs) < 200
        assert all(map(math.isfinite, result.losses))
        assert result.losses[-1] > 4 * min(result.losses)

    @pytest.mark.parametrize("factor", [1.02, 1.2, 4])
    def test_stops_at_the_first_smoothed_loss_above_the_factor_times_the_lowest(self, factor):
        losses = find_lr(learner(train=5), 1e-3, 1e6, n_steps=200, stop_factor=factor).losses
        smoothed = []
        for end in range(1, len(losses) + 1):
            weights = [0.9 ** (end - 1 - i) for i in range(end)]
            smoothed.append(sum(w * loss for w, loss in zip(weights, losses)) / sum(weights))
        over = [i for i, value in enumerate(smoothed) if value > factor * min(smoothed[: i + 1])]
        assert over == [len(losses) - 1]

    def test_stops_at_a_loss_that_is_not_finite(self):
        learn = learner(train=5)
        calls = []

        def loss_fn(pred, target):
            calls.append(1)
            return nn.functional.mse_loss(pred, target) * (math.nan if len(calls) == 7 else 1.0)

        learn.loss_fn = loss_fn
        result = find_lr(learn)
        assert len(result.losses) == 6 and len(calls) == 7

    def test_a_batch_in_which_nothing_counts_is_no_reason_to_stop(self):
        learn = learner(train=3)
        parts = [Batch((x,), y, n) for (x, y), n in zip(learn.loaders.train, (4, 0, 4))]
        learn.loaders = Loaders(parts)

        def loss_fn(pred, target):  # torch's cross-entropy of nothing is NaN, too, with a gradient of zero
            loss = nn.functional.mse_loss(pred, target)
            return 0 * loss + math.nan if target is parts[1].target else loss

        learn.loss_fn = loss_fn
        result = find_lr(learn, n_steps=9, stop_factor=1e9)
        assert len(result.losses) == 9 and all(map(math.isfinite, result.losses))

    def test_trains_in_training_mode_without_validation(self):
        modes = []

        class Modes(Callback):
            def after_forward(self, learn):
                modes.append((learn.step.training, learn.model.training, torch.is_grad_enabled()))

        find_lr(learner(Modes(), valid=3), n_steps=5)
        assert set(modes) == {(True, True, True)}

    def test_of_a_learner(self):
        learn = learner(train=3)
        result = learn.lr_find(n_steps=5)
        assert isinstance(result, LRFinderResult) and len(result.lrs) == 5
        assert not learn.history

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"start": 0.0}, "0 < start < end is needed, not start=0.0"),
            ({"start": 1.0, "end": 1.0}, "0 < start < end"),
            ({"end": math.inf}, "0 < start < end"),
            ({"n_steps": 1}, "n_steps must be at least 2"),
            ({"stop_factor": 1.0}, "stop_factor more than 1"),
        ],
    )
    def test_wrong_arguments(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            find_lr(learner(), **arguments)


class TestLeavesNoTrace:
    @pytest.mark.parametrize("trained", [False, True])
    def test_normally(self, trained, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        learn = noisy(trained)
        before = everything(learn)
        find_lr(learn, n_steps=23)
        assert_no_trace(before, learn)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("error", [RuntimeError("injected"), KeyboardInterrupt()], ids=["error", "ctrl-c"])
    @pytest.mark.parametrize("at", [1, 7, 12])
    def test_after_an_error_at_some_step(self, error, at):
        learn = noisy(trained=True)
        learn.callbacks.append(Broken("after_backward", error, at))
        before = everything(learn)
        with pytest.raises(type(error)):
            find_lr(learn, n_steps=23)
        assert_no_trace(before, learn)

    def test_twice_gives_the_same(self):
        learn = noisy(trained=True)
        assert find_lr(learn, n_steps=15) == find_lr(learn, n_steps=15)


def curve(centre: float = -2.0, n: int = 100, noise: float = 0.0) -> tuple[list[float], list[float]]:
    """Flat at 3, falls to 1 around 10^centre, then explodes."""
    log_lr = np.linspace(-7, 0, n)
    losses = 1 + 2 / (1 + np.exp(6 * (log_lr - centre))) + np.where(log_lr > -0.8, 40 * (log_lr + 0.8), 0)
    losses = losses + noise * np.random.default_rng(0).standard_normal(n)
    return (10**log_lr).tolist(), losses.tolist()


class TestSuggestions:
    @pytest.mark.parametrize("centre", [-4.0, -3.0, -2.0])
    @pytest.mark.parametrize("n", [60, 100, 300])
    def test_are_where_the_curve_falls(self, centre, n):
        result = read_curve(*curve(centre, n))
        assert result.suggestion is not None and result.valley is not None
        assert math.log10(result.suggestion) == pytest.approx(centre, abs=0.15)
        assert math.log10(result.valley) == pytest.approx(centre, abs=0.15)

    def test_are_rates_that_were_tried_and_come_before_the_lowest_point(self):
        result = read_curve(*curve())
        lowest = result.lrs[result.smoothed.index(min(result.smoothed))]
        for lr in (result.suggestion, result.valley):
            assert lr in result.lrs and lr < lowest

    def test_withstand_noise(self):
        result = read_curve(*curve(noise=0.05))
        assert result.suggestion is not None and result.valley is not None
        assert math.log10(result.suggestion) == pytest.approx(-2, abs=0.5)
        assert math.log10(result.valley) == pytest.approx(-2, abs=0.25)

    @pytest.mark.parametrize("losses", [[1.0, 2.0, 3.0, 4.0], [2.0, 2.0, 2.0], [1.0], []])
    def test_none_if_the_loss_never_fell(self, losses):
        result = read_curve([10.0**i for i in range(len(losses))], losses)
        assert (result.suggestion, result.valley) == (None, None)

    def test_smoothing_keeps_constants_and_does_not_lag(self):
        assert smooth([2.0] * 50) == pytest.approx([2.0] * 50)
        step = [1.0] * 50 + [0.0] * 50
        smoothed = smooth(step)
        assert smoothed[49] > 0.5 > smoothed[50]
        assert smoothed == pytest.approx([1 - value for value in reversed(smoothed)])

    @pytest.mark.parametrize(
        ("values", "expected"),
        [([3, 1, 5, 2, 4], (2, 3)), ([1, 2, 3], (0, 0)), ([5, 4, 6, 1], (2, 3)), ([9, 8, 9, 0], (0, 3)), ([], (0, 0))],
    )
    def test_greatest_fall(self, values, expected):
        assert greatest_fall(values) == expected

    def test_greatest_fall_equals_trying_all_pairs(self):
        values = np.random.default_rng(1).standard_normal(40).tolist()
        pairs = [(i, j) for i in range(40) for j in range(i, 40)]
        best = max(values[i] - values[j] for i, j in pairs)
        begin, end = greatest_fall(values)
        assert values[begin] - values[end] == best


def test_repr_is_short():
    assert repr(read_curve([0.1, 1.0, 10.0], [3.0, 2.0, 4.0])).startswith("<LRFinderResult of 3 rates from 1.0e-01 to")
    assert repr(read_curve([], [])) == "<LRFinderResult of 0 rates: suggestion none, valley none>"


class TestPlot:
    def test_marks_both_suggestions(self):
        result = read_curve(*curve())
        ax = result.plot()
        labels = [line.get_label() for line in ax.lines]
        assert labels[:2] == ["loss", "smoothed"]
        assert labels[2].startswith("steepest: ") and labels[3].startswith("valley: ")
        assert ax.get_xscale() == "log"
        assert result.plot(ax) is ax

    def test_shows_the_fall_and_not_the_explosion(self):
        result = read_curve(*curve())
        bottom, top = result.plot().get_ylim()
        assert bottom < min(result.losses) and 3 < top < 5 < max(result.losses)

    def test_without_a_fall(self):
        read_curve([0.1, 1.0], [1.0, 2.0]).plot()
        read_curve([0.1], [1.0]).plot()
        read_curve([], []).plot()
