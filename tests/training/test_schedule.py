from __future__ import annotations

import json
import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textxfer.training.schedule import (
    Constant,
    Cosine,
    Linear,
    OneCycle,
    Piecewise,
    Schedule,
    SlantedTriangular,
    one_cycle_momentum,
    schedule_from_dict,
)

ALL = [
    Constant(0.5),
    Linear(0.2, 1.0),
    Cosine(1.0, 0.1),
    OneCycle(0.3, 10, 1e3),
    SlantedTriangular(0.2, 8),
    Piecewise(((0.25, Linear(0, 1)), (0.5, Constant()), (0.25, Piecewise(((0.5, Cosine()), (0.5, Linear())))))),
    one_cycle_momentum(),
]


def paper(t: int, n_steps: int, cut_frac: float, ratio: float) -> float:
    """Howard & Ruder 2018, equation 3, letter by letter."""
    cut = math.floor(n_steps * cut_frac)
    p = t / cut if t < cut else 1 - (t - cut) / (cut * (1 / cut_frac - 1))
    return (1 + max(p, 0) * (ratio - 1)) / ratio


class TestSlantedTriangular:
    @pytest.mark.parametrize(("cut", "ratio"), [(0.1, 32), (1 / 3, 8), (1 / 8, 8), (0.5, 1)])
    def test_is_the_formula_of_the_paper_at_every_step(self, cut, ratio):
        schedule = SlantedTriangular(cut, ratio)
        for n_steps in range(math.ceil(1 / cut), 201):
            for t in range(n_steps):
                assert schedule.at(t, n_steps) == pytest.approx(paper(t, n_steps, cut, ratio), rel=1e-12)

    def test_peak_is_at_the_cut_step(self):
        for n_steps in range(10, 201):
            values = [SlantedTriangular().at(t, n_steps) for t in range(n_steps)]
            assert values.index(max(values)) == n_steps // 10
            assert max(values) == 1

    @pytest.mark.parametrize("n_steps", range(1, 10))
    def test_few_steps_climb_for_one(self, n_steps):
        values = [SlantedTriangular().at(t, n_steps) for t in range(n_steps)]
        # One step up; then down at the pace of ten steps in all.
        expected = [1 / 32] + [(1 + (1 - t / 9) * 31) / 32 for t in range(n_steps - 1)]
        assert values == pytest.approx(expected)

    def test_cut_steps_are_not_lost_to_rounding(self):
        assert 100 * 0.29 < 29
        assert SlantedTriangular(cut=0.29).at(29, 100) == 1
        assert SlantedTriangular(cut=0.29).at(28, 100) < 1

    def test_continuous_form(self):
        schedule = SlantedTriangular(0.1, 32)
        assert schedule(0) == schedule(1) == 1 / 32
        assert schedule(0.1) == 1
        assert schedule(0.05) == schedule(0.55) == pytest.approx((1 + 0.5 * 31) / 32)
        assert [schedule(t / 1000) for t in range(1000)] == pytest.approx([schedule.at(t, 1000) for t in range(1000)])


