"""A training state with wrong values is refused as a whole: the error names it, and the learner is as it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.hostile.damage import mend_state
from tests.hostile.readers import READERS, Marked, everything, new_learner, same
from textxfer.training import Callback, CheckpointError

Values = dict[str, Any]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A sound state after the first batch of the second epoch of two."""
    folder = tmp_path / "step-1"
    folder.mkdir()
    for name, content in READERS["state"].sample().items():
        (folder / name).write_bytes(content)
    return folder


def mend(folder: Path) -> None:
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    for name, content in mend_state(files).items():
        (folder / name).write_bytes(content)


def change(folder: Path, edit: Callable[[Values], object]) -> None:
    values = json.loads((folder / "trainer.json").read_text())
    edit(values)
    (folder / "trainer.json").write_text(json.dumps(values))
    mend(folder)


def assert_refused(folder: Path, message: str, *callbacks: Callback) -> None:
    learn = new_learner(*(callbacks or (Marked(),)), seed=5)
    learn.fit(1, 1e-3)  # it has moments, a history and generators somewhere else
    before = everything(learn)
    with pytest.raises(CheckpointError, match=message) as caught:
        learn.resume(folder)
    assert folder.name in str(caught.value)
    assert same(before, everything(learn))
    learn.fit(1, 1e-3)


PARTS = ["fits_done", "fits_begun", "epochs_done", "trainable", "groups", "history", "fit", "callbacks", "metrics"]


@pytest.mark.parametrize("name", [*PARTS, "random"])
def test_missing_values(state: Path, name: str) -> None:
    change(state, lambda values: values.pop(name))
    assert_refused(state, f"there is no '{name}'")


@pytest.mark.parametrize("name", [*PARTS, "random"])
@pytest.mark.parametrize("value", ["1", [1.5], -1, {"a": 1}, 1e400, True], ids=repr)
def test_values_of_another_type(state: Path, name: str, value: object) -> None:
    if name == "metrics" and isinstance(value, dict):
        return  # which metrics there are is known when the fit begins
    change(state, lambda values: values.update({name: value}))
    assert_refused(state, "is damaged: its (values|history|random generators)|of another kind of optimizer")


