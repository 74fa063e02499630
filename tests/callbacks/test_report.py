"""What is shown where: a terminal, a log, a notebook."""

from __future__ import annotations

import io
import itertools
import re
import sys
from types import SimpleNamespace

import pytest
import torch

from tests.callbacks.toys import Planned, fail, lm_batch, lm_batches, lm_learner, on
from textxfer.callbacks import DiscriminativeLR, Report, report
from textxfer.display import Bar, Lines, choose_display
from textxfer.training import Accuracy, Order, Perplexity


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines(stream):
    return stream.getvalue().splitlines()


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes one second at each look."""
    ticks = itertools.count()
    monkeypatch.setattr(report, "time", SimpleNamespace(monotonic=lambda: float(next(ticks))))


def test_a_log_has_a_header_and_a_line_per_epoch():
    stream = io.StringIO()
    learn = lm_learner(Report(stream=stream), metrics=[Perplexity(), Accuracy()])
    learn.fit(2, 1e-3)
    header, *rows = lines(stream)
    assert header.split() == ["epoch", "train_loss", "valid_loss", "perplexity", "accuracy", "seconds"]
    assert len(rows) == 2
    for row, expected in zip(rows, learn.history):
        assert row.split()[:4] == [
            str(expected["epoch"]),
            f"{expected['train_loss']:.4f}",
            f"{expected['valid_loss']:.4f}",
            f"{expected['perplexity']:.4f}",
        ]
    assert len({len(line) for line in lines(stream)}) == 1, "the columns are not aligned"


def test_each_fit_has_its_own_header():
    stream = io.StringIO()
    learn = lm_learner(Report(stream=stream), valid=None)
    learn.fit(1, 1e-3)
    learn.fit(2, 1e-3)
    assert [line.split()[0] for line in lines(stream)] == ["epoch", "0", "epoch", "0", "1"]


def test_a_column_that_comes_later_gets_a_new_header():
    stream = io.StringIO()
    learn = lm_learner(
        Report(stream=stream), on("after_epoch", lambda learn: setattr(learn, "metrics", [Perplexity()]))
    )
    learn.fit(3, 1e-3)
    assert [line.split()[0] for line in lines(stream)] == ["epoch", "0", "epoch", "1", "2"]
    assert "perplexity" in lines(stream)[2].split()


def test_the_rate_shown_is_that_of_the_top_group():
    stream = io.StringIO()
    lm_learner(Report(every_seconds=0, stream=stream), DiscriminativeLR(2), train=1, valid=None).fit(1, 2e-3)
    assert "lr 2.00e-03" in stream.getvalue()


def test_lines_while_an_epoch_goes_on():
    stream = io.StringIO()
    learn = lm_learner(Report(every_seconds=0, unit="tokens", stream=stream))
    learn.fit(1, 2e-3)
    shown = [line for line in lines(stream) if line.startswith("epoch 0")]
    assert len(shown) == 5
    pattern = r"epoch 0 of 1, training: (\d)/3 \[00:00<00:00, loss (\d\.\d{4}), lr 2\.00e-03, [\d,]+ tokens/s\]"
    found = [re.fullmatch(pattern, line) for line in shown[:3]]
    assert [match and match[1] for match in found] == ["1", "2", "3"]
    first = found[0]
    assert first is not None and float(first[2]) == pytest.approx(learn.history.steps["loss"][0], abs=1e-4)
    assert re.fullmatch(r"epoch 0 of 1, validation: 2/2 \[00:00<00:00, loss \d\.\d{4}, [\d,]+ tokens/s\]", shown[4])


@pytest.mark.usefixtures("clock")
def test_lines_come_at_most_every_so_often():
    stream = io.StringIO()
    lm_learner(Report(every_seconds=5, stream=stream), train=30, valid=None).fit(1, 1e-3)
    shown = [int(re.findall(r"(\d+)/30", line)[0]) for line in lines(stream) if "training" in line]
    assert len(shown) >= 3
    assert all(later - earlier >= 4 for earlier, later in itertools.pairwise(shown))


@pytest.mark.usefixtures("clock")
def test_the_loss_is_read_only_when_it_is_shown(monkeypatch):
    """Reading waits for the device: not for each batch."""
    reads = []
    item = torch.Tensor.item

    def counted(self):
        if sys._getframe(1).f_code.co_filename == report.__file__:
            reads.append(1)
        return item(self)

    monkeypatch.setattr(torch.Tensor, "item", counted)
    stream = io.StringIO()
    lm_learner(Report(every_seconds=8, stream=stream), train=30, valid=None).fit(1, 1e-3)
    shown = [line for line in lines(stream) if "training" in line]
    assert 0 < len(reads) == len(shown) < 10


def test_the_shown_loss_is_smooth():
    stream = io.StringIO()
    learn = lm_learner(Report(every_seconds=0, stream=stream), train=4, valid=None)
    learn.fit(1, 1e-3)
    shown = [
        float(re.findall(r"loss (\S+),", line)[0]) for line in lines(stream) if "loss" in line and "training" in line
    ]
    losses = learn.history.steps["loss"]
    assert shown == pytest.approx([sum(losses[: i + 1]) / (i + 1) for i in range(4)], abs=2e-4)


def test_a_batch_in_which_nothing_counts_does_not_blank_the_loss():
    stream = io.StringIO()
    batches = [lm_batch(), lm_batch(ignored=5), lm_batch(seed=1)]
    learn = lm_learner(Report(every_seconds=0, stream=stream), train=batches, valid=None)
    learn.loss_fn = lambda pred, target: torch.nn.functional.cross_entropy(pred.flatten(0, 1), target.flatten())
    learn.fit(1, 1e-3)
    shown = [float(re.findall(r"loss (\S+),", line)[0]) for line in lines(stream) if "training" in line]
    first, _, last = learn.history.steps["loss"]
    assert shown == pytest.approx([first, first, (first + last) / 2], abs=2e-4)


def test_each_pass_counts_anew(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(report, "time", SimpleNamespace(monotonic=lambda: now[0]))
    stream = io.StringIO()
    begin = on("before_batch", lambda learn: now.__setitem__(0, 0.0), Order.DATA)
    end = on("after_batch", lambda learn: now.__setitem__(0, 3.0), Order.DATA)
    lm_learner(Report(every_seconds=0, stream=stream), begin, end, train=1, valid=1).fit(1, 1e-3)
    assert re.findall(r"\S+ items/s", stream.getvalue()) == [f"{lm_batches(1)[0].n / 3:,.0f} items/s"] * 2


def test_the_rate_counts_targets(monkeypatch):
    times = itertools.chain([0.0], itertools.repeat(2.0))
    monkeypatch.setattr(report, "time", SimpleNamespace(monotonic=lambda: next(times)))
    stream = io.StringIO()
    lm_learner(Report(every_seconds=0, unit="documents", stream=stream), train=1, valid=None).fit(1, 1e-3)
    assert f"{lm_batches(1)[0].n / 2:,.0f} documents/s" in stream.getvalue()


def test_a_terminal_has_a_bar_that_goes_away():
    stream = Terminal()
    learn = lm_learner(Report(stream=stream), metrics=[Accuracy()])
    learn.fit(2, 1e-3)
    text = stream.getvalue()
    assert "\repoch 0 of 2, training:   0 %|" in text
    assert "\repoch 1 of 2, validation:   0 %|" in text
    left = [line.split("\r")[-1] for line in text.split("\n")]
    assert left[0].split()[0] == "epoch" and left[1].split()[0] == "0" and left[2].split()[0] == "1"


def test_the_bar_moves(monkeypatch):
    monkeypatch.setattr(Bar, "seconds", 0.0)
    stream = Terminal()
    lm_learner(Report(stream=stream), valid=None).fit(1, 1e-3)
    assert re.search(
        r"training: 100 %\|[█#]+\| 3/3 \[00:00<00:00, loss \d\.\d{4}, lr 1\.00e-03, [\d,]+ items/s\]", stream.getvalue()
    )


@pytest.mark.parametrize("event", ["after_loss", "after_valid", "after_train"])
def test_the_bar_is_closed_after_an_error(event, monkeypatch):
    closed = []
    close = Bar.close
    monkeypatch.setattr(Bar, "close", lambda self: closed.append(self) or close(self))
    shown = Report(stream=Terminal())
    with pytest.raises(Planned):
        lm_learner(shown, on(event, fail)).fit(1, 1e-3)
    assert closed and shown._display is None
    assert closed[-1]._bar.disable, "tqdm marks a closed bar as disabled"


def test_validation_outside_of_a_fit():
    stream = io.StringIO()
    learn = lm_learner(Report(every_seconds=0, stream=stream))
    learn.validate()
    assert [line[:13] for line in lines(stream)] == ["validation: 1", "validation: 2"]
    learn.predict(learn.loaders.train)


def test_an_error_in_validation_outside_of_a_fit_does_not_spoil_the_next_bar():
    shown = Report(stream=Terminal())
    learn = lm_learner(shown, on("after_loss", fail))
    with pytest.raises(Planned):
        learn.validate()
    learn.callbacks.pop()
    learn.fit(1, 1e-3)
    assert shown._display is None


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (io.StringIO(), r"epoch 0 of 1, training: 3/3 \[00:00<00:00, loss"),
        (Terminal(), r"\repoch 0 of 1, training:  67 %\|[█#\d]+ +\| 2/3 \["),
    ],
    ids=["log", "terminal"],
)
def test_a_resumed_fit_starts_in_the_middle_of_the_bar(stream, expected, tmp_path):
    def interrupt(learn):
        if learn.progress.batch == 1:
            learn.save(tmp_path)
            fail(learn)

    learn = lm_learner(Report(stream=io.StringIO()), on("after_batch", interrupt))
    with pytest.raises(Planned):
        learn.fit(1, 1e-3)
    learn = lm_learner(Report(every_seconds=0, stream=stream))
    learn.resume(tmp_path)
    learn.fit(1, 1e-3)
    assert re.match(expected, stream.getvalue())


def test_standard_output_is_looked_up_when_it_is_used(capsys):
    learn = lm_learner(Report(), valid=None)
    learn.fit(1, 1e-3)
    assert capsys.readouterr().out.split()[:2] == ["epoch", "train_loss"]


def notebook(monkeypatch, with_widgets):
    shell = type("ZMQInteractiveShell", (), {})()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    find = "textxfer.display.importlib.util.find_spec"
    monkeypatch.setattr(find, lambda name: object() if with_widgets else None)


def test_a_notebook_without_widgets_has_lines(monkeypatch):
    """tqdm.auto would warn there."""
    notebook(monkeypatch, with_widgets=False)
    assert isinstance(choose_display(sys.stdout, 1.0, "training", 3, 0), Lines)


def test_a_notebook_with_widgets_has_a_widget(monkeypatch):
    notebook(monkeypatch, with_widgets=True)
    made = []
    monkeypatch.setitem(sys.modules, "tqdm.notebook", SimpleNamespace(tqdm=lambda **options: made.append(options)))
    assert isinstance(choose_display(sys.stdout, 1.0, "training", 3, 1), Bar)
    assert (made[0]["total"], made[0]["initial"], made[0]["desc"]) == (3, 1, "training")


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="every_seconds must be >= 0"):
        Report(every_seconds=-1)
    with pytest.raises(ValueError, match="unit must be 'items', 'tokens' or 'documents', not 'words'"):
        Report(unit="words")  # type: ignore[arg-type]