class TestShapes:
    def test_one_cycle(self):
        schedule = OneCycle(warmup=0.25, div=25, final_div=1e5)
        assert schedule(0) == 1 / 25
        assert schedule(0.25) == 1
        assert schedule(1) == 1e-5
        assert schedule(0.125) == pytest.approx((1 + 1 / 25) / 2)
        assert schedule(0.25 + 0.375) == pytest.approx((1 + 1e-5) / 2)
        assert schedule(0.5) == pytest.approx(1e-5 + (1 - 1e-5) * (1 + math.cos(math.pi / 3)) / 2)

    def test_one_cycle_without_warmup_starts_at_the_top(self):
        assert OneCycle(warmup=0)(0) == 1

    def test_linear_and_cosine_are_exact_at_both_ends(self):
        for cls in (Linear, Cosine):
            assert cls(0.1, 0.3)(0) == 0.1
            assert cls(0.1, 0.3)(1) == 0.3
            assert cls(0.1, 0.3)(0.5) == pytest.approx(0.2)
        assert Linear(0, 4)(0.25) == 1
        assert Cosine(1, 0)(0.25) == pytest.approx((1 + math.sqrt(0.5)) / 2)

    @pytest.mark.parametrize("schedule", ALL, ids=repr)
    def test_defined_everywhere_and_held_at_the_ends(self, schedule):
        values = [schedule(i / 997) for i in range(998)]
        assert all(math.isfinite(value) and value >= 0 for value in values)
        assert schedule(-0.5) == schedule(0)
        assert schedule(1.5) == schedule(1)

    def test_momentum_mirrors_the_rate(self):
        momentum, rate = one_cycle_momentum(0.8, 0.7, warmup=0.25), OneCycle(warmup=0.25)
        assert (momentum(0), momentum(0.25), momentum(1)) == (0.8, 0.7, 0.8)
        steps = [step / 400 for step in range(401)]
        assert min(steps, key=momentum) == max(steps, key=rate) == 0.25
        assert one_cycle_momentum(0.8, 0.7, warmup=0) == Cosine(0.7, 0.8)

    def test_n_steps_must_be_positive(self):
        for schedule in ALL:
            with pytest.raises(ValueError, match="n_steps must be at least 1, not 0"):
                schedule.at(0, 0)


