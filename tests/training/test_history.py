from __future__ import annotations

import json
import math
import subprocess
import sys
from io import BytesIO

import numpy as np
import pytest
import torch

from tests.training.toys import learner
from textxfer.training.history import History
from textxfer.training.history_view import epoch_ends, format_value, moving_average


def two_fits() -> History:
    """A fit of the head alone, then one of everything; 3 batches an epoch."""
    history = History()
    for fit, n_epochs, lrs in ((0, 1, {"head": 0.1}), (1, 2, {"body": 0.01, "head": 0.02})):
        for epoch in range(n_epochs):
            for batch in range(3):
                loss = 5.0 - fit - 0.5 * epoch - 0.1 * batch
                history.add_step(fit, epoch, batch, 3 * epoch + batch, torch.tensor(loss), 10, lrs, 0.8)
            row = {"fit": fit, "epoch": epoch, "train_loss": 4.0 - fit, "seconds": 65.4}
            history.add_epoch(row | ({"valid_loss": 4.5, "accuracy": 0.912} if fit else {}))
    return history


def test_rows_of_all_fits():
    history = two_fits()
    assert len(history) == 3
    assert [(row["fit"], row["epoch"]) for row in history] == [(0, 0), (1, 0), (1, 1)]
    assert history[-1]["accuracy"] == 0.912
    assert [row["epoch"] for row in history[1:]] == [0, 1]
    assert history.column("valid_loss") == [None, 4.5, 4.5]
    assert history.column("train_loss") == [4.0, 3.0, 3.0]
    with pytest.raises(KeyError, match="no epoch has 'f1'; there are fit, epoch, train_loss, valid_loss, acc"):
        history.column("f1")


def test_columns_of_batches():
    steps = two_fits().steps
    assert steps["fit"] == [0] * 3 + [1] * 6
    assert steps["epoch"] == [0] * 6 + [1] * 3
    assert steps["batch"] == [0, 1, 2] * 3
    assert steps["step"] == [0, 1, 2, 0, 1, 2, 3, 4, 5]
    assert steps["loss"] == pytest.approx([5.0, 4.9, 4.8, 4.0, 3.9, 3.8, 3.5, 3.4, 3.3])
    assert steps["n"] == [10] * 9
    assert steps["momentum"] == [0.8] * 9
    assert list(steps["lrs"]) == ["head", "body"]
    assert steps["lrs"]["head"] == [0.1] * 3 + [0.02] * 6
    assert np.isnan(steps["lrs"]["body"][:3]).all() and steps["lrs"]["body"][3:] == [0.01] * 6


def test_a_loss_that_is_overwritten_afterwards_stays_what_it_was():
    """As a captured CUDA graph does; of float64 no copy is made for the sake of another type."""
    history, loss = History(), torch.tensor(1.0, dtype=torch.float64)
    history.add_step(0, 0, 0, 0, loss, 1, {}, None)
    loss.fill_(2.0)
    assert history.steps["loss"] == [1.0]


def test_a_part_of_an_epoch_is_something():
    history = History()
    assert not history
    history.add_step(0, 0, 0, 0, 1.0, 1, {}, None)
    assert history and len(history) == 0


def test_a_group_that_is_frozen_again_leaves_a_gap():
    history = History()
    for batch, lrs in enumerate(({"a": 1.0, "b": 2.0}, {"b": 3.0}, {"a": 4.0, "b": 5.0})):
        history.add_step(0, 0, batch, batch, 1.0, 1, lrs, None)
    assert history.steps["lrs"]["a"] == pytest.approx([1.0, math.nan, 4.0], nan_ok=True)
    assert history.steps["momentum"] == [None] * 3


class TestLosses:
    def test_are_fetched_in_one_transfer_when_read(self, monkeypatch):
        history, fetched = History(), []
        real = torch.Tensor.tolist
        monkeypatch.setattr(torch.Tensor, "tolist", lambda self: fetched.append(self.shape) or real(self))
        for batch in range(100):
            history.add_step(0, 0, batch, batch, torch.tensor(float(batch)), 1, {})
        assert not fetched
        assert history.steps["loss"] == [float(batch) for batch in range(100)]
        assert history.steps["loss"][-1] == 99
        assert fetched == [(100,)]

    def test_adding_does_not_wait_for_the_device(self):
        history = History()
        history.add_step(0, 0, 0, 0, torch.empty((), device="meta"), 1, {})
        with pytest.raises((RuntimeError, NotImplementedError)):
            _ = history.steps

    def test_memory_of_waiting_losses_is_bounded(self):
        history = History()
        for batch in range(10_000):
            history.add_step(0, 0, batch, batch, torch.tensor(float(batch)), 1, {})
        assert len(history._steps._pending) <= 4096
        assert history.steps["loss"] == [float(batch) for batch in range(10_000)]

    def test_are_copied(self):
        # A captured graph writes each loss into the same memory.
        history, loss = History(), torch.tensor(0.0)
        for batch in range(3):
            loss.fill_(batch)
            history.add_step(0, 0, batch, batch, loss, 1, {})
        assert history.steps["loss"] == [0.0, 1.0, 2.0]

    def test_of_any_type(self):
        history = History()
        exact = torch.tensor(1 / 3, dtype=torch.float64)
        for batch, loss in enumerate((exact, torch.tensor([0.5], dtype=torch.bfloat16), 0.25, torch.tensor(1.0))):
            history.add_step(0, 0, batch, batch, loss, 1, {})
        assert history.steps["loss"] == [1 / 3, 0.5, 0.25, 1.0]

    def test_keep_no_graph(self):
        history = History()
        history.add_step(0, 0, 0, 0, torch.tensor(1.0, requires_grad=True) * 2, 1, {})
        assert history.steps["loss"] == [2.0]


