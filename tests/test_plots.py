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
    plot_confusion,
    plot_group_rates,
    plot_losses,
    plot_lr_finder,
    plot_schedule,
    save_figure,
)
from textxfer.training.figures import CYCLE, new_axes
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
            history.add_epoch({"fit": fit, "epoch": epoch, "train_loss": 1.0, "valid_loss": 0.9})
    return history


def shown_labels(axis) -> list:
    """Tick labels within the limits of an axis; matplotlib keeps others beyond them that it does not draw."""
    low, high = sorted(axis.get_view_interval())
    ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    return [tick.label1 for tick in ticks if tick.label1.get_text()]


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
    for texts in labels:
        boxes = [text.get_window_extent() for text in texts if not text.get_rotation()]
        assert not any(left.overlaps(right) for left, right in pairwise(boxes))


def drawn() -> dict:
    lrs = np.geomspace(1e-7, 1, 60)
    result = read_curve(lrs.tolist(), (2 - np.tanh(np.log10(lrs) + 3) + 9 * (lrs > 0.5)).tolist())
    classes = ["world", "sports", "business and economy", "science / technology"]
    return {
        "losses": plot_losses(unfreezing()),
        "schedules": plot_schedule([OneCycle(), SlantedTriangular()]),
        "lr_finder": plot_lr_finder(result),
        "group_rates": plot_group_rates(unfreezing()),
        "confusion": plot_confusion(np.arange(16).reshape(4, 4) * 37, classes),
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
        assert [text.get_color() for text in ax.texts] == ["white", "black", "black", "black"]
        assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]

    def test_no_numbers_for_many_classes(self):
        assert not plot_confusion(np.eye(16, dtype=int), [str(i) for i in range(16)]).texts

    def test_names_must_fit(self):
        with pytest.raises(ValueError, match=r"3 class names for a matrix of shape \(2, 2\)"):
            plot_confusion(np.eye(2), ["a", "b", "c"])


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
