"""What all callbacks of the package promise."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

import textxfer.callbacks
from tests.callbacks.toys import lm_learner
from textxfer._tiny_training import difference, hard_fit, tiny_learner
from textxfer.callbacks import (
    Accumulate,
    CacheFeatures,
    CapturedStep,
    CSVLog,
    DiscriminativeLR,
    EarlyStop,
    GradualUnfreeze,
    MixedPrecision,
    Report,
    SaveBest,
    SaveEvery,
    StopOnNonFinite,
    WeightAverage,
)
from textxfer.testing import check_callback
from textxfer.training import Accuracy, Callback

CLASSES = [getattr(textxfer.callbacks, name) for name in textxfer.callbacks.__all__]
# The others need a GPU or a classifier: test_graph.py and test_features.py have their contracts.
ON_CPU = [cls for cls in CLASSES if cls not in (CapturedStep, CacheFeatures)]


def arguments(cls: type[Callback], folder: Path) -> dict[str, object]:
    """What a callback needs to be built."""
    needed: dict[type[Callback], dict[str, object]] = {
        Accumulate: {"every": 2},
        CSVLog: {"path": folder / "log.csv"},
        SaveBest: {"folder": folder / "best"},
        SaveEvery: {"folder": folder / "states"},
    }
    return needed.get(cls, {})


@pytest.mark.parametrize("cls", ON_CPU)
def test_the_contract(cls: type[Callback], tmp_path: Path) -> None:
    check_callback(cls(**arguments(cls, tmp_path)))


@pytest.mark.parametrize(
    "callback",
    [
        DiscriminativeLR(multipliers=(0.1, 0.5, 1)),
        EarlyStop(Accuracy(), patience=1, min_delta=0.5),
        GradualUnfreeze(mode="chain-thaw"),
        MixedPrecision("fp16", init_scale=2.0**40, allow_cpu=True),  # so large that updates are left out
        StopOnNonFinite(every=2),
        WeightAverage("nt-asgd", nonmono=1),
    ],
    ids=repr,
)
def test_the_contract_with_other_arguments(callback: Callback) -> None:
    check_callback(callback, exclude={"order", "evaluation"})


@pytest.mark.parametrize("every", [{"batches": 2}, {"minutes": 1e-9}])
def test_the_contract_of_saving_often(every: dict[str, Any], tmp_path: Path) -> None:
    check_callback(SaveEvery(tmp_path, **every), exclude={"order", "evaluation", "cleanup"})


@pytest.mark.parametrize("cls", CLASSES)
def test_classes_are_final_and_documented(cls: type[Callback]) -> None:
    assert getattr(cls, "__final__", False)
    assert cls.__doc__
    assert cls.__bases__ == (Callback,)


def all_callbacks(folder: Path) -> list[Callback]:
    return [cls(**arguments(cls, folder)) for cls in ON_CPU if cls is not Report]


@pytest.mark.parametrize("seed", range(3))
def test_all_at_once_in_any_order(seed: int, tmp_path: Path) -> None:
    expected = tiny_learner(all_callbacks(tmp_path / "expected"))
    hard_fit(expected)
    shuffled = all_callbacks(tmp_path / "shuffled")
    random.Random(seed).shuffle(shuffled)
    learn = tiny_learner(shuffled)
    hard_fit(learn)
    assert difference(learn, expected) is None


def test_the_rate_finder_leaves_no_trace(tmp_path: Path) -> None:
    expected = lm_learner(*all_callbacks(tmp_path / "expected"))
    expected.fit_one_cycle(1, 1e-2)
    learn = lm_learner(*all_callbacks(tmp_path / "found"))
    learn.lr_find(n_steps=5)
    assert not (tmp_path / "found").exists()
    learn.fit_one_cycle(1, 1e-2)
    assert difference(learn, expected) is None
