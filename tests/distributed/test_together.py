"""Two processes compute what one does, and what goes wrong is an error on both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.distributed import jobs
from tests.distributed.launch import together
from textxfer import distributed
from textxfer.callbacks import DataParallel
from textxfer.testing import check_callback

ALONE = distributed.Place(0, 1, torch.device("cpu"))
EQUAL = ("lm", "accumulated", "classifier")
BROKEN = ("broken", "resumed", "unbroken", "broken_plain")
WRONG = ("mismatches", "stops", "rates", "streams")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes have written, all jobs one after the other in one life."""
    place = tmp_path_factory.mktemp("two")
    for ended in together(place, *EQUAL, *BROKEN, *WRONG):
        assert ended.code == 0, ended.out
    return place


def figures(folder: Path, name: str, rank: int = 0) -> dict[str, Any]:
    return json.loads((folder / f"{name}-{rank}.json").read_text())


def weights(folder: Path, name: str, rank: int = 0) -> dict[str, Tensor]:
    return load_file(folder / f"{name}-{rank}.safetensors")


def assert_close(one: Any, other: Any, tolerance: float) -> None:
    """Compare figures; whole numbers and texts must be equal."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_close(one[key], other[key], tolerance)
    elif isinstance(one, list):
        assert len(one) == len(other)
        for a, b in zip(one, other):
            assert_close(a, b, tolerance)
    elif isinstance(one, float):
        assert other == pytest.approx(one, rel=tolerance, abs=tolerance)
    else:
        assert one == other


@pytest.mark.parametrize("name", EQUAL)
def test_two_processes_compute_what_one_does(name: str, folder: Path, tmp_path: Path) -> None:
    jobs.run(name, ALONE, tmp_path)
    expected, found = weights(tmp_path, name), weights(folder, name)
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        assert (value.double() - found[key].double()).abs().max() < 1e-6, key
    one, two = figures(tmp_path, name), figures(folder, name)
    assert one["n"] >= 50
    assert_close(one, two, 1e-5)
    for row, other in zip(one["history"]["epochs"], two["history"]["epochs"]):  # counted, not averaged: equal
        assert row["accuracy"] == other["accuracy"]
        assert row.get("f1") == other.get("f1")
    assert one["history"]["steps"]["n"] == two["history"]["steps"]["n"]


@pytest.mark.parametrize("name", [*EQUAL, "resumed", "unbroken"])
def test_all_processes_end_alike_and_one_writes(name: str, folder: Path) -> None:
    one, other = (weights(folder, name, rank) for rank in range(2))
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert figures(folder, name, 0) == figures(folder, name, 1)


def test_the_log_and_the_states_are_there_once(folder: Path) -> None:
    rows = (folder / "lm" / "log.csv").read_text().splitlines()
    assert len(rows) == 1 + jobs.EPOCHS
    assert len(list((folder / "lm" / "states").glob("step-*"))) == 2
    assert [path.name for path in (folder / "lm" / "best").iterdir()] == ["best.safetensors"]


def test_a_resumed_run_ends_as_an_unbroken_one(folder: Path) -> None:
    resumed, unbroken = weights(folder, "resumed"), weights(folder, "unbroken")
    assert all(torch.equal(resumed[key], unbroken[key]) for key in unbroken)
    assert figures(folder, "resumed") == figures(folder, "unbroken")
    assert not any(torch.equal(weights(folder, "broken")[key], unbroken[key]) for key in unbroken)


def test_one_process_goes_on_from_the_state_of_two(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "plain-states").symlink_to(folder / "plain-states")
    jobs.run("resumed_plain", ALONE, tmp_path)
    learn = jobs.lm_learner(ALONE, jobs.Accumulate(2))
    learn.fit_one_cycle(3, 4e-3)
    for key, value in weights(tmp_path, "resumed_plain").items():
        assert (value - learn.model.state_dict()[key]).abs().max() < 1e-5, key


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("freeze", "process 0 trains .*, process 1 does not"),
        ("epochs", "process 0 has 'fit 0 of 1 epochs .*', process 1 has 'fit 0 of 2 epochs"),
        ("callbacks", "process 0 has 'callback ClipGrad', process 1 has"),
        ("loader", "the training loader is that of process 0 of 1"),
        ("length", "process 1 has no more batches while process 0 begins a batch"),
        ("weights", "the weights differ, as sums of squares"),
    ],
)
def test_what_differs_is_an_error_on_all(case: str, message: str, folder: Path) -> None:
    for rank in range(2):
        with pytest.raises(AssertionError, match=message):
            raise AssertionError(figures(folder, "mismatches", rank)[case])


def test_a_stop_of_one_is_a_stop_of_all(folder: Path) -> None:
    for rank in range(2):
        found = figures(folder, "stops", rank)
        assert found["batches"] == 3
        assert found["bad batches"] == 4
        assert "batch 3 of" in found["report"]
        for by in range(2):
            assert found[f"after_train, stopped by {by}"] == [2, False]
            assert found[f"after_epoch, stopped by {by}"] == [2, True]


def test_the_rate_finder_finds_the_same(folder: Path, tmp_path: Path) -> None:
    jobs.run("rates", ALONE, tmp_path)
    assert figures(folder, "rates", 0) == figures(folder, "rates", 1)
    assert_close(figures(tmp_path, "rates"), figures(folder, "rates"), 1e-4)


def test_random_numbers_differ_within_a_batch_only(folder: Path) -> None:
    one, other = (figures(folder, "streams", rank) for rank in range(2))
    assert one["outside"] == other["outside"]
    assert not set(one["inside"]) & set(other["inside"])


def test_a_lost_peer_is_an_error_in_time(tmp_path: Path) -> None:
    ended = together(tmp_path, "hang", minutes=4 / 60, seconds=90, first_only=True)
    assert ended[0].code == 0, ended[0].out
    found = figures(tmp_path, "hang")
    assert "process 0 of 2 hears no more from another one" in found["message"]
    assert 3 < found["seconds"] < 20
    assert ended[1].code != 0


def test_alone_it_does_nothing() -> None:
    check_callback(DataParallel())
    with pytest.raises(ValueError, match="bucket_mb must be > 0"):
        DataParallel(bucket_mb=0)
    with pytest.raises(ValueError, match="timeout_minutes must be > 0"):
        DataParallel(timeout_minutes=-1)


def test_a_batch_that_cannot_be_shared() -> None:
    assert distributed.Place(1, 4, torch.device("cpu")).share(64) == 16
    with pytest.raises(ValueError, match="a batch of 10 cannot be shared evenly by 4 processes"):
        distributed.Place(1, 4, torch.device("cpu")).share(10)
