from __future__ import annotations

import math
import subprocess
import sys
from itertools import chain, pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg

from textxfer.evaluate import confusion_matrix
from textxfer.plots import (
    plot_classes,
    plot_confusion,
    plot_group_rates,
    plot_histogram,
    plot_losses,
    plot_lr_finder,
    plot_schedule,
    save_figure,
)
from textxfer.training.figures import BLUE, CYCLE, GREY, bins, entitle, new_axes, new_panels, plain
from textxfer.training.history import History
from textxfer.training.lr_result import read_curve
from textxfer.training.schedule import Cosine, Linear, OneCycle, SlantedTriangular


def unfreezing(n_groups: int = 3, batches: int = 4) -> History:
    """One fit that unfreezes a group per epoch, then one of everything."""
    history, names = History(), [f"lstm{index}" for index in range(n_groups)]
    for fit, epochs in ((0, n_groups), (1, 1)):
        for epoch in range(epochs):
            trained = names[n_groups - 1 - epoch :] if fit == 0 else names
            for batch in range(batches):
                lrs = {name: 0.1 / 2.6 ** (n_groups - 1 - names.index(name)) for name in trained}
                history.add_step(fit, epoch, batch, batch, 1.0 / (1 + batch), 8, lrs)
            history.add_epoch(
                {"fit": fit, "epoch": epoch, "train_loss": 1.0, "valid_loss": 0.9, "accuracy": 0.7, "run": "x"}
            )
    return history


def epochs_alone() -> History:
    """What the card of a model folder keeps of a history."""
    history = History()
    for row in unfreezing():
        history.add_epoch(row)
    return history


def shown_labels(axis) -> list:
    """Tick labels within the limits of an axis that was drawn; matplotlib keeps others beyond them."""
    low, high = sorted(axis.get_view_interval())
    ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    return [tick.label1 for tick in ticks if tick.label1.get_text()]


def tick_texts(axis) -> list[str]:
    FigureCanvasAgg(axis.get_figure(root=True)).draw()
    return [text.get_text() for text in shown_labels(axis)]


def assert_readable(ax) -> None:
    """Both axes are named, nothing is cut off, and the tick labels of an axis do not overlap."""
    figure = ax.get_figure(root=True)
    FigureCanvasAgg(figure).draw()
    assert ax.get_xlabel() and ax.get_ylabel()
    frame, legend = figure.bbox.padded(1), ax.get_legend()
    labels = [shown_labels(axis) for axis in (ax.xaxis, ax.yaxis)]
    others = [ax.xaxis.label, ax.yaxis.label, *ax.texts, *(legend.get_texts() if legend else [])]
    for text in chain(others, *labels):
        assert all(frame.fully_contains(*corner) for corner in text.get_window_extent().corners()), f"{text} is cut"
    if legend and legend.get_title().get_text() == "":
        box = legend.get_window_extent()
        lines = [ax.transData.transform(np.column_stack(line.get_data(orig=False))) for line in ax.lines]
        assert not any(box.contains(*point) for line in lines for point in line), "the legend hides data"
    for texts in labels:
        boxes = [text.get_window_extent() for text in texts if not text.get_rotation()]
        assert not any(left.overlaps(right) for left, right in pairwise(boxes))


