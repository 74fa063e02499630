"""The table of events, from a fit that is watched: nothing about the order or the fields of a step is typed here."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

import torch
from torch import nn

from nbs._ext.markdown import table
from textxfer.batch import Batch, Loaders
from textxfer.training import Callback, Learner
from textxfer.training.callback import EVENTS

_PASSING = ("out", "pred", "loss", "objective", "update")


@dataclass
class Seen:
    """What was the case when an event came: in which passes, and which fields of the step were set."""

    training: bool = False
    validation: bool = False
    fields: list[str] = field(default_factory=list)


def table_of_events() -> str:
    """Return the events in their order: when each comes, what can be read, and what its docstring allows."""
    seen = _watch()
    rows = []
    for event in EVENTS:
        when = seen[event]
        passes = {(True, True): "both", (True, False): "training", (False, True): "validation"}
        where = passes.get((when.training, when.validation), "between passes")
        fields = ", ".join(f"`{name}`" for name in when.fields)
        rows.append((f"`{event}`", where, fields, inspect.cleandoc(getattr(Callback, event).__doc__ or "")))
    return table(("event", "pass", "fields of `learn.step` set by then", "what is so, what is allowed"), rows)


def loop() -> str:
    """Return the loop as `learn.show_loop()` prints it, in a block of code."""
    with redirect_stdout(StringIO()) as text:
        _learner().show_loop()
    return f"```text\n{text.getvalue().rstrip()}\n```"


def _watch() -> dict[str, Seen]:
    """Train a linear model for an epoch, freeze it, and note what each event finds."""
    seen = {event: Seen() for event in EVENTS}
    watcher = type("Watcher", (Callback,), {event: _noting(event, seen[event]) for event in EVENTS})()
    learn = _learner(watcher)
    learn.fit(1, 1e-2)
    learn.freeze()
    return seen


def _noting(event: str, seen: Seen) -> Callable[[Callback, Learner[Any]], Any]:
    in_batch = EVENTS.index("before_batch") <= EVENTS.index(event) <= EVENTS.index("after_batch")

    def note(self: Callback, learn: Learner[Any]) -> Any:
        if in_batch:
            seen.training |= learn.step.training
            seen.validation |= not learn.step.training
            if learn.step.training:
                seen.fields = [name for name in _PASSING if learn.step.has(name)]
        else:
            seen.training |= event.endswith("_train")
            seen.validation |= event.endswith("_valid")
        return nullcontext()

    return note


def _learner(*callbacks: Callback) -> Learner[nn.Linear]:
    batches = [Batch((torch.ones(2, 3),), torch.zeros(2, 1), 2)]
    torch.manual_seed(0)
    return Learner(
        nn.Linear(3, 1), Loaders(batches, batches), nn.functional.mse_loss, callbacks=callbacks, device="cpu"
    )
