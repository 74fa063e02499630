"""Definition-time checks, order, steps and the printed loop."""

from __future__ import annotations

import pytest

from tests.training.toys import Recorder, learner
from textxfer.batch import Batch
from textxfer.training import Callback, Order, Step, StepError


@pytest.mark.parametrize(
    ("wrong", "right"), [("after_los", "after_loss"), ("befor_epoch", None), ("on_freze", "on_freeze")]
)
def test_misspelt_event_fails_at_the_class_line(wrong, right):
    if right is None:  # no event prefix: an ordinary method
        type("Fine", (Callback,), {wrong: lambda self, learn: None})
        return
    with pytest.raises(TypeError, match=rf"^Typo\.{wrong} is not an event; did you mean {right}\?$"):
        type("Typo", (Callback,), {wrong: lambda self, learn: None})


def test_reading_a_field_too_early_names_what_sets_it():
    class Early(Callback):
        def before_batch(self, learn):
            learn.step.loss  # noqa: B018

    with pytest.raises(StepError, match=r"^step.loss is not set yet: it is set by the loss function") as caught:
        learner(Early()).fit(1, 1e-2)
    assert "Early().before_batch" in caught.value.__notes__[0]


def test_wrong_fields_of_a_step():
    step = Step(0, True, Batch((), None, 1))
    with pytest.raises(StepError, match=r"no field 'losss'; it has index, inputs"):
        step.losss  # noqa: B018
    with pytest.raises(AttributeError):
        step.losss = 1


def test_nothing_leaks_from_batch_to_batch():
    class Peek(Callback):
        def __init__(self):
            self.leaks = 0

        def before_batch(self, learn):
            self.leaks += hasattr(learn.step, "loss") + hasattr(learn.step, "out")

    peek = Peek()
    learner(peek).fit(2, 1e-2)
    assert peek.leaks == 0


def test_callbacks_are_sorted_by_order_and_ties_keep_the_list():
    acted = []

    def make(name, order):
        def before_epoch(self, learn):
            acted.append(name)

        return type(name, (Callback,), {"order": order, "before_epoch": before_epoch})()

    last, tie_a, tie_b, first = (
        make("last", Order.SAVE),
        make("a", Order.MODEL),
        make("b", Order.MODEL),
        make("first", Order.DATA),
    )
    learner(last, tie_b, first, tie_a).fit(1, 1e-2)
    assert acted == ["first", "b", "a", "last"]


def test_the_same_class_twice_is_refused_unless_repeatable():
    learn = learner(Recorder())
    with pytest.raises(ValueError, match="Recorder is given twice; one fit can have it once"):
        learn.fit(1, 1e-2, [Recorder()])
    repeatable = type("Again", (Callback,), {"repeatable": True})
    learn.fit(1, 1e-2, [repeatable(), repeatable()])


def test_a_class_in_place_of_an_instance_gets_a_hint():
    with pytest.raises(TypeError, match=r"is not a Callback; did you mean Recorder\(\)\?"):
        learner().fit(1, 1e-2, [Recorder])  # type: ignore[list-item]


def test_callback_is_found_by_class_or_those_present_are_listed():
    recorder = Recorder()
    learn = learner(recorder)
    assert learn.callback(Recorder) is recorder
    with pytest.raises(KeyError, match="no Lonely among the callbacks; present: Recorder"):
        learn.callback(type("Lonely", (Callback,), {}))


def test_repr_shows_the_call():
    class Two(Callback):
        def __init__(self, a: int, *, b: str = "x") -> None:
            self.a, self.b = a, b

    assert repr(Two(1)) == "Two(a=1, b='x')"
    assert repr(Callback()) == "Callback()"


def test_repr_of_an_argument_that_was_not_kept():
    class One(Callback):
        def __init__(self, a: int, b: int) -> None:
            self.a, self._b = a, b

    assert repr(One(1, 2)) == "One(a=1, b=?)"


def test_show_loop_prints_callbacks_at_their_lines(capsys):
    class Penalty(Callback):
        order = Order.OBJECTIVE
        train_only = True

        def __init__(self, weight: float = 0.5) -> None:
            self.weight = weight

        def after_loss(self, learn):
            pass

    learner(Penalty()).show_loop()
    lines = capsys.readouterr().out.splitlines()
    (line,) = [line for line in lines if "Penalty" in line]
    assert line.split() == ["after_loss", "Penalty(weight=0.5)", "(training)"]
    assert [line.strip() for line in lines].index("objective.backward()") > lines.index(line)


def test_show_loop_leaves_callbacks_of_training_out_of_validation(capsys):
    class Both(Callback):
        train_only = True

        def before_train(self, learn): ...

        def before_valid(self, learn): ...

    learner(Both()).show_loop()
    lines = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()}
    assert lines["before_train"] == ["Both()"] and lines["before_valid"] == []


def test_show_loop_has_a_line_for_every_event(capsys):
    learner(Recorder()).show_loop()
    assert capsys.readouterr().out.count("Recorder()") == 18