def drawn() -> dict:
    lrs = np.geomspace(1e-7, 1, 60)
    result = read_curve(lrs.tolist(), (2 - np.tanh(np.log10(lrs) + 3) + 9 * (lrs > 0.5)).tolist())
    classes = ["world", "sports", "business and economy", "science / technology"]
    return {
        "losses": plot_losses(unfreezing()),
        "column": unfreezing().plot("accuracy"),
        "epochs alone": epochs_alone().plot(),
        "schedules": plot_schedule([OneCycle(), SlantedTriangular()]),
        "lr_finder": plot_lr_finder(result),
        "group_rates": plot_group_rates(unfreezing()),
        "confusion": plot_confusion(np.arange(16).reshape(4, 4) * 37, classes),
        "lengths": plot_histogram(np.geomspace(5, 4000, 500).round()),
        "short": plot_histogram([4, 5, 5, 7]),
        "classes": plot_classes(
            {"world": 12_000, "a class with a name that leaves no room for bars": 300}, unlabelled=1
        ),
        "frequent classes": plot_classes({f"class {i}": 1000 // (i + 1) for i in range(50)}, unlabelled=70),
        "many_classes": plot_confusion(np.eye(40, dtype=np.int64), [f"class {i}" for i in range(40)]),
    }


@pytest.mark.parametrize("name", list(drawn()))
def test_figures_are_readable(name, tmp_path):
    ax = drawn()[name]
    assert_readable(ax)
    path = save_figure(ax, tmp_path / f"{name}.png")
    assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5000


class TestSchedules:
    def test_one_several_or_named(self):
        assert [line.get_label() for line in plot_schedule(Cosine()).lines] == ["Cosine"]
        assert [line.get_label() for line in plot_schedule([Cosine(), Linear()]).lines] == ["Cosine", "Linear"]
        assert [line.get_label() for line in plot_schedule({"a": Cosine(), "b": Cosine(1, 0.5)}).lines] == ["a", "b"]
        two = plot_schedule([Cosine(), Cosine(1, 0.5)])
        assert [line.get_label() for line in two.lines] == ["Cosine(start=1.0, end=0.0)", "Cosine(start=1, end=0.5)"]

    def test_values_and_legend(self):
        ax = plot_schedule([Cosine(), Linear()], n_steps=10)
        assert [list(line.get_ydata()) for line in ax.lines] == [
            [s.at(t, 10) for t in range(10)] for s in (Cosine(), Linear())
        ]
        assert ax.get_legend() is not None
        assert plot_schedule(Cosine()).get_legend() is None
        assert len({line.get_color() for line in ax.lines}) == 2

    @pytest.mark.parametrize("names", ["abcdefghijkl", [f"schedule {i}" for i in range(9)]])
    def test_a_legend_of_many_lines_is_as_wide_as_the_figure_at_most(self, names):
        ax = plot_schedule({name: Cosine(1.0, index / 12) for index, name in enumerate(names)})
        assert_readable(ax)
        assert ax.get_window_extent().width > 600

    def test_lines_that_cross_differ_without_colours(self):
        ax = plot_schedule([Cosine(1.0, end / 10) for end in range(7)])
        assert len({str(line._dash_pattern) for line in ax.lines}) == 7  # type: ignore[attr-defined]


class TestHistory:
    def test_a_column_is_drawn_at_the_ends_of_its_epochs(self):
        (line,) = [line for line in unfreezing().plot("accuracy").lines if line.get_label() == "accuracy"]
        assert list(line.get_xdata()) == [4, 8, 12, 16] and list(line.get_ydata()) == [0.7] * 4

    def test_epochs_alone_are_drawn_by_epoch(self):
        ax = epochs_alone().plot()
        lines = {line.get_label(): list(line.get_xdata()) for line in ax.lines if line.get_label()[0] != "_"}
        assert lines == {"training, mean of the epoch": [1, 2, 3, 4], "validation": [1, 2, 3, 4]}
        assert [list(line.get_xdata()) for line in ax.lines if line.get_linestyle() == "--"] == [[3.5, 3.5]]
        assert ax.get_xlabel() == "epoch, over all fits"

    def test_one_epoch_has_one_tick(self):
        history = History()
        history.add_epoch(unfreezing()[0])
        assert tick_texts(history.plot().xaxis) == ["1"]

    def test_the_same_picture_by_either_way(self):
        one, other = plot_group_rates(unfreezing()), unfreezing().plot("rates")
        assert [line.get_label() for line in one.lines] == [line.get_label() for line in other.lines]

    def test_what_cannot_be_drawn(self):
        with pytest.raises(KeyError, match="no epoch has 'f1'; there are fit, epoch, train_loss"):
            unfreezing().plot("f1")
        with pytest.raises(ValueError, match="'run' of this history holds no numbers"):
            unfreezing().plot("run")
        with pytest.raises(ValueError, match="epochs alone"):
            epochs_alone().plot("rates")


class TestGroupRates:
    def test_a_frozen_group_leaves_a_gap(self):
        ax = plot_group_rates(unfreezing())
        lines = {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}
        assert list(lines) == ["lstm2", "lstm1", "lstm0"]  # the legend's order is that of the rates
        for index, (name, line) in enumerate(lines.items()):
            at = dict(zip(np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist()))
            assert all(math.isnan(at[batch]) for batch in range(1, 4 * index + 1)), name
            assert [at[batch] for batch in range(4 * index + 1, 17)] == [0.1 / 2.6**index] * (16 - 4 * index)
            assert math.isnan(at[12.5])  # nor is one fit joined to the next

    def test_a_rate_of_zero_or_a_single_batch_is_no_error(self):
        history = History()
        history.add_step(0, 0, 0, 0, 1.0, 1, {"a": 0.0, "b": 0.1})
        history.add_step(1, 0, 0, 0, 1.0, 1, {"b": 0.1})
        ax = plot_group_rates(history)
        b = next(line for line in ax.lines if line.get_label() == "b")
        assert b.get_marker() == "o"  # two points with a gap between: a line alone would show nothing
        assert_readable(ax)

    def test_the_tail_of_a_schedule_does_not_press_the_groups_together(self):
        history = History()
        for batch, share in enumerate((1.0, 0.5, 1e-7)):
            history.add_step(0, 0, batch, batch, 1.0, 1, {"low": 0.001 * share, "high": 0.1 * share})
        ax = plot_group_rates(history)
        assert ax.get_ylim()[0] == pytest.approx(1e-5)
        assert tick_texts(ax.yaxis)[-4:] == ["0.0001", "0.001", "0.01", "0.1"]

    def test_empty_history(self):
        assert plot_group_rates(History()).get_legend() is None

    def test_more_groups_than_colours(self):
        ax = plot_group_rates(unfreezing(n_groups=len(CYCLE) + 3, batches=2))
        looks = {(line.get_color(), line.get_linestyle()) for line in ax.lines if not line.get_label().startswith("_")}
        assert len(looks) == len(CYCLE) + 3


class TestConfusionMatrix:
    @given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=60))
    def test_counts_pairs(self, pairs):
        expected = np.zeros((4, 4), dtype=int)
        for pred, target in pairs:
            expected[target, pred] += 1
        preds, targets = (np.array([pair[i] for pair in pairs], dtype=np.int64) for i in (0, 1))
        assert (confusion_matrix(preds, targets, 4) == expected).all()

    def test_scores_tensors_and_lists(self):
        scores, targets = torch.tensor([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]]), torch.tensor([1, 0, 0])
        expected = [[1, 1], [0, 1]]
        assert confusion_matrix(scores, targets, 2).tolist() == expected
        assert confusion_matrix([1, 0, 1], [1, 0, 0], 2).tolist() == expected

    def test_small_types_do_not_overflow(self):
        preds = np.full(10, 199, dtype=np.uint8)
        assert confusion_matrix(preds, preds, 200)[199, 199] == 10

    def test_many_documents_and_classes_fit_in_memory(self):
        classes = np.random.default_rng(0).integers(0, 1000, 300_000)
        matrix = confusion_matrix(classes, classes, 1000)  # C x C x N would take 300 GB
        assert matrix.shape == (1000, 1000) and matrix.trace() == 300_000

    @pytest.mark.parametrize(
        ("preds", "targets", "message"),
        [
            ([0, 1], [0], "do not match"),
            ([0, 2], [0, 1], "predictions must be classes 0 to 1; found 0 to 2"),
            ([0, 1], [0, -100], "targets must be classes 0 to 1; found -100 to 0"),
        ],
    )
    def test_wrong_input(self, preds, targets, message):
        with pytest.raises(ValueError, match=message):
            confusion_matrix(preds, targets, 2)


