"""What is checked of a training state before a learner is changed: its files may be damaged, or made up.

Each check raises what Python raises for a wrong value (KeyError, TypeError, ValueError, RuntimeError, OverflowError);
`state.restore` makes an error of it that names the state.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from textxfer.training.history import History
from textxfer.training.step import Progress

if TYPE_CHECKING:
    from textxfer.training.learner import Learner

_COUNTERS = ("fits_done", "fits_begun", "epochs_done")
_MOST = 1 << 48
_STEPS = ("fit", "epoch", "batch", "step")
_MT19937 = 624
"""Words of the generator that Python, NumPy and torch have in common."""


def check_values(values: Mapping[str, Any], n_groups: int) -> None:
    """Refuse JSON values that are missing or of another type than `state.capture` returns.

    Args:
        values: The values.
        n_groups: Number of layer groups of the learner.
    """
    for name in _COUNTERS:
        _whole(name, values[name])
    trainable = [_whole("a layer group that trains", index) for index in values["trainable"]]
    if not all(isinstance(name, str) for name in values.get("frozen", [])):
        raise TypeError("the names of frozen parameters are no texts")
    for group, hypers in values["groups"].items():
        _check_hypers(group, hypers)
    if not isinstance(values["metrics"], dict):
        raise TypeError(f"metrics are a {type(values['metrics']).__name__}")
    if not all(isinstance(state, dict) for state in values["callbacks"].values()):
        raise TypeError("the state of a callback is no object")
    if values["fit"] is not None:
        if not any(index < n_groups for index in trainable):
            raise ValueError(f"of the layer groups {trainable!r:.80} trained, and this model has {n_groups}")
        _check_fit(values["fit"])


def check_history(saved: Mapping[str, Any]) -> None:
    """Refuse a history whose rows or columns hold other things than numbers, texts and None."""
    history = History.from_json(saved)
    for row in history:
        for name in ("fit", "epoch"):
            _whole(f"{name} of an epoch", row[name])
        if not all(isinstance(value, int | float | str | None) for value in row.values()):
            raise TypeError("an epoch has a value that is no number or text")
    steps = history.steps
    for name in _STEPS:
        if not all(type(value) is int for value in steps[name]):
            raise TypeError(f"the column {name} holds something else than whole numbers")
    numbers: list[tuple[str, list[Any]]] = [("loss", steps["loss"]), ("n", steps["n"]), *steps["lrs"].items()]
    for name, column in numbers:
        if not all(_is_number(value) for value in column):
            raise TypeError(f"the column {name} holds something else than numbers")
    if not all(value is None or _is_number(value) for value in steps["momentum"]):
        raise TypeError("the column momentum holds something else than numbers")


def check_optimizer(learn: Learner, slots: Mapping[str, Tensor], grads: Mapping[str, Tensor]) -> None:
    """Refuse moments and gradients that are of no parameter, or of another shape or type than theirs."""
    params = dict(learn.model.named_parameters())
    found: dict[str, set[str]] = {}
    for key, value in slots.items():
        name, _, slot = key.rpartition("/")
        _check_like(key, value, params[name], scalar=True)
        found.setdefault(name, set()).add(slot)
    for name, grad in grads.items():
        _check_like(f"the gradient of {name}", grad, params[name], scalar=False)
    if isinstance(learn.optimizer, torch.optim.Adam) and (
        short := [name for name, own in found.items() if not {"step", "exp_avg", "exp_avg_sq"} <= own]
    ):
        raise ValueError(f"{short[0]} has a part of its moments only")


def check_random(saved: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
    """Try the states of the random generators on generators of their own."""
    torch.Generator().set_state(saved["torch"].cpu())
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            if f"cuda{index}" in saved:
                torch.Generator(f"cuda:{index}").set_state(saved[f"cuda{index}"].cpu())
    kind, keys, position, has_gauss, gauss = values["numpy"]
    # NumPy takes any position, and would read behind the end of its words.
    if type(position) is not int or not 0 <= position <= _MT19937:
        raise ValueError(f"NumPy's generator stands at {position!r:.80}")
    if has_gauss not in (0, 1) or not _is_number(gauss):
        raise ValueError("NumPy's generator has no sound normal number")
    np.random.RandomState().set_state((kind, np.array(keys, dtype=np.uint32), position, has_gauss, gauss))
    version, words, next_gauss = values["python"]
    if next_gauss is not None and not _is_number(next_gauss):
        raise ValueError("Python's generator has no sound normal number")
    random.Random().setstate((version, tuple(words), next_gauss))


def check_model(saved: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Refuse weights of another type of numbers, such as whole ones; names and shapes are equal."""
    for name, tensor in own.items():
        if saved[name].is_floating_point() != tensor.is_floating_point() or saved[name].is_complex():
            raise TypeError(f"{name} has numbers of type {saved[name].dtype}")


def _check_hypers(group: str, hypers: Mapping[str, Any]) -> None:
    for name, value in hypers.items():
        numbers: Iterable[Any] = value if name == "betas" else [value]
        if name == "betas" and len(value) != 2:
            raise ValueError(f"{name} of {group} is {value!r:.80}")
        for number in numbers:
            if not _is_number(number) or not math.isfinite(number) or number < 0:
                raise ValueError(f"{name} of {group} is {value!r:.80}")


def _check_fit(fit: Mapping[str, Any]) -> None:
    names = [field.name for field in fields(Progress)]
    progress = fit["progress"]
    for name in names:
        _whole(name, progress[name])
    if extra := progress.keys() - names:
        raise ValueError(f"where the fit stood has {', '.join(sorted(extra))}")
    if type(fit["stopping"]) is not bool:
        raise TypeError(f"stopping is {fit['stopping']!r:.80}")
    for name, end in (("next_epoch", progress["n_epochs"]), ("next_batch", progress["n_batches"])):
        if _whole(name, fit[name]) > end:
            raise ValueError(f"{name} is {fit[name]}, beyond the end at {end}")


def _check_like(name: str, value: Tensor, param: nn.Parameter, *, scalar: bool) -> None:
    if scalar and value.ndim == 0 and value.is_floating_point():
        return
    if value.shape != param.shape or value.dtype != param.dtype:
        what = [f"{tensor.dtype} of shape {tuple(tensor.shape)}" for tensor in (value, param)]
        raise ValueError(f"{name} is {what[0]}, its parameter {what[1]}")


def _whole(name: str, value: Any) -> int:
    if type(value) is not int or not 0 <= value < _MOST:
        raise ValueError(f"{name} is {value!r:.80}, where a whole number from 0 is needed")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
