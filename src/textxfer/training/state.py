"""The full training state of a Learner, in memory: captured here, put back in `state_restore.py`, without loss.

Entries are keyed by *name*, so layer groups may be cut differently and older states still load. `checkpoint.py` puts
a state on disk; the LR finder keeps one in memory to leave no trace.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from textxfer.training.callback import Callback
from textxfer.training.seeds import capture_random

if TYPE_CHECKING:
    from textxfer.training.learner import Learner

FORMAT = 2
READS = (1, 2)
"""Formats that can be read; states of format 1 have no checksums."""


class CheckpointError(ValueError):
    """A training state cannot be written, read, or does not fit the learner."""


@dataclass
class TrainingState:
    """All that a run needs to go on: tensors under `part/name` keys and JSON values.

    The tensors are those of the learner itself, not copies, until `clone` is called. `name` is what messages call the
    state.
    """

    tensors: dict[str, Tensor]
    values: dict[str, Any]
    name: str = "the training state"

    def part(self, name: str) -> dict[str, Tensor]:
        """Return the tensors whose key starts with `name/`, without that prefix."""
        prefix = f"{name}/"
        return {key.removeprefix(prefix): value for key, value in self.tensors.items() if key.startswith(prefix)}

    def clone(self) -> TrainingState:
        """Return a deep copy that later training does not change."""
        tensors = {key: value.detach().clone() for key, value in self.tensors.items()}
        return TrainingState(tensors, json.loads(json.dumps(self.values)))


def capture(learn: Learner) -> TrainingState:
    """Collect the training state of a learner."""
    tensors = {f"model/{name}": tensor for name, tensor in learn.model.state_dict().items()}
    for name, param in learn.model.named_parameters():
        slots = learn.optimizer.state.get(param, {})
        tensors |= {f"opt/{name}/{slot}": value for slot, value in slots.items() if isinstance(value, Tensor)}
        if param.grad is not None and learn.in_fit:
            tensors[f"grad/{name}"] = param.grad
    values: dict[str, Any] = {
        "format": FORMAT,
        "versions": {"torch": str(torch.__version__), "numpy": np.__version__},
        "fits_done": learn.fits_done,
        "fits_begun": learn.fits_begun,
        "epochs_done": learn.epochs_done,
        "trainable": list(learn.trainable),
        "frozen": [name for name, param in learn.model.named_parameters() if not param.requires_grad],
        "optimizer": type(learn.optimizer).__name__,
        "groups": {group["name"]: hypers(group) for group in learn.optimizer.param_groups},
        "history": learn.history.state_dict(),
        "fit": _capture_fit(learn) if learn.in_fit else None,
    }
    callbacks = learn.active_callbacks if learn.in_fit else learn.callbacks
    values["callbacks"] = {}
    for key, callback in keyed(callbacks).items():
        values["callbacks"][key] = _split(callback.state_dict(), f"callback/{key}", tensors)
    values["metrics"] = _split(learn.pass_metrics[True].state_dict(), "metrics", tensors)
    random_tensors, values["random"] = capture_random()
    tensors |= {f"random/{name}": tensor for name, tensor in random_tensors.items()}
    return TrainingState(tensors, values)


def _capture_fit(learn: Learner) -> dict[str, Any]:
    if learn.savepoint is None:
        raise CheckpointError("save() works in after_batch of training, in after_epoch and between fits, not here")
    epoch, batch = learn.savepoint
    following = {"next_epoch": epoch, "next_batch": batch, "stopping": learn.stopping}
    return {"progress": asdict(learn.progress)} | following


def keyed(callbacks: Sequence[Callback]) -> dict[str, Callback]:
    """Name callbacks by class, and by their number among those of one class."""
    named: dict[str, Callback] = {}
    for callback in callbacks:
        name = type(callback).__name__
        same = sum(key.split("#")[0] == name for key in named)
        named[f"{name}#{same}" if same else name] = callback
    return named


def _split(values: dict[str, Any], prefix: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Move the tensors of a flat dict into `tensors` under `prefix/`; return the rest."""
    tensors.update({f"{prefix}/{key}": value for key, value in values.items() if isinstance(value, Tensor)})
    return {key: value for key, value in values.items() if not isinstance(value, Tensor)}


def hypers(group: dict[str, Any]) -> dict[str, Any]:
    """Return the hyper-parameters of a parameter group that a state keeps."""
    names = ("lr", "base_lr", "weight_decay", "betas", "momentum")
    return {name: group[name] for name in names if name in group}