class TestPlotConfusion:
    def test_shades_are_shares_and_numbers_are_counts(self):
        ax = plot_confusion(np.array([[90, 10], [0, 0]]), ["a", "b"])
        assert np.asarray(ax.images[0].get_array()).tolist() == [[0.9, 0.1], [0.0, 0.0]]
        assert [text.get_text() for text in ax.texts] == ["90", "10", "0", "0"]
        assert [text.get_color() for text in ax.texts] == ["white", "black", GREY, GREY]
        assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]

    def test_no_numbers_for_many_classes(self):
        assert not plot_confusion(np.eye(16, dtype=int), [str(i) for i in range(16)]).texts

    def test_names_are_cut_and_hold_no_formulas(self):
        ax = plot_confusion(np.eye(2, dtype=int), ["$x^2$ or a_b$", "n" * 80])
        assert [label.get_text() for label in ax.get_yticklabels()] == ["$x^2$ or a_b$", "n" * 27 + "…"]
        assert_readable(ax)

    def test_of_very_many_classes_some_are_named(self):
        ax = plot_confusion(np.eye(150, dtype=int), [str(i) for i in range(150)])
        assert [label.get_text() for label in ax.get_yticklabels()][:3] == ["0", "3", "6"]

    def test_names_must_fit(self):
        with pytest.raises(ValueError, match=r"3 class names for a matrix of shape \(2, 2\)"):
            plot_confusion(np.eye(2), ["a", "b", "c"])


