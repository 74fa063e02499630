"""Checks that any callback should pass, the package's own and yours: `check_callback(MyCallback())` in a test.

The checks train a tiny language model with everything on that makes them hard: dropout, a one-cycle schedule, gradual
unfreezing, carried hidden state and bfloat16. They take a second or two.
"""

from __future__ import annotations

import copy
import json
import random
import reprlib
import sys
import tempfile
from collections.abc import Callable, Collection
from typing import Any, Literal, get_args

from torch import Tensor

import textxfer.callbacks
from textxfer._tiny_training import (
    BATCHES,
    EPOCHS,
    LR,
    Interrupt,
    Interrupted,
    Planned,
    Probe,
    difference,
    error_in,
    hard_fit,
    hard_setup,
    own_randomness,
    same,
    surroundings,
    tiny_learner,
)
from textxfer.training import metrics, schedule
from textxfer.training.callback import EVENTS, Callback, Order
from textxfer.training.learner import Learner
from textxfer.training.state import capture

Check = Literal["repr", "state", "resume", "order", "evaluation", "cleanup"]


def check_callback(callback: Callback, *, exclude: Collection[Check] = ()) -> None:
    """Check that a callback keeps what all callbacks promise.

    - `repr`: it is built again by its `repr`, in the names of its own module, of `textxfer.callbacks` and of the
      metrics and schedules.
    - `state`: `state_dict` is a flat dict of tensors and JSON values, and a resumed callback returns the same.
    - `resume`: training that is interrupted and resumed in a fresh learner ends bit for bit as training that is not:
      weights, optimizer, history and random generators.
    - `order`: its place in the list of callbacks makes no difference, bit for bit.
    - `evaluation`: `validate` and `predict` work outside of fits and leave weights and history as they are.
    - `cleanup`: after an error in any event the learner is as before the fit, but for the weights, and trains again.

    Args:
        callback: A callback as it is given to a learner. It is not used itself: each run has a new one, made from its
            `repr` or, if `repr` is excluded, by `copy.deepcopy`. Files that it writes are shared by these.
        exclude: Checks to leave out.

    Raises:
        AssertionError: A check failed; the message says which and how.
        ValueError: There is no check of a name in `exclude`.
    """
    if unknown := set(exclude) - set(get_args(Check)):
        raise ValueError(f"unknown checks {sorted(unknown)}; there are {', '.join(get_args(Check))}")
    make = _factory(callback, by_repr="repr" not in exclude)
    checks: dict[Check, Callable[[Callable[[], Callback]], None]] = {
        "state": _check_state,
        "resume": _check_resume,
        "order": _check_order,
        "evaluation": _check_evaluation,
        "cleanup": _check_cleanup,
    }
    with own_randomness():
        for name, check in checks.items():
            if name not in exclude:
                try:
                    check(make)
                except AssertionError as error:
                    raise AssertionError(f"{callback!r} fails the check '{name}': {error}") from error


def _factory(callback: Callback, by_repr: bool) -> Callable[[], Callback]:
    """Return what makes new callbacks like the given one; check that its repr does."""
    if not by_repr:
        return lambda: copy.deepcopy(callback)
    cls = type(callback)
    names: dict[str, Any] = vars(metrics) | vars(schedule) | vars(textxfer.callbacks)
    names |= vars(sys.modules[cls.__module__]) | {cls.__name__: cls}

    def make() -> Callback:
        return eval(repr(callback), names)  # a repr that the caller's own class wrote

    try:
        again = make()
    except Exception as error:
        what = f"it cannot be evaluated: {error}; keep each argument of the constructor under its own name"
        raise AssertionError(f"{callback!r} fails the check 'repr': {what}") from error
    if type(again) is not cls or repr(again) != repr(callback):
        raise AssertionError(f"{callback!r} fails the check 'repr': it builds {again!r}")
    return make


def _interrupted(make: Callable[[], Callback], folder: str, epoch: int, batch: int) -> Interrupt | None:
    """Train until the given batch and save there; return None if the fit ended before."""
    callback = make()
    interrupt = Interrupt(callback, _check_values, folder, epoch, batch)
    learn = tiny_learner([*hard_setup(callback), callback, interrupt])
    try:
        hard_fit(learn)
    except Interrupted:
        return interrupt
    return None


