"""The training loop: a fit, an epoch, a pass, a batch. Read from top to bottom; `Learner.show_loop` prints its outline.

Everything that must happen in every training run stands here; everything optional is a callback.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from textxfer.batch import Batch, Loader, batches_from, epoch_length
from textxfer.training.callback import Callback
from textxfer.training.dispatch import annotate, shapes
from textxfer.training.state_restore import resume_fit
from textxfer.training.step import OutputLoss, Progress, Step, prediction
from textxfer.upload import upload

if TYPE_CHECKING:
    from textxfer.training.learner import Learner


def run_fit(learn: Learner, n_epochs: int, lr: float) -> None:
    """Train for some epochs, or for what is left of a fit that was resumed.

    Args:
        learn: The learner, with its callbacks activated.
        n_epochs: Number of epochs of the whole fit.
        lr: Base rate of all layer groups.
    """
    with ExitStack() as started:
        try:
            first, start = _begin(learn, n_epochs, lr, started)
            for epoch in range(first, n_epochs):
                if learn.ended():
                    break
                run_epoch(learn, epoch, start)
                start = None
        except BaseException as error:
            learn.error = error
            raise


def _begin(learn: Learner, n_epochs: int, lr: float, started: ExitStack) -> tuple[int, int | None]:
    """Set up a fit and tell the callbacks; return where to begin: epoch, and batch of an interrupted epoch."""
    if n_epochs < 1:
        raise ValueError(f"n_epochs must be at least 1, not {n_epochs}")
    lengths = [epoch_length(learn.loaders.train, learn.epochs_done + epoch) for epoch in range(n_epochs)]
    if not all(lengths):
        raise ValueError("the training loader is empty: there is nothing to train on")
    learn.error, learn.stopping, learn.savepoint = None, False, None
    learn.progress, learn.epoch_lengths = Progress(fit=learn.fits_begun, n_epochs=n_epochs), lengths
    learn.plan_updates(every=1)
    for group in learn.optimizer.param_groups:
        group["lr"] = group["base_lr"] = lr
    started.callback(_end, learn)
    for callback in learn.dispatch.callbacks:
        started.callback(_finish, learn, callback)
        learn.dispatch.call(callback, Callback.before_fit, learn)
    first, start = (0, None) if learn.resumed is None else resume_fit(learn, learn.resumed)
    learn.resumed = None  # a state that was refused waits for the fit that it belongs to
    learn.fits_begun = learn.progress.fit + 1
    return first, start


def _finish(learn: Learner, callback: Callback) -> None:
    """Tell a callback that the fit is over; if that fails, those that follow hear of it."""
    try:
        learn.dispatch.call(callback, Callback.after_fit, learn)
    except BaseException as error:
        learn.error = learn.error or error
        raise


def _end(learn: Learner) -> None:
    """Leave nothing of the last batch behind, however the fit ended."""
    learn.optimizer.zero_grad(set_to_none=True)
    learn.step.clear()
    learn.stopping, learn.savepoint = False, None


def run_epoch(learn: Learner, epoch: int, start: int | None = None) -> None:
    """Train for one epoch and validate.

    Args:
        learn: The learner.
        epoch: Number of the epoch in this fit, from 0.
        start: The batch to continue with in an epoch that was interrupted; its beginning is not repeated.
    """
    n_batches = epoch_length(learn.loaders.train, learn.epochs_done + epoch)
    learn.progress = replace(learn.progress, epoch=epoch, batch=max((start or 0) - 1, 0), n_batches=n_batches)
    began = time.perf_counter()
    if start is None:
        learn.fire(Callback.before_epoch, learn)
    run_pass(learn, learn.loaders.train, training=True, start=start)
    row: dict[str, Any] = {"fit": learn.progress.fit, "epoch": epoch, "train_loss": learn.results["loss"]}
    if learn.loaders.valid is not None and not learn.ended():
        run_pass(learn, learn.loaders.valid, training=False)
        row |= {"valid_loss" if name == "loss" else name: value for name, value in learn.results.items()}
    learn.history.add_epoch(row | {"seconds": time.perf_counter() - began})
    learn.savepoint = (epoch + 1, 0)
    learn.fire(Callback.after_epoch, learn)
    learn.savepoint = None


def run_pass(learn: Learner, loader: Loader, *, training: bool, start: int | None = None) -> None:
    """Run all batches of a loader, with gradients and updates when training."""
    learn.model.train(training)
    learn.fire = learn.dispatch.table(training)
    if start is None:
        learn.fire(Callback.before_train if training else Callback.before_valid, learn)
    if not training and learn.next_metrics is not None:
        learn.pass_metrics[False], learn.next_metrics = learn.next_metrics, None
    metrics = learn.pass_metrics[training]
    if start is None:
        metrics.reset()
    with torch.set_grad_enabled(training):
        for index, batch in enumerate(batches_from(loader, start or 0), start or 0):
            if training and learn.stopping:  # a validation is finished: part of one has no figure to compare
                break
            run_batch(learn, index, batch, training)
    learn.results = metrics.compute()
    learn.fire(Callback.after_train if training else Callback.after_valid, learn)
    learn.fire = learn.dispatch.table(training=True)


def run_batch(learn: Learner, index: int, batch: Batch, training: bool) -> None:
    """Run one batch: the same way for training, validation and prediction."""
    placed = batch_to(batch, learn.device, getattr(learn.model, "host_inputs", ()))
    step = learn.step = Step(index, training, placed, learn.optimizer.step if training else None)
    if training:
        learn.progress = replace(learn.progress, batch=index)
    learn.fire(Callback.before_batch, learn)
    learn.compute(step)
    if training:
        learn.fire(Callback.after_backward, learn)
        if step.update is not None:
            _update(learn, step)
    _record(learn, step)
    learn.savepoint = (learn.progress.epoch, index + 1) if training else None
    learn.fire(Callback.after_batch, learn)
    learn.savepoint = None


def compute(learn: Learner, step: Step) -> None:
    """Forward pass, loss and backward pass of a step: what `learn.compute` is unless a callback replaces it."""
    with learn.fire.around(learn):
        try:
            step.out = learn.forward(*step.inputs)
            if not _takes_output(learn, step):
                step.pred = prediction(step.out)
        except BaseException as error:
            annotate(error, "the forward pass", learn, shapes(step))
            raise
        learn.fire(Callback.after_forward, learn)
        if step.target is not None:
            step.loss = step.objective = _loss(learn, step, step.target)
            learn.fire(Callback.after_loss, learn)
    if step.training:
        learn.fire(Callback.before_backward, learn)
        try:
            step.objective.backward()
        except BaseException as error:
            annotate(error, "the backward pass", learn, shapes(step))
            raise


def _takes_output(learn: Learner, step: Step) -> bool:
    """Whether the loss works on the model's output itself, since nobody is known to read the prediction."""
    if learn.pass_metrics[step.training].reads_pred:
        return False
    return step.target is not None and isinstance(learn.loss_fn, OutputLoss) and learn.loss_fn.accepts(step.out)