class TestJson:
    def test_round_trip(self, tmp_path):
        history = two_fits()
        history.add_step(1, 2, 0, 6, torch.tensor(math.inf), 1, {"head": -math.inf}, None)
        history.add_epoch({"fit": 1, "epoch": 2, "train_loss": math.nan, "note": "stopped early", "valid_loss": None})
        history.save(tmp_path / "runs" / "history.json")
        again = History.load(tmp_path / "runs" / "history.json")
        assert again.to_json() == history.to_json()
        assert again.steps["loss"][-1] == math.inf
        assert again.steps["lrs"]["head"][-1] == -math.inf
        assert math.isnan(again[-1]["train_loss"]) and again[-1]["note"] == "stopped early"
        assert [type(value) for value in again.steps["n"]] == [int] * 10
        assert again.table() == history.table()

    def test_is_strict_json(self):
        history = two_fits()
        history.add_epoch({"fit": 2, "epoch": 0, "train_loss": math.nan})

        def refuse(name: str) -> None:
            raise AssertionError(f"{name} is not JSON")

        text = json.dumps(history.to_json(), allow_nan=False)
        assert json.loads(text, parse_constant=refuse)["epochs"][-1]["train_loss"] == "NaN"

    def test_state_is_a_copy(self):
        history = two_fits()
        state = history.state_dict()
        history.add_epoch({"fit": 2, "epoch": 0})
        history.epochs[0]["train_loss"] = 99.0
        history.add_step(2, 0, 0, 0, 1.0, 1, {"head": 1.0})
        other = History()
        other.load_state_dict(state)
        assert other.to_json() == two_fits().to_json()
        other.add_step(2, 0, 0, 0, torch.tensor(1.0), 1, {"new": 1.0})
        assert other.steps["loss"][-1] == 1.0 and other.n_steps == 10

    def test_loading_replaces_what_is_there(self):
        history = two_fits()
        history.load_state_dict(History().state_dict())
        assert not history and history.steps["loss"] == []

    def test_damaged_or_of_another_version(self):
        state = two_fits().to_json()
        with pytest.raises(ValueError, match="format 7; this version reads format 1"):
            History.from_json(state | {"format": 7})
        with pytest.raises(ValueError, match="no list: it is damaged"):
            History.from_json(state | {"epochs": {}})
        state["steps"]["n"].pop()
        with pytest.raises(ValueError, match="differ in length"):
            History.from_json(state)

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1, "epochs": []}', "[" * 100_000, "1" * 5_000])
    def test_a_damaged_file_is_named(self, tmp_path, text):
        (tmp_path / "history.json").write_text(text)
        with pytest.raises(ValueError, match=r"history\.json is no history of a training, or damaged"):
            History.load(tmp_path / "history.json")

    def test_a_failed_write_keeps_the_old_file(self, tmp_path):
        path = tmp_path / "history.json"
        two_fits().save(path)
        before = path.read_text()
        broken = two_fits()
        broken.epochs[0]["bad"] = object()
        with pytest.raises(TypeError):
            broken.save(path)
        assert path.read_text() == before and [p.name for p in tmp_path.iterdir()] == ["history.json"]


class TestRows:
    def test_numbers_of_numpy_and_torch_become_plain(self):
        history = History()
        history.add_epoch({"fit": 0, "epoch": np.int64(1), "a": np.float32(0.5), "b": torch.tensor(2), "c": True})
        assert history[0] == {"fit": 0, "epoch": 1, "a": 0.5, "b": 2, "c": True}
        assert [type(value) for value in history[0].values()] == [int, int, float, int, bool]

    def test_are_copied(self):
        history, row = History(), {"fit": 0, "epoch": 0}
        history.add_epoch(row)
        row["epoch"] = 5
        assert history[0]["epoch"] == 0

    def test_wrong_ones(self):
        with pytest.raises(ValueError, match="lacks epoch, fit"):
            History().add_epoch({"loss": 1.0})
        with pytest.raises(TypeError, match="'a' is a list"):
            History().add_epoch({"fit": 0, "epoch": 0, "a": [1]})