def _check_state(make: Callable[[], Callback]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        interrupt = _interrupted(make, folder, 1, 1) or _interrupted(make, folder, 0, 0)
        if interrupt is None:
            raise AssertionError("the fit ended before its first batch was done")
        callback = make()
        probe = Probe(callback)
        learn = tiny_learner([probe, callback, *hard_setup(callback)])
        learn.resume(folder)
        hard_fit(learn)
    wanted, found = interrupt.state, probe.state or {}
    wrong = [key for key in wanted.keys() | found.keys() if key not in found or not same(found[key], wanted.get(key))]
    _require(not wrong, f"after load_state_dict, state_dict differs in {', '.join(sorted(wrong))}")


def _check_values(state: dict[str, Any]) -> None:
    _require(isinstance(state, dict), f"state_dict returns a {type(state).__name__}, not a dict")
    for key, value in state.items():
        _require(isinstance(key, str), f"the key {key!r} of state_dict is no text")
        plain = isinstance(value, Tensor) or _is_json(value)
        _require(plain, f"{key} is neither a tensor nor a JSON value: {value!r}")


def _is_json(value: Any) -> bool:
    try:
        return same(json.loads(json.dumps(value)), value)
    except (TypeError, ValueError):
        return False


def _check_resume(make: Callable[[], Callback]) -> None:
    callback = make()
    expected = tiny_learner([*hard_setup(callback), callback])
    hard_fit(expected)
    chosen = random.Random(repr(callback))
    places = [(chosen.randrange(EPOCHS), chosen.randrange(BATCHES - 1)), (1, 0), (1, BATCHES - 1), (0, -1)]
    for epoch, batch in places:
        with tempfile.TemporaryDirectory() as folder:
            if _interrupted(make, folder, epoch, batch) is None:
                continue
            callback = make()
            learn = tiny_learner([*hard_setup(callback), callback])
            learn.resume(folder)
            hard_fit(learn)
        place = f"batch {batch} of epoch {epoch}" if batch >= 0 else f"epoch {epoch}"
        found = difference(learn, expected)
        _require(found is None, f"interrupted after {place} and resumed: {found}")


def _check_order(make: Callable[[], Callback]) -> None:
    n_others = len(hard_setup(make()))
    expected: Learner | None = None
    for position in (0, n_others):
        callback = make()
        callbacks = hard_setup(callback)
        callbacks.insert(position, callback)
        learn = tiny_learner(callbacks)
        hard_fit(learn)
        expected = expected or learn
        found = difference(learn, expected)
        _require(found is None, f"at position {position} of {n_others} instead of 0: {found}")


def _check_evaluation(make: Callable[[], Callback]) -> None:
    callback = make()
    learn = tiny_learner([*hard_setup(callback), callback])
    for when in ("before the first fit", "after a fit"):
        before = capture(learn).clone()
        learn.validate()
        learn.predict(learn.loaders.train)
        after = capture(learn)
        for key, tensor in before.part("model").items():
            _require(same(tensor, after.part("model")[key]), f"validate() {when} changed {key}")
        _require(same(before.values["history"], after.values["history"]), f"validate() {when} changed the history")
        learn.fit(1, LR)


def _check_cleanup(make: Callable[[], Callback]) -> None:
    learn = tiny_learner([])  # without the others: they would put back what they know of
    learn.fit(1, LR)
    before = surroundings(learn)
    make().after_fit(learn)
    _assert_surroundings(surroundings(learn), before, "a before_fit that had not begun")
    for event in EVENTS:
        for order in (Order.DATA, Order.SAVE):
            raiser = error_in(event, order)
            callback = make()
            added = [raiser, callback] if order == Order.DATA else [callback, raiser]
            learn.unfreeze()
            try:
                learn.fit_one_cycle(1, LR, callbacks=added)
            except Exception as error:
                if not vars(raiser).get("done"):
                    raise
                _require(isinstance(error, Planned), f"an error in {event} came out as {error!r}")
            else:
                _require(not vars(raiser).get("done"), f"an error in {event} was swallowed")
                learn.unfreeze()  # the fit ended without the event; which groups train is the callback's business
            after = surroundings(learn)
            if event == "after_fit":  # the training itself had gone well by then
                after |= {name: before[name] for name in ("learn.trainable", "requires_grad")}
            _assert_surroundings(after, before, event)
    learn.fit(1, LR, callbacks=[make()])


def _assert_surroundings(found: dict[str, Any], wanted: dict[str, Any], event: str) -> None:
    for name, value in wanted.items():
        was, now = reprlib.repr(value), reprlib.repr(found[name])
        _require(found[name] == value, f"after an error in {event}, {name} is not what it was: {now}, before {was}")


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise AssertionError(message)
