"""The full training state of a Learner, in memory: captured and restored without loss.

Entries are keyed by *name*, so layer groups may be cut differently and older states still load. `checkpoint.py` puts
a state on disk; the LR finder keeps one in memory to leave no trace.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from textxfer.training.callback import Callback, Progress
from textxfer.training.groups import apply_trainable
from textxfer.training.seeds import capture_random, restore_random
from textxfer.training.state_check import check_history, check_model, check_optimizer, check_random, check_values

if TYPE_CHECKING:
    from textxfer.training.learner import Learner

FORMAT = 2
READS = (1, 2)
"""Formats that can be read; states of format 1 have no checksums."""
_DAMAGE = (AttributeError, IndexError, KeyError, TypeError, ValueError, RuntimeError, OverflowError)
"""What values of the wrong type, size or shape raise; deep nesting is a RuntimeError, too."""


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
        "optimizer": type(learn.optimizer).__name__,
        "groups": {group["name"]: _hypers(group) for group in learn.optimizer.param_groups},
        "history": learn.history.state_dict(),
        "fit": _capture_fit(learn) if learn.in_fit else None,
    }
    callbacks = learn.active_callbacks if learn.in_fit else learn.callbacks
    values["callbacks"] = {}
    for key, callback in _keyed(callbacks).items():
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


def restore(learn: Learner, state: TrainingState) -> None:
    """Put weights, optimizer, rates, frozen groups, history and generators of a learner back to a state.

    All or nothing: the state is checked before anything is changed.

    Raises:
        CheckpointError: It is damaged or does not fit the learner, which is as it was.
    """
    own = learn.model.state_dict()
    check(learn, state, own)
    _restore_callbacks(learn.callbacks, state)
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(state.tensors[f"model/{name}"])
    _restore_optimizer(learn, state)
    _restore_groups(learn, state)
    learn.history.load_state_dict(state.values["history"])
    for name in ("fits_done", "fits_begun", "epochs_done"):
        setattr(learn, name, state.values[name])
    restore_random(state.part("random"), state.values["random"])


def check(learn: Learner, state: TrainingState, own: dict[str, Tensor]) -> None:
    """Refuse a state that is damaged or does not fit the learner; what callbacks have in it they know alone."""
    with _naming(state, "its values"):
        check_values(state.values, len(learn.groups))
        _check_optimizer(learn, state)
    with _naming(state, "its history"):
        check_history(state.values["history"])
    _check_model(state, own)
    with _naming(state, "its optimizer"):
        check_optimizer(learn, state.part("opt"), state.part("grad"))
    with _naming(state, "its random generators"):
        check_random(state.part("random"), state.values["random"])
    with _naming(state, "its model"):
        check_model(state.part("model"), own)


@contextmanager
def _naming(state: TrainingState, part: str) -> Iterator[None]:
    """Make an error that names the state of what damaged values raise."""
    try:
        yield
    except CheckpointError:
        raise
    except _DAMAGE as error:
        what = f"there is no {error}" if isinstance(error, KeyError) else f"{error!s:.500}"
        raise CheckpointError(f"{state.name} is damaged: {part}: {what or type(error).__name__}") from error


def _check_optimizer(learn: Learner, state: TrainingState) -> None:
    """Refuse the moments of another kind of optimizer, which this one would keep and never use."""
    saved = {name for hypers in state.values["groups"].values() for name in hypers}
    own = {name for group in learn.optimizer.param_groups for name in _hypers(group)}
    if saved != own:
        raise CheckpointError(
            f"{state.name}: the state is of another kind of optimizer: it has {', '.join(sorted(saved))}; "
            f"{type(learn.optimizer).__name__} has {', '.join(sorted(own))}"
        )
    kind = type(learn.optimizer).__name__
    if state.values.get("optimizer", kind) != kind:  # Adam and AdamW have the same moments
        raise CheckpointError(f"{state.name}: the state is of {state.values['optimizer']}, the learner has {kind}")


def _check_model(state: TrainingState, own: dict[str, Tensor]) -> None:
    saved = state.part("model")
    missing, extra = sorted(own.keys() - saved.keys()), sorted(saved.keys() - own.keys())
    shapes = [name for name in own.keys() & saved.keys() if own[name].shape != saved[name].shape]
    if missing or extra or shapes:
        raise CheckpointError(
            f"{state.name}: the state is of another model: missing {missing or 'nothing'}, "
            f"unexpected {extra or 'nothing'}, of another shape {sorted(shapes) or 'nothing'}"
        )


def resume_fit(learn: Learner, state: TrainingState) -> tuple[int, int | None]:
    """Continue an interrupted fit, just after its `before_fit`.

    Returns:
        The epoch to go on with, and the batch to go on with in it; None for a whole epoch.
    """
    fit = state.values["fit"]
    saved = Progress(**fit["progress"])
    if saved.n_epochs != learn.progress.n_epochs:
        raise CheckpointError(
            f"{state.name}: the interrupted fit had {saved.n_epochs} epochs, this one has {learn.progress.n_epochs}: "
            "call the same fit again"
        )
    if saved.n_steps != learn.progress.n_steps:
        raise CheckpointError(
            f"{state.name}: the interrupted fit planned {saved.n_steps} updates, this one plans "
            f"{learn.progress.n_steps}: the training data, the batch size or Accumulate differ"
        )
    keyed = _keyed(learn.active_callbacks)
    lost = [key for key, values in _callback_states(state).items() if values and key not in keyed]
    if lost:
        raise CheckpointError(f"{state.name}: the interrupted fit had callbacks that this one lacks: {', '.join(lost)}")
    with _naming(state, "the metrics of its pass"):
        learn.pass_metrics[True].load_state_dict(state.values["metrics"] | state.part("metrics"))
    _restore_callbacks(learn.active_callbacks, state)
    learn.stopping = fit["stopping"]
    learn.progress = saved
    _restore_groups(learn, state)
    params = dict(learn.model.named_parameters())
    for name, grad in state.part("grad").items():
        params[name].grad = grad.detach().clone().to(params[name].device)
    restore_random(state.part("random"), state.values["random"])
    return fit["next_epoch"], fit["next_batch"] or None


def _restore_optimizer(learn: Learner, state: TrainingState) -> None:
    params = dict(learn.model.named_parameters())
    fused = bool(learn.optimizer.defaults.get("fused"))
    learn.optimizer.state.clear()
    for key, value in state.part("opt").items():
        name, slot = key.rsplit("/", 1)
        # torch keeps the scalar `step` on the CPU unless the optimizer is fused
        device = params[name].device if value.ndim or fused else torch.device("cpu")
        learn.optimizer.state[params[name]][slot] = value.detach().clone().to(device)


def _restore_groups(learn: Learner, state: TrainingState) -> None:
    saved = state.values["groups"]
    for group in learn.optimizer.param_groups:
        for key, value in saved.get(group["name"], {}).items():
            group[key] = tuple(value) if isinstance(value, list) else value
    # A model whose groups are cut otherwise may have fewer of them.
    learn.trainable = tuple(index for index in state.values["trainable"] if index < len(learn.groups))
    apply_trainable(learn.groups, learn.trainable)


def _keyed(callbacks: Sequence[Callback]) -> dict[str, Callback]:
    """Name callbacks by class, and by their number among those of one class."""
    keyed: dict[str, Callback] = {}
    for callback in callbacks:
        name = type(callback).__name__
        same = sum(key.split("#")[0] == name for key in keyed)
        keyed[f"{name}#{same}" if same else name] = callback
    return keyed


def _callback_states(state: TrainingState) -> dict[str, dict[str, Any]]:
    return {key: values | state.part(f"callback/{key}") for key, values in state.values["callbacks"].items()}


def _restore_callbacks(callbacks: Sequence[Callback], state: TrainingState) -> None:
    """Let callbacks take back what they had; if one of them cannot, all get back what they have now."""
    saved = _callback_states(state)
    keyed = {key: callback for key, callback in _keyed(callbacks).items() if key in saved}
    before = {key: callback.state_dict() for key, callback in keyed.items()}
    try:
        for key, callback in keyed.items():
            with _naming(state, f"what the callback {key} had"):
                callback.load_state_dict(saved[key])
    except BaseException:
        for key, callback in keyed.items():
            callback.load_state_dict(before[key])
        raise


def _split(values: dict[str, Any], prefix: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Move the tensors of a flat dict into `tensors` under `prefix/`; return the rest."""
    tensors.update({f"{prefix}/{key}": value for key, value in values.items() if isinstance(value, Tensor)})
    return {key: value for key, value in values.items() if not isinstance(value, Tensor)}


def _hypers(group: dict[str, Any]) -> dict[str, Any]:
    names = ("lr", "base_lr", "weight_decay", "betas", "momentum")
    return {name: group[name] for name in names if name in group}
