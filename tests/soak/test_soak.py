"""Many predictions and fits in one process: memory stays flat, and nothing is left. The short one runs always."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import ROOT
from tests.soak.picture import draw
from tests.soak.watch import Sample, growth, names, problems, sample

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="figures of a process are read from /proc")


def soak(*options: str, out: Path) -> subprocess.CompletedProcess[str]:
    """Soak in a process of its own, since whatever else the tests have done is in the memory of this one."""
    command = [sys.executable, "-W", "error", "-m", "tests.soak", "--out", str(out), *options]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


@linux
def test_a_short_soak(tmp_path: Path) -> None:
    done = soak("--fits", "21", "--predictions", "315", "--warmup", "7", "--lengths", "3", out=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert [line["fits"] for line in lines] == list(range(1, 22))
    assert lines[-1]["predictions"] == 315
    assert (tmp_path / "soak.svg").read_text().count("memory of the process")


@linux
@pytest.mark.slow
def test_ten_thousand_predictions_and_two_hundred_fits(tmp_path: Path) -> None:
    done = soak(out=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


# ---- what is counted -----------------------------------------------------------------------------------------------

FLAT = Sample(1, 10, 1.0, 400 << 20, 100_000, 50, 8, 3, 0)


def series(**growing: float) -> list[Sample]:
    """Twenty samples in which some figures grow by so much from each to the next."""
    return [
        replace(FLAT, fits=n, **{name: int(getattr(FLAT, name) + n * step) for name, step in growing.items()})
        for n in range(20)
    ]


@pytest.mark.parametrize(
    ("growing", "told"),
    [
        ({}, []),
        ({"rss": 1 << 18}, []),  # less than 2 %
        ({"rss": 1 << 20}, ["rss"]),
        ({"objects": 10}, []),
        ({"objects": 500}, ["objects"]),
        ({"tensors": 0.2}, ["tensors"]),
        ({"files": 0.2, "temporary": 0.2}, ["files", "temporary"]),
        ({"threads": 1}, ["threads"]),
        ({"tensors": -1}, []),
    ],
)
def test_what_grows_is_told(growing: dict[str, float], told: list[str]) -> None:
    assert [line.partition(":")[0] for line in problems(series(**growing))] == told


def test_growth_is_a_share_of_the_first_median() -> None:
    found = growth(series(rss=1 << 20))
    assert found["rss"] == pytest.approx(15 / 402)  # medians of samples 0 to 4 and 15 to 19: 402 and 417 MiB
    assert found["files"] == 0
    assert growth(series(temporary=1))["temporary"] == pytest.approx(17 / 2 - 1)


@contextmanager
def a_thread() -> Iterator[None]:
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    yield
    end.set()
    thread.join()


@contextmanager
def a_tensor() -> Iterator[None]:
    tensor = torch.zeros(3)
    yield
    del tensor


@linux
@pytest.mark.parametrize(
    ("name", "held"),
    [
        ("files", lambda folder: (folder / "a").open("w")),
        ("temporary", lambda folder: (folder / "a").open("w")),
        ("threads", lambda folder: a_thread()),
        ("tensors", lambda folder: a_tensor()),
    ],
)
def test_what_is_held_is_counted(name: str, held: Callable[..., Any], tmp_path: Path) -> None:
    before = sample(0, 0, 0.0, tmp_path)
    with held(tmp_path):
        assert getattr(sample(0, 0, 0.0, tmp_path), name) == getattr(before, name) + 1
    assert sample(0, 0, 0.0, tmp_path).files == before.files


@linux
def test_memory_is_that_of_the_process(tmp_path: Path) -> None:
    before = sample(0, 0, 0.0, tmp_path).rss
    block = bytearray(b"x") * (64 << 20)
    assert sample(0, 0, 0.0, tmp_path).rss - before > 60 << 20
    assert len(block) == 64 << 20


def test_the_curve_has_a_warm_up_and_a_band(tmp_path: Path) -> None:
    text = draw(series(), 5, tmp_path / "curve.svg").read_text()
    assert text.count("warm-up") and text.count("band of 2 %")
    assert "fits" in names()