WRONG: dict[str, tuple[Callable[[Values], object], str]] = {
    "a rate as text": (lambda v: v["groups"]["top/decay"].update(lr="0.1"), "lr of top/decay is '0.1'"),
    "a rate that is no number": (lambda v: v["groups"]["top/decay"].update(lr=float("nan")), "lr of top/decay is nan"),
    "a negative decay": (lambda v: v["groups"]["top/decay"].update(weight_decay=-1), "weight_decay of top/decay is -1"),
    "three betas": (lambda v: v["groups"]["top/decay"].update(betas=[0.9, 0.9, 0.9]), "betas of top/decay"),
    "another optimizer": (
        lambda v: [g.update(momentum=0.1) for g in v["groups"].values()],
        "another kind of optimizer",
    ),
    "a group that is a list": (lambda v: v["groups"].update({"top/decay": [1]}), "its values"),
    "a layer group by name": (lambda v: v.update(trainable=["top"]), "a layer group that trains is 'top'"),
    "a text among losses": (lambda v: v["history"]["steps"]["loss"].__setitem__(0, "x"), "the column loss"),
    "a fraction of a batch": (lambda v: v["history"]["steps"]["batch"].__setitem__(0, 0.5), "the column batch"),
    "columns of two lengths": (lambda v: v["history"]["steps"]["n"].pop(), "differ in length"),
    "an epoch without number": (lambda v: v["history"]["epochs"][0].pop("epoch"), "its history: there is no 'epoch'"),
    "a list in an epoch": (lambda v: v["history"]["epochs"][0].update(x=[1]), "no number or text"),
    "a history of later": (lambda v: v["history"].update(format=9), "history has format 9"),
    "a fit without place": (lambda v: v["fit"].pop("progress"), "there is no 'progress'"),
    "a fit in more than one place": (lambda v: v["fit"]["progress"].update(more=1), "where the fit stood has more"),
    "a batch beyond the end": (lambda v: v["fit"].update(next_batch=10**9), "next_batch is 1000000000, beyond the end"),
    "stopping by a word": (lambda v: v["fit"].update(stopping="no"), "stopping is 'no'"),
    "NumPy beyond its words": (lambda v: v["random"]["numpy"].__setitem__(2, 10**6), "stands at 1000000"),
    "NumPy before its words": (lambda v: v["random"]["numpy"].__setitem__(2, -5), "stands at -5"),
    "NumPy with few words": (lambda v: v["random"]["numpy"][1].pop(), "its random generators"),
    "NumPy of another kind": (lambda v: v["random"]["numpy"].__setitem__(0, "PCG64"), "its random generators"),
    "Python with few words": (lambda v: v["random"]["python"][1].pop(), "its random generators"),
    "Python of another version": (lambda v: v["random"]["python"].__setitem__(0, 99), "its random generators"),
    "a callback without state": (
        lambda v: v["callbacks"]["Marked"].clear(),
        "Marked had: there is no 'seen'",
    ),
    "a callback's state as text": (lambda v: v["callbacks"].update(Marked="x"), "its values"),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_values(state: Path, what: str) -> None:
    edit, message = WRONG[what]
    change(state, edit)
    assert_refused(state, message)


Tensors = dict[str, torch.Tensor]


def whole(n: int) -> torch.Tensor:
    return torch.zeros(n, dtype=torch.int64)


TENSORS: dict[str, tuple[str, Callable[[Tensors], object], str]] = {
    "moments of nobody": ("state", lambda t: t.update({"opt/nobody/step": torch.ones(())}), "there is no 'nobody'"),
    "moments of a shape": ("state", lambda t: t.update({"opt/top.bias/exp_avg": torch.ones(3)}), "top.bias/exp_avg is"),
    "half of the moments": ("state", lambda t: t.pop("opt/top.bias/exp_avg_sq"), "a part of its moments"),
    "whole moments": ("state", lambda t: t.update({"opt/top.bias/exp_avg": whole(2)}), "torch.int64"),
    "a gradient of a shape": ("state", lambda t: t.update({"grad/top.bias": torch.ones(9)}), "gradient of top.bias"),
    "a small generator": (
        "state",
        lambda t: t.update({"random/torch": torch.zeros(7).byte()}),
        "its random generators",
    ),
    "an empty generator": (
        "state",
        lambda t: t.update({"random/torch": torch.zeros(5056).byte()}),
        "random generators",
    ),
    "no generator": ("state", lambda t: t.pop("random/torch"), "there is no 'torch'"),
    "a callback's tensor": (
        "state",
        lambda t: t.update({"callback/Marked/last": torch.ones(5)}),
        "callback Marked had",
    ),
    "whole weights": ("model", lambda t: t.update({"top.bias": whole(2)}), "numbers of type torch.int64"),
    "a weight of a shape": ("model", lambda t: t.update({"top.bias": torch.ones(3)}), r"another shape \['top.bias'\]"),
    "a weight of nobody": ("model", lambda t: t.update({"x": torch.ones(3)}), r"unexpected \['x'\]"),
}


@pytest.mark.parametrize("what", TENSORS)
def test_wrong_tensors(state: Path, what: str) -> None:
    part, edit, message = TENSORS[what]
    path = state / f"{part}.safetensors"
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path)
    mend(state)
    assert_refused(state, message)


class Second(Callback):
    """Comes after `Marked`, and takes nothing back."""

    def __init__(self) -> None:
        self.asked = 0

    def state_dict(self) -> Values:
        return {"asked": self.asked}

    def load_state_dict(self, state: Values) -> None:
        if state["asked"] == "bad":
            raise RuntimeError("not this one")
        self.asked = state["asked"]


def test_callbacks_before_the_one_that_fails_get_their_own_state_back(state: Path) -> None:
    change(state, lambda values: values["callbacks"].update(Second={"asked": "bad"}))
    assert_refused(state, "the callback Second had: not this one", Marked(), Second())


def test_what_callbacks_of_a_fit_had_is_named_too(state: Path) -> None:
    """Callbacks that are given to the fit are asked when it begins."""
    change(state, lambda values: values["callbacks"]["Marked"].update(seen="x"))
    learn = new_learner()
    learn.resume(state)
    before = [value.clone() for value in learn.model.state_dict().values()]
    marked = Marked()
    with pytest.raises(CheckpointError, match="step-1 is damaged: what the callback Marked had"):
        learn.fit(2, 1e-2, [marked])
    assert same(before, list(learn.model.state_dict().values()))
    assert marked.seen == [0, 0]
    assert learn.progress.epoch == 0


def test_metrics_that_are_not_here(state: Path) -> None:
    change(state, lambda values: values["metrics"].update({"f1/x": 1}))
    learn = new_learner(Marked())
    learn.resume(state)
    with pytest.raises(CheckpointError, match=r"step-1 is damaged: the metrics of its pass: .*f1/x"):
        learn.fit(2, 1e-2)


def test_a_state_that_is_no_folder_of_files(state: Path) -> None:
    (state / "trainer.json").unlink()
    (state / "trainer.json").mkdir()
    assert_refused(state, "trainer.json is missing")
    shutil.rmtree(state / "trainer.json")
    (state / "trainer.json").symlink_to("/dev/zero")
    assert_refused(state, "trainer.json is missing")
