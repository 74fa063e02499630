"""From events to the callbacks that handle them: tables, error notes and the picture of the loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor

from textxfer.training.callback import EVENTS, Callback, handles
from textxfer.training.step import Step

if TYPE_CHECKING:
    from textxfer.training.learner import Learner

Event = Callable[[Callback, Any], Any]
"""An event is the method of `Callback` itself, such as `Callback.after_loss`: a misspelt one is a type error."""


class Table:
    """The handlers of each event, for training or for validation; calling it fires an event."""

    __slots__ = ("_handlers",)

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self._handlers: dict[Event, list[Callable[[Learner], Any]]] = {
            getattr(Callback, event): [getattr(callback, event) for callback in callbacks if handles(callback, event)]
            for event in EVENTS
        }

    def __call__(self, event: Event, learn: Learner) -> None:
        """Call the handlers of an event in order."""
        for handler in self._handlers[event]:
            try:
                handler(learn)
            except BaseException as error:
                annotate(error, _where(handler, event), learn, in_batch=event.__name__ in _BATCH_EVENTS)
                raise

    @contextmanager
    def around(self, learn: Learner) -> Iterator[None]:
        """Enter the contexts that callbacks put around the forward pass, the first callback's outermost."""
        handlers = self._handlers[Callback.around_forward]
        if not handlers:
            yield
            return
        with ExitStack() as stack:
            for handler in handlers:
                try:
                    stack.enter_context(handler(learn))
                except BaseException as error:
                    annotate(error, _where(handler, Callback.around_forward), learn)
                    raise
            yield


class Dispatcher:
    """The callbacks of one fit in their order, with a table of handlers for training and one for validation.

    Raises:
        TypeError: If something in the list is not a callback.
        ValueError: If two callbacks are of one class that is not repeatable.
    """

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        for callback in callbacks:
            if not isinstance(callback, Callback):
                hint = f"; did you mean {callback.__name__}()?" if isinstance(callback, type) else ""
                raise TypeError(f"{callback!r} is not a Callback{hint}")
        classes = [type(callback) for callback in callbacks]
        for cls in classes:
            if classes.count(cls) > 1 and not cls.repeatable:
                raise ValueError(f"{cls.__name__} is given twice; one fit can have it once")
        self.callbacks = sorted(callbacks, key=lambda callback: callback.order)
        self._train = Table(self.callbacks)
        self._valid = Table([callback for callback in self.callbacks if not callback.train_only])

    def table(self, training: bool) -> Table:
        """Return the handlers for training or those for validation."""
        return self._train if training else self._valid

    def call(self, callback: Callback, event: Event, learn: Learner) -> None:
        """Call one callback's handler of an event."""
        try:
            getattr(callback, event.__name__)(learn)
        except BaseException as error:
            annotate(error, f"{callback!r}.{event.__name__}", learn, in_batch=False)
            raise

    def describe(self) -> str:
        """Write the loop as text, with each line's callbacks beside it in the order in which they act."""
        lines = []
        for line in _LOOP.strip("\n").splitlines():
            event = line.strip().split(" ")[0]
            acting = [
                _short(callback, event) for callback in self.callbacks if event in EVENTS and _acts(callback, event)
            ]
            lines.append(f"{line:<44}{', '.join(acting)}".rstrip())
        return "\n".join(lines)


def _acts(callback: Callback, event: str) -> bool:
    return handles(callback, event) and not (callback.train_only and event in ("before_valid", "after_valid"))


def _short(callback: Callback, event: str) -> str:
    both = event in ("before_batch", "around_forward", "after_forward", "after_loss", "after_batch")
    return f"{callback!r}{' (training)' if both and callback.train_only else ''}"


_LOOP = """
before_fit
for epoch in range(n_epochs):
    before_epoch
    before_train
    for batch in train:
        before_batch
        around_forward
            out = forward(*inputs)
            after_forward
            loss = loss_fn(pred, target)
            after_loss
        before_backward
        objective.backward()
        after_backward
        if step.update:
            before_update
            step.update()
            after_update
        after_batch
    after_train
    before_valid
    for batch in valid: (the same, without gradients)
    after_valid
    after_epoch
after_fit (reversed, always)
on_freeze (whenever the frozen groups change)
"""


_PREFIX = "raised in "
_BATCH_EVENTS = EVENTS[EVENTS.index("before_batch") : EVENTS.index("after_batch") + 1]


def annotate(error: BaseException, where: str, learn: Learner, detail: str = "", in_batch: bool = True) -> None:
    """Add one note to an error: where it was raised and what was going on; the error itself stays as it is."""
    if any(note.startswith(_PREFIX) for note in getattr(error, "__notes__", ())):
        return
    at, step = learn.progress, learn.step
    phase = f", epoch {at.epoch}" if at.n_epochs else ""
    if in_batch:
        total, kind = (f" of {at.n_batches}", "training") if step.training else ("", "validation")
        phase += f", batch {step.index}{total} ({kind})"
    error.add_note(f"{_PREFIX}{where}{phase}{detail}")


def shapes(step: Step) -> str:
    """Describe the inputs of a step: shape, dtype and device of each tensor."""
    parts = [
        f"{tuple(item.shape)} {str(item.dtype).removeprefix('torch.')} on {item.device}"
        if isinstance(item, Tensor)
        else type(item).__name__
        for item in step.inputs
    ]
    return f"; inputs: {', '.join(parts)}"


def _where(handler: Callable[..., Any], event: Event) -> str:
    return f"{getattr(handler, '__self__', None)!r}.{event.__name__}"
