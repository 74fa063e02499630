"""Forward and backward pass of a training step as a CUDA graph: recorded once, then repeated.

A step of a recurrent model is thousands of short kernels, one after the other, and a fast GPU runs them faster than
Python can launch them. A graph launches all of them at once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor, nn

from textxfer.batch import Batch
from textxfer.callbacks import _cuda_graph
from textxfer.callbacks._cuda_graph import Recorder, Results
from textxfer.training.callback import Callback, Order, handles
from textxfer.training.step import Step

if TYPE_CHECKING:
    from textxfer.training.learner import Learner

_RECORDED = ("around_forward", "after_forward", "after_loss", "before_backward")
"""The events within what is recorded."""

_Compute = Callable[[Step], None]


@final
class CapturedStep(Callback):
    """Record forward and backward pass of training steps as CUDA graphs, and repeat those.

    Inputs of a new shape are computed as ever until they have come a few times in a row; then the step is recorded.
    Odd windows, such as an epoch's first (without hidden state) and last, are thus never recorded. Validation is not
    recorded either. A change of the frozen layer groups drops all recordings.

    Python does not run when a recording is repeated. Callbacks that act between `around_forward` and
    `before_backward` must say that this does them no harm (`capturable`), and a model must not look at the values in
    its inputs, which `TextClassifier` does. `step.out` and `step.pred` are overwritten by the next step: whoever keeps
    them for longer makes a copy. A recording keeps the memory of a step for itself.

    Args:
        warmup: Steps of a shape in a row before it is recorded, >= 1.
        max_graphs: Number of shapes that are recorded at most, >= 1.

    Attributes:
        n_replayed: Steps of the current or the last fit that repeated a recording.

    Raises:
        ValueError: `warmup` or `max_graphs` is below 1.
    """

    order = Order.MODEL

    def __init__(self, warmup: int = 3, max_graphs: int = 4) -> None:
        for name, value in (("warmup", warmup), ("max_graphs", max_graphs)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value!r}")
        self.warmup = warmup
        self.max_graphs = max_graphs
        self.n_replayed = 0
        self._plain: _Compute | None = None
        self._recorder: Recorder | None = None
        self._forget()

    def before_fit(self, learn: Learner) -> None:
        """Check that the steps of this fit can be recorded, and take the place of `learn.compute`."""
        _refuse(learn.active_callbacks)
        recorder, plain = _cuda_graph.recorder_for(learn.device), learn.compute
        self.n_replayed = 0
        self._recorder, self._plain = recorder, plain
        learn.compute = partial(self._compute, learn, plain, recorder)

    def after_fit(self, learn: Learner) -> None:
        """Put `learn.compute` back and give the memory back."""
        if self._plain is not None:
            learn.compute, self._plain = self._plain, None
        self._forget()
        self._recorder = None

    def on_freeze(self, learn: Learner) -> None:
        """Drop the recordings: other parameters get gradients now."""
        self._forget()

    def _forget(self) -> None:
        if self._recorder is not None:
            self._recorder.wait()  # the memory of work that is under way must not go to others
        self._recordings: dict[Hashable, _Recording] = {}
        self._last: Hashable = None
        self._in_a_row = 0

    def _compute(self, learn: Learner, plain: _Compute, recorder: Recorder, step: Step) -> None:
        if not step.training:
            plain(step)
            return
        key = _key((step.inputs, step.target), learn.device)
        if key not in self._recordings and self._is_due(key):
            self._recordings[key] = _record(learn, plain, recorder, step)
        if recording := self._recordings.get(key):
            recording.play(step)
            self._last = key
            self.n_replayed += 1
        else:
            recorder.run(partial(plain, step))

    def _is_due(self, key: Hashable) -> bool:
        self._in_a_row = self._in_a_row + 1 if key == self._last else 1
        self._last = key
        return key is not None and self._in_a_row > self.warmup and len(self._recordings) < self.max_graphs


@dataclass(frozen=True)
class _Recording:
    """A recorded step: where it reads, where it writes, and how to repeat it."""

    inputs: list[Tensor]
    results: Results
    grads: list[tuple[nn.Parameter, Tensor]]
    replay: Callable[[], None]

    @torch.no_grad()
    def play(self, step: Step) -> None:
        """Repeat the step with other inputs."""
        # If the update was held, gradients of earlier batches may lie just where this one writes its own.
        held = [None if param.grad is None else param.grad.clone() for param, _ in self.grads]
        # So may the carried state, which is in the last step's results: all inputs are copied before anything is run.
        torch._foreach_copy_(self.inputs, list(_tensors((step.inputs, step.target))))  # pyright: ignore[reportPrivateImportUsage]
        self.replay()
        for (param, grad), before in zip(self.grads, held):
            param.grad = grad if before is None else grad.add_(before)
        # A record of its own for each step: it may keep what was derived from its tensors, such as logits.
        step.out = _mapped(lambda tensor: tensor, self.results.out)
        if self.results.pred is not None:
            step.pred = self.results.pred
        # Scalars are kept by whoever watches the training; a copy of their own costs nothing.
        step.loss, step.objective = self.results.loss.clone(), self.results.objective.clone()


def _record(learn: Learner, plain: _Compute, recorder: Recorder, step: Step) -> _Recording:
    """Record a step like the given one; nothing is computed yet."""
    params = list(learn.model.parameters())
    inputs, target = _mapped(_copy, (step.inputs, step.target))
    own = Step(step.index, True, Batch(inputs, target, step.n), step.update)
    before = [param.grad for param in params]
    try:
        results, replay = recorder.record(partial(_work, learn, plain, own, params))
    finally:
        for param, grad in zip(params, before):
            param.grad = grad
    grads = [(param, grad) for param, grad in zip(params, results.grads) if grad is not None]
    return _Recording(list(_tensors((inputs, target))), results, grads, replay)


def _work(learn: Learner, plain: _Compute, own: Step, params: list[nn.Parameter]) -> Results:
    """Compute a step of its own and return what it leaves behind."""
    outside, learn.step = learn.step, own
    try:
        # Without a gradient to add to, the backward pass puts a new one into the recording's memory, where each
        # repetition finds it. The optimizer may set `param.grad` to None as ever: `play` puts it back.
        for param in params:
            param.grad = None
        plain(own)
        pred = own.pred if own.has("pred") else None  # to ask for it would make it
        # Detached: a graph of autograd that lives on would tie the parameters to the recording's stream.
        out, pred, loss, objective = _mapped(Tensor.detach, (own.out, pred, own.loss, own.objective))
        return Results(out, pred, loss, objective, [param.grad for param in params])
    finally:
        learn.step = outside


def _refuse(callbacks: list[Callback]) -> None:
    """Refuse callbacks that act within what is recorded and do not say that they may be recorded."""
    acting = [
        f"{callback!r} ({', '.join(event for event in _RECORDED if handles(callback, event))})"
        for callback in callbacks
        if not callback.capturable and any(handles(callback, event) for event in _RECORDED)
    ]
    if acting:
        raise ValueError(
            f"CapturedStep repeats forward and backward passes without running Python, but {'; '.join(acting)} would "
            "have to run in between. Leave out CapturedStep or the others; a callback of your own whose handlers there "
            "are pure tensor code, the same for every batch, may say `capturable = True`"
        )


_ANYTHING = object()


def _key(values: Any, device: torch.device) -> Hashable:
    """Describe what a recording takes as fixed: structure, shapes, and values that are no tensors.

    None if it would take as fixed what may be another next time: contents of a tensor on the CPU, or of an object.
    """
    parts = list(_described(values, device))
    return None if _ANYTHING in parts else tuple(parts)


def _described(value: Any, device: torch.device) -> Iterator[Hashable]:
    if isinstance(value, Tensor) and value.device.type == device.type:
        yield value.shape, value.dtype
    elif isinstance(value, tuple | list):
        yield type(value), len(value)
        for item in value:
            yield from _described(item, device)
    elif value is None or isinstance(value, int | float | str):
        yield type(value), value
    else:
        yield _ANYTHING


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _tensors(item)


def _mapped(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """Apply a function to all tensors in tuples, lists, dicts and records, and make those anew."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, tuple | list):
        items = [_mapped(function, item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, dict):
        return {key: _mapped(function, item) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: _mapped(function, getattr(value, f.name)) for f in fields(value) if f.init})
    return value


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().clone()
