"""Putting a Learner back to a training state: all or nothing, and what does not fit is refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from textxfer.training.callback import Callback
from textxfer.training.seeds import restore_random
from textxfer.training.state import CheckpointError, TrainingState, hypers, keyed
from textxfer.training.state_check import check_history, check_model, check_optimizer, check_random, check_values
from textxfer.training.step import Progress

if TYPE_CHECKING:
    from textxfer.training.learner import Learner

_DAMAGE = (AttributeError, IndexError, KeyError, TypeError, ValueError, RuntimeError, OverflowError)
"""What values of the wrong type, size or shape raise; deep nesting is a RuntimeError, too."""


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
    # Not `hypers`: Python 3.12.1 would take that for the function of the next line.
    saved = {name for values in state.values["groups"].values() for name in values}
    own = {name for group in learn.optimizer.param_groups for name in hypers(group)}
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
    present = keyed(learn.active_callbacks)
    lost = [key for key, values in _callback_states(state).items() if values and key not in present]
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
        # torch keeps `step` on the CPU unless the optimizer is fused
        device = torch.device("cpu") if slot == "step" and not fused else params[name].device
        learn.optimizer.state[params[name]][slot] = value.detach().clone().to(device)


def _restore_groups(learn: Learner, state: TrainingState) -> None:
    saved = state.values["groups"]
    for group in learn.optimizer.param_groups:
        for key, value in saved.get(group["name"], {}).items():
            group[key] = tuple(value) if isinstance(value, list) else value
    # A model whose groups are cut otherwise may have fewer of them.
    trainable = tuple(index for index in state.values["trainable"] if index < len(learn.groups))
    training = {id(param) for index in trainable for param in learn.groups[index].params}
    frozen = state.values.get("frozen")  # of parameters, some by hand; states of earlier versions have groups only
    for name, param in learn.model.named_parameters():
        trains = id(param) in training if frozen is None else name not in frozen
        param.requires_grad_(trains)
        param.grad = param.grad if trains else None
    learn.trainable = trainable


def _callback_states(state: TrainingState) -> dict[str, dict[str, Any]]:
    return {key: values | state.part(f"callback/{key}") for key, values in state.values["callbacks"].items()}


def _restore_callbacks(callbacks: Sequence[Callback], state: TrainingState) -> None:
    """Let callbacks take back what they had; if one of them cannot, all get back what they have now."""
    saved = _callback_states(state)
    restored = {key: callback for key, callback in keyed(callbacks).items() if key in saved}
    before = {key: callback.state_dict() for key, callback in restored.items()}
    try:
        for key, callback in restored.items():
            with _naming(state, f"what the callback {key} had"):
                callback.load_state_dict(saved[key])
    except BaseException:
        for key, callback in restored.items():
            callback.load_state_dict(before[key])
        raise
