"""The events of the training loop; what callbacks read in them is in `step.py`.

The methods of `Callback` *are* the list of events: to handle one, override it. There is no
other list to keep in step, and a misspelt event is an error at the `class` line.
"""

from __future__ import annotations

import difflib
from contextlib import AbstractContextManager, nullcontext
from enum import IntEnum, auto
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from textxfer.training.learner import Learner


class Order(IntEnum):
    """The phase in which a callback acts when several handle one event; ties keep the order of the user's list."""

    DATA = auto()
    MODEL = auto()
    OBJECTIVE = auto()
    SCALING = auto()
    GRADIENT = auto()
    SCHEDULE = auto()
    OBSERVE = auto()
    REPORT = auto()
    SAVE = auto()


class Callback:
    """Base class of all callbacks: override the events that you need.

    A callback keeps what it needs in its own attributes. Every event gets the learner as its argument `learn`; the
    batch is read and changed through `learn.step`. The arguments of the constructor must be kept under their own names:
    `repr` shows them.

    Class attributes:
        order: The phase in which the callback acts, see `Order`.
        train_only: Leave the callback out of validation and prediction.
        repeatable: Allow several callbacks of this class in one fit.
        main_only: Of several processes that train together, act on the first one alone: for what writes.
        capturable: The handlers between `around_forward` and `before_backward` are pure tensor code, so they may be
            recorded in a CUDA graph.
    """

    order: ClassVar[Order] = Order.OBSERVE
    train_only: ClassVar[bool] = False
    repeatable: ClassVar[bool] = False
    main_only: ClassVar[bool] = False
    capturable: ClassVar[bool] = False

    def before_fit(self, learn: Learner) -> None:
        """A fit begins. Model, optimizer, groups and loaders are set; `learn.forward` may be replaced."""

    def before_epoch(self, learn: Learner) -> None:
        """An epoch begins: the place to freeze and unfreeze."""

    def before_train(self, learn: Learner) -> None:
        """The training pass of an epoch begins."""

    def before_valid(self, learn: Learner) -> None:
        """A validation or prediction pass begins."""

    def before_batch(self, learn: Learner) -> None:
        """A batch arrived. May change `step.inputs`, `step.target` and hyper-parameters, or hold the update."""

    def around_forward(self, learn: Learner) -> AbstractContextManager[Any]:
        """Return a context manager in which forward pass and loss run."""
        return nullcontext()

    def after_forward(self, learn: Learner) -> None:
        """`step.out` and `step.pred` are set. May replace `step.pred`."""

    def after_loss(self, learn: Learner) -> None:
        """`step.loss` and `step.objective` are set. May add terms to `step.objective`."""

    def before_backward(self, learn: Learner) -> None:
        """The objective is complete. May scale it."""

    def after_backward(self, learn: Learner) -> None:
        """The gradients of this batch have been added."""

    def before_update(self, learn: Learner) -> None:
        """An update is due. May change gradients and wrap `step.update`."""

    def after_update(self, learn: Learner) -> None:
        """The weights are new; gradients are cleared."""

    def after_batch(self, learn: Learner) -> None:
        """The batch is done and counted. May call `learn.stop()`."""

    def after_train(self, learn: Learner) -> None:
        """The training pass is done; its metrics are in `learn.results`."""

    def after_valid(self, learn: Learner) -> None:
        """The validation pass is done; its metrics are in `learn.results`."""

    def after_epoch(self, learn: Learner) -> None:
        """The epoch's row stands in `learn.history`. May call `learn.stop()`; the place to save."""

    def after_fit(self, learn: Learner) -> None:
        """The fit is over, however it ended (`learn.error`). Undo what `before_fit` did, even if it did it in part."""

    def on_freeze(self, learn: Learner) -> None:
        """`freeze_to` changed which layer groups train."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs: a flat dict of tensors and JSON values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned.

        Args:
            state: The same keys and values, read from a file; tensors are on the CPU.
        """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse a method that looks like an event and is none, and relations that nothing would read."""
        super().__init_subclass__(**kwargs)
        for name in vars(cls):
            if name in ("run_after", "run_before"):
                raise TypeError(f"{cls.__name__}.{name} is not read: `order` says when a callback acts, see Order")
            if name.startswith(("before_", "after_", "around_", "on_")) and name not in EVENTS:
                near = difflib.get_close_matches(name, EVENTS, n=1, cutoff=0)[0]
                raise TypeError(f"{cls.__name__}.{name} is not an event; did you mean {near}?")

    def __repr__(self) -> str:
        """Show the call that builds this callback again; `?` stands for an argument that was not kept by its name."""
        names = self.__init__.__code__.co_varnames[1 : _n_arguments(self)] if _has_init(self) else ()
        values = [repr(getattr(self, name)) if hasattr(self, name) else "?" for name in names]
        return f"{type(self).__name__}({', '.join(map('='.join, zip(names, values)))})"


def _has_init(callback: Callback) -> bool:
    return type(callback).__init__ is not object.__init__


def _n_arguments(callback: Callback) -> int:
    code = callback.__init__.__code__
    return code.co_argcount + code.co_kwonlyargcount


EVENTS: tuple[str, ...] = tuple(
    name for name in vars(Callback) if name.startswith(("before_", "after_", "around_", "on_"))
)
"""The names of all events, in the order in which the loop fires them."""


def handles(callback: Callback, event: str) -> bool:
    """Whether the callback overrides the event."""
    return getattr(type(callback), event) is not getattr(Callback, event)