class TestPiecewise:
    def test_parts_run_from_their_0_to_their_1(self):
        schedule = Piecewise(((0.25, Linear(0, 1)), (0.75, Linear(3, 2))))
        assert schedule(0) == 0
        assert schedule(0.125) == 0.5
        assert schedule(0.25) == 3  # the later part holds where two meet
        assert schedule(0.625) == 2.5
        assert schedule(1) == 2

    @pytest.mark.parametrize("shares", [(0.7, 0.2, 0.1), (0.1,) * 10, (1 / 3, 1 / 3, 1 / 3), (0.1, 0.2, 0.7)])
    def test_sums_need_not_be_exact(self, shares):
        Piecewise(tuple((share, Constant()) for share in shares))

    @pytest.mark.parametrize("n_steps", [10, 20, 50, 100, 1000, 12340])
    def test_boundaries_fall_on_the_exact_step(self, n_steps):
        schedule = Piecewise(((0.1, Constant(1)), (0.2, Constant(2)), (0.3, Constant(3)), (0.4, Constant(4))))
        counts = [0, 0, 0, 0]
        for step in range(n_steps):
            counts[int(schedule.at(step, n_steps)) - 1] += 1
        assert counts == [n_steps // 10 * k for k in (1, 2, 3, 4)]

    @given(st.lists(st.integers(1, 1000), min_size=1, max_size=8))
    def test_any_shares(self, weights):
        shares = [weight / sum(weights) for weight in weights]
        schedule = Piecewise(tuple((share, Linear(index, index + 1)) for index, share in enumerate(shares)))
        assert schedule(0) == 0
        assert schedule(1) == len(weights)
        total = 0
        for index, weight in enumerate(weights):
            assert schedule(total / sum(weights)) == pytest.approx(index, abs=1e-6)
            total += weight

    @pytest.mark.parametrize(
        ("parts", "error", "message"),
        [
            ((), ValueError, "sum to 0, not to 1"),
            (((0.5, Constant()), (0.4, Constant())), ValueError, r"\[0.5, 0.4\] sum to 0.9, not to 1"),
            (((0.0, Constant()), (1.0, Constant())), ValueError, "more than 0 and at most 1, not 0.0"),
            (((1.5, Constant()), (-0.5, Constant())), ValueError, "more than 0 and at most 1, not 1.5"),
            (((math.nan, Constant()),), ValueError, "not nan"),
            (((1.0, 0.3),), TypeError, "pairs"),
        ],
    )
    def test_wrong_parts(self, parts, error, message):
        with pytest.raises(error, match=message):
            Piecewise(parts)

    def test_a_list_of_parts_is_the_same(self):
        schedule = Piecewise([[0.5, Constant()], [0.5, Linear()]])  # type: ignore[arg-type]
        assert schedule == Piecewise(((0.5, Constant()), (0.5, Linear())))
        assert hash(schedule) == hash(Piecewise(((0.5, Constant()), (0.5, Linear()))))


class TestJson:
    @pytest.mark.parametrize("schedule", ALL, ids=repr)
    def test_round_trip(self, schedule):
        again = schedule_from_dict(json.loads(json.dumps(schedule.to_dict())))
        assert again == schedule
        assert type(again) is type(schedule)
        assert [again.at(t, 77) for t in range(77)] == [schedule.at(t, 77) for t in range(77)]

    def test_form(self):
        assert SlantedTriangular().to_dict() == {"kind": "SlantedTriangular", "cut": 0.1, "ratio": 32.0}

    def test_schedules_of_users_too(self):
        @dataclass(frozen=True)
        class Square(Schedule):
            top: float = 1.0

            def value(self, fraction: float) -> float:
                return self.top * fraction**2

        try:
            again = schedule_from_dict(json.loads(json.dumps(Piecewise(((1.0, Square(3.0)),)).to_dict())))
            assert again(0.5) == 0.75
        finally:
            del Schedule.kinds["Square"]

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            ({"kind": "Lineal"}, "unknown kind of schedule 'Lineal'; there are .*Linear"),
            ({"start": 1}, "unknown kind of schedule None"),
            ({"kind": "Linear", "stop": 1}, "Linear has no stop; it has end, start"),
            ({"kind": "Piecewise"}, "Piecewise lacks parts"),
            ({"kind": "OneCycle", "div": 0.5}, "OneCycle: div must be at least 1, not 0.5"),
        ],
    )
    def test_wrong_data(self, data, message):
        with pytest.raises(ValueError, match=message):
            schedule_from_dict(data)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SlantedTriangular(cut=0), "SlantedTriangular: cut must be more than 0 and less than 1, not 0"),
        (lambda: SlantedTriangular(cut=1.0), "cut must be"),
        (lambda: SlantedTriangular(ratio=0.5), "ratio must be at least 1"),
        (lambda: SlantedTriangular(ratio=math.inf), "ratio must be"),
        (lambda: OneCycle(warmup=1.0), "OneCycle: warmup must be at least 0 and less than 1, not 1.0"),
        (lambda: OneCycle(warmup=-0.1), "warmup must be"),
        (lambda: OneCycle(final_div=0), "final_div must be at least 1"),
        (lambda: Cosine(start=-1), "Cosine: start must be at least 0, not -1"),
        (lambda: Linear(end=math.nan), "Linear: end must be at least 0, not nan"),
        (lambda: Constant(math.inf), "Constant: level must be at least 0, not inf"),
        (lambda: one_cycle_momentum(high=1.0), "one_cycle_momentum: high must be"),
        (lambda: one_cycle_momentum(warmup=1.0), "one_cycle_momentum: warmup must be"),
    ],
)
def test_arguments_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_equal_by_value_and_frozen():
    assert OneCycle() == OneCycle(0.25, 25.0, 1e5)
    assert (Constant(), Linear(), Cosine()) == (Constant(1.0), Linear(1.0, 0.0), Cosine(1.0, 0.0))
    assert OneCycle() != OneCycle(0.3)
    assert Linear() != Cosine()
    assert len({Linear(), Linear(), Cosine()}) == 2
    with pytest.raises(AttributeError):
        OneCycle().warmup = 0.5  # type: ignore[misc]
    for schedule in ALL:
        assert eval(repr(schedule)) == schedule


def test_plot_draws_the_values():
    ax = SlantedTriangular().plot(n_steps=50)
    (line,) = ax.lines
    assert list(line.get_xdata()) == list(range(50))
    assert list(line.get_ydata()) == [SlantedTriangular().at(t, 50) for t in range(50)]
    assert Cosine().plot(20, ax) is ax
    assert len(ax.lines) == 2
