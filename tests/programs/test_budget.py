"""Fitting a recipe to a time: the arithmetic on invented rates, the measuring, and the command."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.programs.toys import TINY, documents, task, write_csv
from textxfer import presets, sizing, ulmfit
from textxfer.artifact import Artifact
from textxfer.cli import laptop as laptop_module
from textxfer.cli import main
from textxfer.presets import LAPTOP, SMALL, preset
from textxfer.recipe import Stage
from textxfer.sizing import Amounts, Rates, epochs_left, pace, plan
from textxfer.sizing.budget import AIM
from textxfer.text import DataError

FAST = Rates(lm_update=0.1, class_update=0.1)
ONE_MINUTE_EACH = Amounts(lm_updates=600, class_updates=600)

times = st.floats(1e-3, 5.0)
some_rates = st.builds(
    Rates,
    lm_update=times,
    class_update=times,
    lm_valid=st.floats(0, 20),
    class_valid=st.floats(0, 20),
    report=st.floats(0, 100),
    start=st.floats(0, 10),
    finish=st.floats(0, 10),
)
some_amounts = st.builds(
    Amounts,
    lm_updates=st.integers(1, 5000),
    class_updates=st.integers(1, 2000),
    lm_epochs=st.integers(0, 15),
    epochs=st.integers(1, 30),
    pretrained=st.booleans(),
    runs=st.integers(1, 5),
    reports=st.integers(0, 2),
)


def least_seconds(rates: Rates, amounts: Amounts, spent: float) -> float:
    epochs = min(2, amounts.epochs)
    epoch = amounts.class_updates * rates.class_update + rates.class_valid
    each = rates.start + amounts.reports * rates.report + epochs * epoch
    return spent + rates.finish + amounts.runs * each


def whole_seconds(rates: Rates, amounts: Amounts, spent: float) -> float:
    one = amounts.lm_updates * rates.lm_update + rates.lm_valid
    epoch = amounts.class_updates * rates.class_update + rates.class_valid
    each = rates.start + amounts.reports * rates.report + amounts.lm_epochs * one + amounts.epochs * epoch
    return spent + rates.finish + amounts.runs * each


@given(some_rates, some_amounts, st.floats(0, 100), st.floats(0, 1.2))
@example(Rates(0.5, 3.0), Amounts(62, 6, 1, 22, False, 1, 0), 0.0, 0.125)  # one more epoch, for less text
def test_the_time_is_kept_and_used(rates, amounts, spent, place):
    least, whole = least_seconds(rates, amounts, spent), whole_seconds(rates, amounts, spent)
    limit = (least + place * (whole - least)) * 1.0001
    budget = plan(limit / 60, rates, amounts, spent=spent)
    assert budget.seconds <= limit * (1 + 1e-9)
    assert min(2, amounts.epochs) <= budget.epochs <= amounts.epochs
    assert 0 <= budget.lm_epochs <= amounts.lm_epochs
    assert 0 < budget.share <= 1
    if whole <= limit:
        assert budget.whole and (budget.lm_epochs, budget.epochs) == (amounts.lm_epochs, amounts.epochs)
        assert budget.seconds == pytest.approx(whole)
    # Passes of the language model come in any size: from one update, with the held-out pass after each.
    at_most = amounts.runs * (rates.lm_update + rates.lm_valid * max(budget.lm_epochs, 1))
    if budget.lm_epochs < amounts.lm_epochs:
        assert budget.seconds >= min(0.85 * limit, limit - at_most - 1e-6)
    elif not budget.whole and budget.share == 1 and budget.epochs < amounts.epochs:  # the cap binds
        epoch = amounts.class_updates * rates.class_update + rates.class_valid
        assert budget.seconds >= min(0.85 * limit, limit - amounts.runs * epoch * (1 + 1e-9))


@given(some_rates, some_amounts, st.floats(0, 100), st.floats(0, 1.2), st.floats(1, 1.5))
def test_more_time_is_never_used_less(rates, amounts, spent, place, factor):
    least, whole = least_seconds(rates, amounts, spent), whole_seconds(rates, amounts, spent)
    limit = (least + place * (whole - least)) * 1.0001
    less, more = (plan(seconds / 60, rates, amounts, spent=spent) for seconds in (limit, factor * limit))
    assert more.seconds >= less.seconds * (1 - 1e-9)


@given(some_rates, some_amounts, st.floats(0, 100), st.floats(0.01, 0.99))
def test_too_little_time_says_how_much_is_needed(rates, amounts, spent, part):
    least = least_seconds(rates, amounts, spent)
    with pytest.raises(DataError, match="minutes are too little") as error:
        plan(part * least / 60, rates, amounts, spent=spent)
    (said,) = re.findall(r"at least ([0-9.e+]+) minutes", str(error.value))
    assert least / 60 <= float(said) <= 1.05 * least / 60 + 0.11 + 1e-5 * least
    plan(float(said), rates, amounts, spent=spent)  # and then it is enough
    assert plan(part * least / 60, rates, amounts, spent=spent, refuse=False).epochs == min(2, amounts.epochs)


def test_both_have_about_half():
    budget = plan(8, FAST, ONE_MINUTE_EACH)
    assert (budget.lm_epochs, budget.share, budget.epochs) == (4, 1.0, 4)
    assert budget.seconds == pytest.approx(480)


def test_caps_give_the_rest_to_the_other():
    assert (plan(15, FAST, ONE_MINUTE_EACH).lm_epochs, plan(15, FAST, ONE_MINUTE_EACH).epochs) == (6, 9)
    few_labels = Amounts(lm_updates=6000, class_updates=6)  # passes of 10 minutes, epochs of 0.6 s
    budget = plan(5, FAST, few_labels)
    assert budget.epochs == 10
    assert (budget.lm_epochs, budget.share) == (1, pytest.approx(294 / 600))
    budget = plan(32, FAST, few_labels)
    assert (budget.lm_epochs, budget.share, budget.epochs) == (3, 1.0, 10)


def test_a_share_of_the_text_only_where_whole_passes_leave_much():
    amounts = Amounts(lm_updates=1200, class_updates=600)  # passes of 2 minutes, epochs of 1
    assert plan(4.2, FAST, amounts).share == 1
    budget = plan(3.8, FAST, amounts)
    assert budget.share < 1 and budget.seconds == pytest.approx(228)
    assert 3 / 3.8 < AIM < 4 / 4.2  # why


def test_a_pretrained_model_is_tuned_before_the_first_whole_pass_fits():
    amounts = Amounts(lm_updates=6000, class_updates=600)  # passes of 10 minutes, epochs of 1
    budget = plan(8, FAST, amounts)
    assert (budget.lm_epochs, budget.share, budget.epochs) == (1, pytest.approx(0.4), 4)
    assert plan(2.001, FAST, amounts).lm_epochs == 0
    # A model from random weights learns nothing from a part of a pass.
    assert (plan(8, FAST, replace(amounts, pretrained=False)).lm_epochs, budget.seconds) == (0, pytest.approx(480))
    whole = plan(20, FAST, amounts)
    assert (whole.lm_epochs, whole.share, whole.epochs) == (1, 1.0, 10)


def test_several_trainings_share_the_time():
    rates = replace(FAST, report=6.0, start=3.0, finish=30.0)
    amounts = replace(ONE_MINUTE_EACH, runs=4, reports=2)
    one = plan(8.25, rates, replace(amounts, runs=1))
    four = plan(0.5 + 4 * 7.75, rates, amounts)
    assert (one.lm_epochs, one.share, one.epochs) == (four.lm_epochs, four.share, four.epochs)
    assert four.seconds == pytest.approx(30 + 4 * (one.seconds - 30))
    assert "each of 4 trainings" in str(four)


def test_the_plan_says_what_and_why():
    text = str(plan(8, FAST, ONE_MINUTE_EACH, spent=6))
    assert "plan for 8.0 min, of which 0.1 min are spent" in text
    assert "passes over" in text and "classifier: " in text
    assert "whole recipe" in str(plan(100, FAST, ONE_MINUTE_EACH))
    assert "one more pass or epoch does not fit" in str(plan(8, FAST, ONE_MINUTE_EACH))
    none = replace(ONE_MINUTE_EACH, lm_epochs=0)
    assert "the pretrained one as it is" in str(plan(3, FAST, none))
    assert "random weights" in str(plan(3, FAST, replace(none, pretrained=False)))


def test_epochs_left_end_nearest_to_the_time():
    assert epochs_left(300, FAST, ONE_MINUTE_EACH) == 5
    assert epochs_left(290, FAST, ONE_MINUTE_EACH) == 4
    assert epochs_left(290, FAST, ONE_MINUTE_EACH, slack=10.1) == 5
    assert epochs_left(268, FAST, ONE_MINUTE_EACH, slack=100) == 4  # nearer, though five were allowed
    assert epochs_left(-5, FAST, ONE_MINUTE_EACH) == 2
    assert epochs_left(1e6, FAST, ONE_MINUTE_EACH) == 10
    assert epochs_left(300, replace(FAST, report=30), replace(ONE_MINUTE_EACH, reports=2)) == 4


@given(st.lists(st.tuples(st.integers(1, 50), st.booleans()), min_size=1), st.floats(0.01, 1), st.integers(0, 3))
def test_unlabelled_documents_are_left_out_first(rows, share, seed):
    lengths, labelled = np.asarray([n for n, _ in rows]), np.asarray([has for _, has in rows])
    read = sizing.documents_read(lengths, labelled, share, seed)
    left_out = np.setdiff1d(np.arange(len(rows)), read)
    assert len(read) >= 1 and np.all(np.diff(read) > 0)
    assert labelled[left_out].sum() == 0 or (~labelled[read]).sum() == 0
    assert lengths[read].sum() <= share * lengths.sum() or len(read) == 1
    if len(read) > 1:
        assert lengths[read].sum() > share * lengths.sum() - 50  # a document more would have been too many


def test_mean_seconds_follows_the_sizes():
    sizes = np.asarray([10.0, 20.0, 40.0])
    assert pace.mean_seconds(sizes, 2 + 0.5 * sizes, 30.0) == pytest.approx(17)
    assert pace.mean_seconds(np.ones(3), np.asarray([1.0, 2.0, 3.0]), 1.0) == pytest.approx(2)
    assert pace.mean_seconds(sizes, 10 - 0.1 * sizes, 100.0) == pytest.approx(10 - 7 / 3)  # falling is noise


def test_laptop_is_small_and_amounts_are_its():
    assert preset("laptop") is LAPTOP and replace(LAPTOP, name="small") == SMALL
    data = task(90)
    amounts = sizing.amounts_of(data, TINY, pretrained=True)
    learn = ulmfit.language_model(data, recipe=TINY, training=TINY.finetune)
    assert amounts.lm_updates == len(learn.loaders.train)
    assert amounts.class_updates == len(ulmfit.classifier(data, recipe=TINY).loaders.train)
    assert (amounts.lm_epochs, amounts.epochs) == (1, 8)
    with pytest.raises(ValueError, match="has 3 stages"):
        sizing.amounts_of(data, presets.SCRIPTS2018, pretrained=True)


def test_measuring_times_everything_and_leaves_no_trace(capsys):
    data = task(90)
    base = Artifact(ulmfit.pretrain(data, recipe=TINY).model, data.vocab, data.tokenizer)
    before = {name: value.clone() for name, value in base.model.state_dict().items()}
    plain = ulmfit.finetune(data, base, recipe=TINY).history.column("train_loss")
    capsys.readouterr()
    fitted = sizing.fit_to(data, base, minutes=5, recipe=TINY, test=data.valid)
    assert capsys.readouterr().out == ""
    rates = fitted.rates
    assert min(rates.lm_update, rates.class_update, rates.lm_valid, rates.class_valid, rates.report, rates.start) > 0
    assert sizing.measure_classifier(data, base.model.encoder, TINY, seconds=5) > 0
    assert fitted.budget.whole and fitted.text is data
    assert all((value == before[name]).all() for name, value in base.model.state_dict().items())
    learn = fitted.finetune(base)
    assert learn is not None and learn.history.column("train_loss") == plain
    with pytest.raises(DataError, match="above 0"):
        sizing.fit_to(data, base, minutes=0)


def test_a_share_of_the_text_reaches_the_language_model_alone():
    data = task(30, unlabelled=documents(60, seed=5))
    amounts = sizing.amounts_of(data, TINY, pretrained=False)
    budget = replace(plan(100, FAST, amounts), lm_epochs=3, share=0.5, epochs=4)
    fitted = sizing.sized(data, TINY, budget, FAST, amounts)
    assert fitted.text.train.n_tokens <= 0.5 * data.train.n_tokens
    assert (fitted.text.train.labels >= 0).sum() == 30 and len(fitted.text.train) < 90
    assert fitted.recipe.finetune.stages == (Stage(3, 4e-3, schedule="one-cycle"),)
    assert fitted.recipe.classify.stages[-1].epochs == 4
    none = sizing.sized(data, TINY, replace(budget, lm_epochs=0, share=1.0), FAST, amounts)
    assert none.finetune() is None
    base = Artifact(ulmfit.pretrain(data, recipe=TINY).model, data.vocab, data.tokenizer)
    learn = none.finetune(base)
    assert learn is not None and len(learn.history) == 0


@pytest.fixture
def table(tmp_path, monkeypatch):
    for name in ("small", "laptop"):
        monkeypatch.setitem(presets.PRESETS, name, TINY)  # type: ignore[arg-type]
    return write_csv(tmp_path / "data.csv", documents(60))


@pytest.fixture
def base(table):
    out = table.parent / "base"
    assert main(["pretrain", str(table), "--out", str(out), "--tokenizer", "rules"]) == 0
    return str(out / "model")


def run(table, *more: str) -> tuple[int, dict]:
    out = table.parent / "out"
    options = ["--out", str(out), "--recipe", "laptop", "--replace"]
    options += [] if "--base" in more else ["--tokenizer", "rules"]
    code = main(["classify", str(table), *options, *more])
    return code, json.loads((out / "run.json").read_text())["results"] if (out / "run.json").is_file() else {}


def test_the_command_keeps_account(table, capsys):
    code, results = run(table, "--minutes", "5", "--repeat", "2")
    assert code == 0
    printed = capsys.readouterr().out
    assert "plan for 5.0 min" in printed and "this is the whole recipe" in printed
    card = results["laptop"]
    assert card["minutes"] == 5 and 0 < card["actual_minutes"] < 5
    assert card["rates"]["lm_update"] > 0 and card["rates"]["report"] > 0 and card["rates"]["finish"] > 0
    assert card["amounts"]["runs"] == 2
    assert [training["epochs"] for training in card["trainings"]] == [8, 8]
    assert all(training["plan"]["whole"] and training["lm_seconds"] > 0 for training in card["trainings"])
    history = json.loads((table.parent / "out" / "model-history.json").read_text())
    assert len(history["epochs"]) == 8


def slow(monkeypatch, lm_update: float, class_update: float) -> None:
    """Let the machine be a slow one for the plan."""
    rates = Rates(lm_update, class_update)
    monkeypatch.setattr(laptop_module, "measure", lambda *_, **__: rates)
    monkeypatch.setattr(laptop_module, "measure_classifier", lambda *_, **__: class_update)
    monkeypatch.setattr(laptop_module, "_figure_seconds", lambda: 0.0)


def test_the_plan_is_carried_out(table, base, capsys, monkeypatch):
    slow(monkeypatch, lm_update=20.0, class_update=30.0)  # passes of about 5 minutes, epochs of one
    code, results = run(table, "--minutes", "6.4", "--unlabelled", str(table), "--base", base)
    printed = capsys.readouterr().out
    assert code == 0
    (training,) = results["laptop"]["trainings"]
    assert training["plan"]["epochs"] == 3 and 0 < training["plan"]["share"] < 1
    assert "left out of the language model's text: " in printed
    # The language model took no time at all, so that the classifier has more epochs than planned.
    assert training["epochs"] == 6
    assert "6 epochs instead of 3: " in printed


def test_no_pass_at_all(table, base, capsys, monkeypatch):
    slow(monkeypatch, lm_update=1e6, class_update=30.0)  # not one update fits
    code, results = run(table, "--minutes", "10", "--base", base)
    assert code == 0
    assert "the pretrained one as it is" in capsys.readouterr().out
    assert results["laptop"]["trainings"][0]["plan"]["lm_epochs"] == 0
    assert not (table.parent / "out" / "language-model").exists()
    assert run(table, "--minutes", "10")[0] == 0
    assert "the classifier starts from random weights" in capsys.readouterr().out
    assert run(table, "--minutes", "10", "--from-scratch", "--direction", "both")[0] == 0


def test_a_dry_run_prints_the_plan(table, capsys, monkeypatch):
    slow(monkeypatch, lm_update=1.0, class_update=15.0)
    code, results = run(table, "--minutes", "3", "--dry-run")
    assert (code, results) == (0, {})
    printed = capsys.readouterr().out
    (epochs,) = re.findall(r"classifier: (\d+) epochs", printed)
    assert 2 < int(epochs) < 8
    assert f"{epochs} epochs, {2 * int(epochs)} steps" in printed
    slow(monkeypatch, lm_update=1e6, class_update=15.0)
    assert run(table, "--minutes", "3", "--dry-run")[0] == 0
    assert "language model: about" not in capsys.readouterr().out


def test_what_the_options_must_be(table, capsys, monkeypatch):
    def said(*options: str) -> str:
        out = ["--out", str(table.parent / "out"), "--tokenizer", "rules"]
        assert main(["classify", str(table), *out, *options]) == 2
        return capsys.readouterr().err

    laptop = ("--recipe", "laptop")
    assert "give --minutes" in said(*laptop)
    assert "--minutes is for --recipe laptop" in said("--minutes", "3")
    assert "leave out --lm-epochs and --epochs" in said(*laptop, "--minutes", "3", "--epochs", "2")
    slow(monkeypatch, lm_update=1.0, class_update=30.0)
    assert "Give at least 2.2 minutes" in said(*laptop, "--minutes", "1")
    assert not (table.parent / "out").exists()
    pretrain = ["pretrain", str(table), "--out", str(table.parent / "out"), *laptop]
    assert main(pretrain) == 2 and "other commands take --recipe small" in capsys.readouterr().err