def _loss(learn: Learner, step: Step, target: Tensor) -> Tensor:
    try:
        if isinstance(learn.loss_fn, OutputLoss) and not step.has("pred"):
            return learn.loss_fn.of_output(step.out, target)
        return learn.loss_fn(step.pred, target)
    except BaseException as error:
        annotate(error, "the loss", learn, shapes(step))
        raise


def _update(learn: Learner, step: Step) -> None:
    learn.fire(Callback.before_update, learn)
    held = step.update is None  # a guard may refuse the update at the last moment; its gradients are dropped
    if step.update is not None:
        step.update()
    learn.optimizer.zero_grad(set_to_none=True)
    learn.progress = replace(learn.progress, step=learn.progress.step + 1)
    if not held:
        learn.fire(Callback.after_update, learn)


def _record(learn: Learner, step: Step) -> None:
    """Add the batch to the metrics of the pass and, when training, to the history; no device sync."""
    if step.target is None:
        return
    loss = step.loss.detach()
    with torch.no_grad():
        metrics = learn.pass_metrics[step.training]
        # The prediction is large and may not have been made: only for metrics that look at it.
        metrics.update(step.pred.detach() if metrics.reads_pred else loss, step.target, step.n, loss)
    if step.training:
        at, group = learn.progress, learn.optimizer.param_groups[0]
        momentum = group["betas"][0] if "betas" in group else group.get("momentum")
        learn.history.add_step(at.fit, at.epoch, at.batch, at.step, loss, step.n, _rates(learn), momentum)


def _rates(learn: Learner) -> dict[str, float]:
    """Return the current rate of each layer group that trains."""
    trained = {learn.groups[index].name for index in learn.trainable}
    return {group["layer"]: group["lr"] for group in learn.optimizer.param_groups if group["layer"] in trained}


def batch_to(batch: Batch, device: torch.device, stay: Collection[int] = ()) -> Batch:
    """Move the tensors of a batch to a device.

    Args:
        batch: The batch.
        device: Where to.
        stay: Positions of inputs that stay where they are: a model that needs their values to plan its work lists them
            as `host_inputs`, for asking a GPU for values means to wait for it.
    """
    inputs = tuple(
        upload(item, device) if isinstance(item, Tensor) and index not in stay else item
        for index, item in enumerate(batch.inputs)
    )
    return Batch(inputs, None if batch.target is None else upload(batch.target, device), batch.n)
