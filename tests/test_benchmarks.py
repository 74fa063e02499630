"""The benchmarks run, in tiny sizes and without peers, and their figures are what they say."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import (
    ceilings,
    classify,
    driver,
    generate,
    lm_step,
    loss,
    lstm,
    memory,
    optim,
    peers,
    peers_transformers,
    report,
    results,
    steps,
    summary,
    synthetic,
    tables,
    timing,
)
from benchmarks.driver import Case, Impl, Options, Work
from benchmarks.lm_models import Size, learner
from benchmarks.peers import Skip
from textxfer.text import SPECIALS

QUICK = Options(quick=True)


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    """Leave the number of threads as it was: a quick run takes one."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def no_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let imports of peers fail, as where only the extra `dev` is installed."""
    for name in ("fastai", "fastai.text.all", "transformers", "sklearn", "sklearn.linear_model"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.fixture
def suite(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that makes a suite `benchmarks.fake` of cases."""

    def make(*cases: Case) -> None:
        module = ModuleType("benchmarks.fake")
        module.cases = lambda options: cases  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "benchmarks.fake", module)

    return make


def impl(name: str, seconds: float = 0.0, dtype: str = "float32") -> Impl:
    return Impl(name, lambda: Work(lambda: time.sleep(seconds)), dtype)


# ---- the suites ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_peers")
@pytest.mark.parametrize("name", command.SUITES)
def test_quick_run(name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    command.main([name, "--quick", "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "textxfer" in printed
    assert "is left out: not installed" in printed or name == "loss"
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_quick_run_of_all_with_the_peers_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    began = time.perf_counter()
    command.main(["--quick"])
    assert time.perf_counter() - began < 60
    assert capsys.readouterr().out.count("== ") == len(command.SUITES)


def test_child_runs_one_implementation() -> None:
    command.main(["optim", "--quick", "--case", "adamw-clip", "--child", "textxfer"])


def test_unknown_suite() -> None:
    with pytest.raises(ModuleNotFoundError):
        command.main(["lm_stp", "--quick"])


# ---- the driver ----------------------------------------------------------------------------------------------------


def test_results_are_written_and_replaced(suite: Callable[..., None], tmp_path: Path) -> None:
    options = Options(rounds=3, out=tmp_path)
    case = Case("one", [impl("textxfer", 0.001), impl("fastai", 0.003)], count=6, memory=False, flops=1e3)
    suite(case)
    driver.run("fake", options)
    suite(replace(case, count=12))
    driver.run("fake", options)
    lines = results.read(tmp_path / f"fake-{options.kind}.jsonl")
    assert [line["impl"] for line in lines] == ["textxfer", "fastai"]
    line = lines[0]
    assert (line["suite"], line["case"], line["device"], line["rounds"], line["tokens"]) == (
        "fake",
        "one",
        "cpu",
        3,
        12,
    )
    assert line["ratio_to_fastai_q1"] <= line["ratio_to_fastai"] <= line["ratio_to_fastai_q3"]
    assert line["ratio_to_fastai"] > 1
    assert line["ceiling_share"] == pytest.approx(line["gflops"] / line["ceiling_gflops"], rel=0.01)
    assert line["versions"]["torch"]


def test_times_are_kept_where_memory_cannot_be_measured(
    suite: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def killed(command: list[str]) -> Any:
        raise RuntimeError("-m benchmarks fake ended with -9")

    monkeypatch.setattr(memory, "run", killed)
    suite(Case("one", [impl("textxfer")], count=1))
    driver.run("fake", Options(rounds=3, out=tmp_path))
    (line,) = results.read(tmp_path / f"fake-{QUICK.kind}.jsonl")
    assert "peak_rss_mb" not in line
    assert "one, textxfer: no memory: -m benchmarks fake ended with -9" in capsys.readouterr().out


@pytest.mark.parametrize("figure", [math.nan, math.inf, 0.06])
def test_wrong_results_end_the_run(figure: float, suite: Callable[..., None]) -> None:
    def build() -> Work:
        raise AssertionError("was timed")

    suite(Case("wrong", [Impl("textxfer", build)], count=1, check=lambda: {"textxfer": {"rel_err": figure}}))
    with pytest.raises(SystemExit, match="rel_err"):
        driver.run("fake", QUICK)


def test_a_peer_that_is_wrong_is_left_out(suite: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    suite(Case("some", [impl("textxfer"), impl("peer")], count=1, check=lambda: {"peer": {"rel_err": 1.2}}))
    driver.run("fake", QUICK)
    printed = capsys.readouterr().out
    assert "peer is left out: its rel_err is 1.2" in printed
    assert "| some | textxfer |" in printed
    assert "| some | peer |" not in printed


def test_who_cannot_take_part_is_named(suite: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    def absent() -> Work:
        peers.optional("there_is_no_such_package")
        raise AssertionError

    def old() -> Work:
        peers.feature("textxfer.kernels", "there_is_no_such_kernel")
        raise AssertionError

    suite(Case("some", [impl("textxfer"), Impl("peer", absent), Impl("textxfer-new", old)], count=1))
    driver.run("fake", QUICK)
    printed = capsys.readouterr().out
    assert "peer is left out: not installed" in printed
    assert "textxfer-new is left out: textxfer.kernels has no" in printed


def test_a_peer_that_raises_is_left_out_and_ours_ends_the_run(
    suite: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> Work:
        raise RuntimeError("no compiler\nhere")

    suite(Case("some", [impl("textxfer"), Impl("compiled", broken)], count=1))
    driver.run("fake", QUICK)
    printed = capsys.readouterr().out
    assert "some: compiled is left out: RuntimeError: no compiler here\n" in printed
    assert "| some | textxfer |" in printed and "| some | compiled |" not in printed
    for name in ("textxfer-new", "model-fp32"):
        suite(Case("some", [Impl(name, broken)], count=1))
        with pytest.raises(RuntimeError, match="no compiler"):
            driver.run("fake", QUICK)


@pytest.mark.parametrize("name", ["plain", "textxfer-fp32"])
def test_a_check_in_which_an_implementation_raises(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise RuntimeError("no compiler")

    (case,) = loss.cases(QUICK)
    ways = loss._ways(QUICK)
    monkeypatch.setattr(loss, "_ways", lambda options: {**ways, name: ways[name]._replace(make=broken)})
    if name == "plain":
        assert driver.verify(case)[1] >= {"plain"}
    else:
        with pytest.raises(RuntimeError, match="no compiler"):
            driver.verify(case)


def test_the_optimizers_are_compared_on_the_device_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.optim.Optimizer, "_accelerator_graph_capture_health_check", lambda self: None)
    model = torch.nn.Linear(3, 2)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optim._ours(model)(1.0)
    assert model.weight.device.type == "cpu"


def test_chosen_cases_and_time(suite: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    suite(*(Case(name, [impl("textxfer")], count=1) for name in ("first", "second")))
    driver.run("fake", replace(QUICK, only=("second",)))
    assert "| first |" not in (printed := capsys.readouterr().out)
    assert "| second |" in printed
    driver.run("fake", replace(QUICK, seconds=0.0))
    assert "second is left out: the time is over" in capsys.readouterr().out


@pytest.mark.usefixtures("no_peers")
def test_only_what_is_missing(
    suite: Callable[..., None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    theirs, out = tmp_path / "results", tmp_path / "out"
    monkeypatch.setattr(results, "RESULTS", theirs)
    names = ("one", "two", "three")
    suite(*(Case(name, [impl("textxfer")], count=1, memory=False) for name in names))
    options = Options(rounds=2, out=out)
    for folder, case in ((theirs, "one"), (out, "two")):
        driver.run("fake", replace(options, out=folder, only=(case,)))
    results.write("fake", [results.row("fake", "three", "error", [0.1], error="no memory")], options.kind, out)
    capsys.readouterr()
    # What has results takes no time, nor is it said to be left out for want of time.
    driver.run("fake", replace(options, missing=True, seconds=0))
    assert capsys.readouterr().out.splitlines()[2:] == ["three is left out: the time is over"]
    driver.run("fake", replace(options, missing=True))
    lines = results.read(out / f"fake-{options.kind}.jsonl")
    assert [(line["case"], line["impl"]) for line in lines] == [
        *zip(names[1:], ["textxfer", "error"]),
        ("three", "textxfer"),
    ]


def test_a_suite_may_run_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    module, seen = ModuleType("benchmarks.fake"), []
    module.run_suite = seen.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "benchmarks.fake", module)
    driver.run("fake", QUICK)
    assert seen == [QUICK]


# ---- times ---------------------------------------------------------------------------------------------------------


def test_ratio_is_to_the_fastest_variant_and_by_round() -> None:
    seconds = {"ours": [1.0, 2.0, 4.0], "peer": [9.0, 9.0, 9.0], "peer-bf16": [2.0, 6.0, 4.0], "peerless": [0.1] * 3}
    found = timing.ratio(seconds, "ours", "peer")
    assert found == {
        "ratio_to_peer": 2.0,
        "ratio_to_peer_q1": 1.5,
        "ratio_to_peer_q3": 2.5,
        "fastest_peer": "peer-bf16",
    }
    assert timing.ratio(seconds, "ours", "absent") == {}


def test_rounds_are_interleaved_and_divided_by_repeats() -> None:
    order: list[str] = []
    one, two = impl("one"), replace(impl("two"), repeats=10)
    runs: dict[Impl, Callable[[], Any]] = {
        one: lambda: order.append("one"),
        two: lambda: (order.append("two"), time.sleep(0.01)),
    }
    timed = timing.interleave(runs, Options(rounds=20))
    assert [set(order[i : i + 2]) for i in range(0, 40, 2)] == [{"one", "two"}] * 20
    assert len({tuple(order[i : i + 2]) for i in range(0, 40, 2)}) == 2
    assert 0.001 <= sorted(timed.seconds["two"])[10] < 0.01


# ---- training step by step -----------------------------------------------------------------------------------------

SIZE = Size(vocab=60, embed=4, hidden=6, layers=2, batch=2, bptt=5)


def test_a_gate_holds_a_fit_between_batches() -> None:
    learn = learner(SIZE, 4, QUICK)
    work = steps.trained(learn, 3, "cuda")  # the way of a GPU; nothing in it needs one
    for number in (1, 2, 3):
        work.run()
        assert len(dict(learn.history.steps)["loss"]) == 3 * number
    assert learn.in_fit
    work.close()
    assert not learn.in_fit


def test_an_error_in_a_held_fit_comes_out() -> None:
    learn = learner(SIZE, 2, QUICK)
    work = steps.trained(learn, 1, "cuda")
    work.run()

    def broken(*_: Any) -> Any:
        raise Skip("no more")

    learn.loss_fn = broken
    with pytest.raises(Skip, match="no more"):
        work.run()
    work.close()


def test_rounds_on_a_cpu_are_epochs() -> None:
    learn = learner(SIZE, 4, QUICK)
    work = steps.trained(learn, 4, "cpu")
    work.run()
    work.run()
    assert len(dict(learn.history.steps)["loss"]) == 8


def test_operations_of_a_training_step() -> None:
    # Input and recurrent weights of both layers and the decoder, forward once and backward twice, 2 for multiply-add.
    weights = 4 * 6 * (4 + 6) + 4 * 4 * (6 + 4) + 4 * 60
    assert SIZE.flops == 3 * 2 * 10 * weights


def test_operations_of_another_model_are_its_own(suite: Callable[..., None], tmp_path: Path) -> None:
    other = replace(impl("other", 0.001), flops=8e3)
    suite(Case("one", [impl("textxfer", 0.001), other], count=1, memory=False, flops=1e3))
    driver.run("fake", Options(rounds=3, out=tmp_path))
    ours, theirs = results.read(tmp_path / f"fake-{QUICK.kind}.jsonl")
    for line, flops in ((ours, 1e3), (theirs, 8e3)):
        assert line["gflops"] == pytest.approx(flops / line["median_ms"] / 1e6, rel=0.01)


def test_operations_of_distilbert() -> None:
    source = synthetic.store(np.array([50, 700]), 500)  # the second is cut to 512 tokens
    dim, layers = 768, 6
    projections, feed_forward = 4 * dim * dim, 2 * dim * 4 * dim
    looks = 2 * dim * (50**2 + 512**2)  # the products of each word with all others, and their weighted sums
    expected = 2 * layers * ((50 + 512) * (projections + feed_forward) + looks)
    assert peers_transformers.flops(source, Options()) == expected
    (case,) = [case for case in classify.cases(QUICK) if case.name == "predict"]
    assert [each.name for each in case.impls if each.flops is not None] == ["distilbert"]


# ---- made-up text --------------------------------------------------------------------------------------------------


def test_made_up_text_is_exact_and_repeatable() -> None:
    sizes = synthetic.filling(5000)
    assert int(sizes.sum()) == 5000
    store = synthetic.store(sizes, 300)
    assert store.n_tokens == 5000
    assert len(store.vocab) == 300
    assert np.array_equal(store.ids, synthetic.store(sizes, 300).ids)
    words = synthetic.zipf(100_000, 300)
    assert words.min() >= len(SPECIALS)
    assert words.max() < 300
    counts = np.bincount(words, minlength=300)[len(SPECIALS) :]
    assert counts[0] > 5 * counts[20]


def test_lengths_are_those_of_reviews() -> None:
    lengths = synthetic.lengths(20_000)
    assert 260 < lengths.mean() < 300
    assert lengths.max() <= 2500


def test_texts_give_the_ids_they_are_made_of() -> None:
    store = synthetic.store(np.array([16, 9]), 3000)
    for row, text in enumerate(synthetic.texts(store)):
        assert store.vocab.ids(store.tokenizer(text)).tolist() == store[row].tolist()


# ---- results and page ----------------------------------------------------------------------------------------------


def test_rows_of_a_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a card")
    row = results.row("loss", "n1", "textxfer", [0.001, 0.002, 0.003], device="cuda", peak_mb=5)
    assert (row["device"], row["median_ms"], row["versions"]["gpu"]) == ("cuda", 2.0, "a card")
    path = results.write("loss", [row], "cuda", tmp_path)
    assert path.name == "loss-cuda.jsonl"
    assert results.read(path) == [row]


def test_page_shows_ratios_with_quartiles(suite: Callable[..., None], tmp_path: Path) -> None:
    suite(Case("adamw-clip", [impl("textxfer"), impl("fastai", 0.002)], count=1, unit="parameters", memory=False))
    driver.run("fake", Options(rounds=3, out=tmp_path))
    table = tables.Table("fake", "What it shows.", ("case", "impl", "ratio_to_fastai", "peak_mb"))
    parts = report.section("A title", [table], tmp_path)
    assert parts[0] == ("## A title" if QUICK.half else "## A title, CPU without bfloat16")
    assert parts[1] == "What it shows."
    assert parts[2].startswith("| case | impl | ratio_to_fastai |\n")
    assert "(1 to 1)" in parts[2]
    assert parts[-1].startswith("Machine and versions: python")


def test_the_table_of_the_readme_is_that_of_the_results(tmp_path: Path) -> None:
    assert summary.put(summary.table(), summary.README.read_text("utf-8")) == summary.README.read_text("utf-8")
    with pytest.raises(ValueError, match="lacks the lines"):
        summary.put("", "no marks")
    line = {"case": "one", "impl": "textxfer-fp32", "median_ms": 1234.5, "ratio_to_fastai": 2.04}
    (tmp_path / "classify-cpu-fp32.jsonl").write_text(json.dumps(line) + "\n")
    (row,) = [row for row in summary.table(tmp_path).splitlines() if "1,234 ms" in row]
    assert row.endswith("|  |  | 1,234 ms | 2.0 |") and row.startswith("| one text")


def test_what_computes_in_16_bits_is_left_out_where_that_takes_forever(
    suite: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "multiplies_bf16", lambda device: False)
    monkeypatch.setattr(ceilings, "multiplies_bf16", lambda device: False)
    suite(Case("one", [impl("textxfer"), replace(impl("textxfer-bf16"), dtype="bfloat16")], count=1, memory=False))
    driver.run("fake", Options(rounds=3, out=tmp_path))
    assert [line["impl"] for line in results.read(tmp_path / "fake-cpu-fp32.jsonl")] == ["textxfer"]
    assert set(ceilings.measure("cpu", quick=True)) == {"float32"}
    for module in (lm_step, loss, lstm, classify, generate):
        for case in module.cases(QUICK):
            assert any(each.name.startswith("textxfer") for each in case.impls if QUICK.has(each.dtype)), case.name


def test_every_suite_has_a_table() -> None:
    shown = {table.suite for section in tables.TABLES.values() for table in section}
    assert shown >= set(command.SUITES)


def test_8_bits_are_left_out_where_the_product_has_none() -> None:
    gpu = replace(QUICK, device="cuda")
    chosen = [each.dtype for case in classify.cases(gpu) for each in case.impls if gpu.has(each.dtype)]
    assert "float32" in chosen and "int8" not in chosen
    assert QUICK.has("int8")


def test_sizes_on_a_gpu() -> None:
    names = [case.name for case in lm_step.cases(Options(device="cuda"))]
    assert names[:2] == ["v60k-b64", "v60k-b256"]
    assert len(names) == 10


@pytest.mark.skipif(not (shutil.which("make") and shutil.which("timeout")), reason="needs make and timeout")
def test_a_gpu_command_that_fails_does_not_keep_the_next_from_its_turn(tmp_path: Path) -> None:
    fake = tmp_path / "python"
    fake.write_text(f"#!/bin/sh\necho $PYTHONPATH $* >> {tmp_path}/log\ncase $* in *lm_step) exit 3;; esac\n")
    fake.chmod(0o755)
    command = ["make", "-s", "bench-gpu", f"GPU_PYTHON={fake}", "ARGS=--out here", "STEPS=100"]
    root, env = Path(__file__).parents[1], os.environ | {"PYTHONPATH": "/packages"}
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "Error 3" in done.stderr
    lines = (tmp_path / "log").read_text().splitlines()
    assert [line.rpartition("here ")[2] for line in lines] == [
        *("--seconds 225 gpu_probe", "--seconds 100 lm_step", "--seconds 200 loss classify")
    ]
    assert all(line.startswith("src:/packages -m benchmarks --device cuda") for line in lines)