class TestDocuments:
    def test_bins_hold_every_number_once(self):
        for numbers in (np.arange(1, 900), np.geomspace(3, 5000, 99).round(), np.linspace(-1, 2, 7), np.full(5, 2.5)):
            edges, scale = bins(numbers)
            assert np.histogram(numbers, edges)[0].sum() == len(numbers)
            assert (np.diff(edges) > 0).all()
            assert scale == ("log" if numbers.min() > 0 and numbers.max() > 50 * numbers.min() else "linear")

    @given(st.lists(st.integers(0, 10**6), min_size=1, max_size=30))
    def test_bins_of_any_whole_numbers(self, numbers):
        edges, _ = bins(np.array(numbers))
        assert np.histogram(numbers, edges)[0].sum() == len(numbers) and len(edges) <= 42

    @pytest.mark.parametrize("numbers", [(0, 10**12), (-(10**15), 7, 10**15), (-1e300, 1e300), (0, 2.0**62)])
    def test_bins_of_a_wide_range_are_found_at_once(self, numbers):
        edges, scale = bins(np.array(numbers, dtype=np.float64))
        assert np.histogram(numbers, edges)[0].sum() == len(numbers) and len(edges) <= 43
        assert scale == "linear"

    def test_median_and_end_are_marked(self):
        ax = plot_histogram([*range(1, 101), np.nan])
        assert [line.get_label() for line in ax.lines] == ["median 50.5", "95 % are at most 95.05"]
        assert sum(patch.get_height() for patch in ax.patches) == 100

    def test_nothing_to_count(self):
        with pytest.raises(ValueError, match="no finite numbers of label"):
            plot_histogram([np.nan], "label")

    def test_bars_are_counts(self):
        ax = plot_classes({"b": 2, "a": 5}, unlabelled=3)
        assert [bar.get_width() for bar in ax.patches] == [2, 5, 3]
        assert [text.get_text() for text in ax.get_yticklabels()] == ["b", "a", "no label"]

    def test_rare_classes_are_summed(self):
        counts = {f"class {i}": i for i in range(1, 51)}
        ax = plot_classes(counts)
        assert [bar.get_width() for bar in ax.patches] == [*range(50, 31, -1), sum(range(1, 32))]
        assert ax.get_yticklabels()[-1].get_text() == "31 other classes"


class TestSaveFigure:
    def test_formats_and_size(self, tmp_path):
        ax = plot_schedule(Cosine())
        for suffix, start in ((".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")):
            assert save_figure(ax.get_figure(), tmp_path / "new" / f"a{suffix}").read_bytes().startswith(start)
        width = int.from_bytes((tmp_path / "new" / "a.png").read_bytes()[16:20])
        assert width == 800
        assert len(list((tmp_path / "new").iterdir())) == 3

    def test_unknown_format(self, tmp_path):
        for name in ("a", "a.xyz"):
            with pytest.raises(ValueError, match=f"{name} must end in .png, .svg or .pdf"):
                save_figure(plot_schedule(Cosine()), tmp_path / name)
        assert not list(tmp_path.iterdir())

    def test_a_failed_write_keeps_the_old_file(self, tmp_path, monkeypatch):
        path, ax = tmp_path / "a.png", plot_schedule(Cosine())
        save_figure(ax, path)
        before = path.read_bytes()

        def fail(scratch, **_):
            scratch.write_bytes(b"half")
            raise OSError("disk full")

        monkeypatch.setattr(ax.get_figure(), "savefig", fail)
        with pytest.raises(OSError, match="disk full"):
            save_figure(ax, path)
        assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.002, "0.002"), (2e-5, "2e-5"), (0.5, "0.5"), (20, "20"), (5000, "5,000"), (2_000_000, "2e6")],
)
def test_numbers_at_ticks(value, text):
    assert plain(value) == text


class TestPanels:
    def test_two_in_a_row_and_wide_ones_alone(self):
        panels = new_panels([4, 5, 4, 9, 4], [False, False, False, True, False])
        for ax in panels:
            ax.set(xlabel="x", ylabel="y")
            entitle(ax, "$ and $")
        figure = panels[0].get_figure(root=True)
        assert figure.get_size_inches().tolist() == [12, 5 + 4 + 9 + 4]
        FigureCanvasAgg(figure).draw()
        boxes = [ax.get_window_extent() for ax in panels]
        assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
        assert [box.x0 > 600 for box in boxes] == [False, True, False, False, False]
        assert [box.width > 700 for box in boxes] == [False, False, False, True, False]

    def test_lines_go_through_the_colours(self):
        assert new_axes().plot([1, 2])[0].get_color() == BLUE


class TestAxes:
    def test_given_axes_are_used(self):
        ax = new_axes()
        assert plot_losses(unfreezing(), ax) is ax
        assert plot_schedule(Cosine(), ax=ax) is ax
        assert plot_group_rates(unfreezing(), ax) is ax

    def test_a_notebook_shows_them(self):
        png = plot_schedule(Cosine())._repr_png_()  # type: ignore[attr-defined]
        assert png.startswith(b"\x89PNG")

    def test_matplotlib_is_imported_by_the_first_figure_and_pyplot_never(self):
        code = (
            "import sys, textxfer.plots as p; assert 'matplotlib' not in sys.modules;"
            "from textxfer.training.schedule import Cosine; p.plot_schedule(Cosine());"
            "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", code], check=True)