class TestTable:
    def test_columns_are_aligned(self):
        lines = two_fits().table().splitlines()
        assert lines[0].split() == ["fit", "epoch", "train_loss", "valid_loss", "accuracy", "seconds"]
        assert lines[2].split() == ["1", "0", "3.0000", "4.5000", "91.20", "%", "1:05"]
        ends = [line.rindex("  ") for line in lines]
        assert len({len(line) for line in lines}) == 1 and len(set(ends[1:])) == 1
        assert str(two_fits()) == two_fits().table()

    @pytest.mark.parametrize(
        ("name", "value", "text"),
        [
            ("epoch", 3, "3"),
            ("train_loss", 4.12345, "4.1235"),
            ("train_loss", 0.0, "0.0000"),
            ("train_loss", 1.5e-7, "1.500e-07"),
            ("perplexity", 1234567.0, "1.235e+06"),
            ("perplexity", math.inf, "inf"),
            ("train_loss", math.nan, "nan"),
            ("accuracy", 0.98765, "98.77 %"),
            ("error_rate", 0.046, "4.60 %"),
            ("seconds", 12.34, "12.3"),
            ("seconds", 59.94, "59.9"),
            ("seconds", 60.0, "1:00"),
            ("seconds", 75.6, "1:16"),
            ("seconds", 3725.0, "1:02:05"),
            ("note", "stopped", "stopped"),
            ("valid_loss", None, ""),
        ],
    )
    def test_values(self, name, value, text):
        assert format_value(name, value) == text

    def test_html_is_escaped(self):
        history = History()
        history.add_epoch({"fit": 0, "epoch": 0, "<b>": "<script>&"})
        html = history._repr_html_()
        assert "<th>&lt;b&gt;</th>" in html and "<td>&lt;script&gt;&amp;</td>" in html
        assert html.count("<td>") == 3

    def test_empty(self):
        assert History().table() == "no epochs yet"
        assert "no epochs yet" in History()._repr_html_()
        assert History().to_frame().empty
        assert not History()

    def test_repr(self):
        assert repr(two_fits()) == "<History of 2 fits, 3 epochs, 9 batches>"


def test_to_frame():
    frame = two_fits().to_frame()
    assert list(frame.columns) == ["fit", "epoch", "train_loss", "valid_loss", "accuracy", "seconds"]
    assert frame["valid_loss"].isna().tolist() == [True, False, False]


class TestPlot:
    def test_draws_both_losses_over_all_fits(self):
        history = two_fits()
        ax = history.plot()
        lines = {line.get_label(): line for line in ax.lines}
        assert list(lines["training, each batch"].get_xdata()) == list(range(1, 10))
        assert list(lines["training, each batch"].get_ydata()) == history.steps["loss"]
        assert list(lines["training, smoothed"].get_ydata()) == moving_average(history.steps["loss"])
        assert [*lines["validation"].get_xdata()] == [6, 9] and [*lines["validation"].get_ydata()] == [4.5, 4.5]
        (border,) = [line for line in ax.lines if line.get_linestyle() == "--"]
        assert list(border.get_xdata()) == [3.5, 3.5]
        assert ax.get_xlabel() and ax.get_ylabel()

    def test_empty_and_partial(self):
        assert len(History().plot().lines) == 2
        history = two_fits()
        history.add_step(2, 0, 0, 0, math.nan, 1, {})
        history.plot()

    def test_many_batches(self):
        history = History()
        for batch in range(100_000):
            history.add_step(0, 0, batch, batch, float(batch % 7), 1, {"a": 0.1})
        history.plot().get_figure().savefig(BytesIO())  # matplotlib warns of places for legends that take too long

    def test_epoch_ends(self):
        assert epoch_ends(two_fits()) == {(0, 0): 3, (1, 0): 6, (1, 1): 9}

    def test_moving_average(self):
        assert moving_average([3.0] * 50) == pytest.approx([3.0] * 50)
        assert moving_average([1.0, 5.0]) == [1.0, 5.0]  # too few to smooth
        values = [float(i % 2) for i in range(600)]
        assert moving_average(values)[-1] == pytest.approx(0.5, abs=0.05)
        assert math.isnan(moving_average([math.nan, 1.0])[0])
        assert moving_average([1.0, math.inf, 1.0]) == [1.0, 1.0, 1.0]

    def test_needs_matplotlib_only_when_it_draws(self):
        code = (
            "import sys; from textxfer.training.history import History; h = History(); h.table(); h.to_json();"
            "assert not {'matplotlib', 'pandas'} & sys.modules.keys(); h.plot();"
            "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", code], check=True)


def test_a_learner_fills_one_history_over_all_fits():
    learn = learner(train=3)
    learn.freeze()
    learn.fit(1, 1e-3)
    learn.unfreeze()
    learn.fit_one_cycle(2, 1e-3)
    learn.validate()
    steps = learn.history.steps
    assert steps["fit"] == [0] * 3 + [1] * 6
    assert np.isnan(steps["lrs"]["bottom"][:3]).all() and not np.isnan(steps["lrs"]["bottom"][3:]).any()
    assert not np.isnan(steps["lrs"]["top"]).any()
    assert learn.history.column("train_loss") == pytest.approx(
        [float(np.mean(steps["loss"][i : i + 3])) for i in (0, 3, 6)]
    )
