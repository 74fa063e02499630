"""Which layer groups train in which epoch of a fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, final

from torch import nn

from textxfer.training.callback import Callback, Order

if TYPE_CHECKING:
    from textxfer.training.learner import Learner

Mode = Literal["gradual", "chain-thaw", "last"]
_MODES = ("gradual", "chain-thaw", "last")


@final
class GradualUnfreeze(Callback):
    """Train the last layer group first and let the others follow, within one fit and one schedule.

    What trains is a function of the epoch alone. After the fit the groups stay as the last epoch had them, so that
    training can go on from there; after an error they are again as they were before the fit. A group that is let go
    trains with all its parameters, also those that were frozen by hand.

    Args:
        epochs_per_group: Epochs before the next change, >= 1.
        mode: `gradual` lets one group more train from each stage to the next, from the output down, until all do.
            `chain-thaw` trains the last group, then each of the others alone, from the input up, then all.
            `last` trains the last group only.

    Raises:
        ValueError: `epochs_per_group` is below 1, or there is no such `mode`.

    Source: Howard & Ruder 2018, section 3.3; chain-thaw: Felbo et al. 2017, "Using millions of emoji occurrences to
    learn any-domain representations for detecting sentiment, emotion and sarcasm", section 3.3.
    """

    order = Order.MODEL
    train_only = True

    def __init__(self, epochs_per_group: int = 1, mode: Mode = "gradual") -> None:
        if epochs_per_group < 1:
            raise ValueError(f"epochs_per_group must be at least 1, not {epochs_per_group!r}")
        if mode not in _MODES:
            raise ValueError(f"mode must be one of {', '.join(map(repr, _MODES))}, not {mode!r}")
        self.epochs_per_group = epochs_per_group
        self.mode: Mode = mode
        self._before: tuple[int, ...] | None = None
        self._frozen: list[nn.Parameter] = []

    def before_fit(self, learn: Learner) -> None:
        """Remember what trains."""
        self._before = learn.trainable
        self._frozen = [param for param in learn.model.parameters() if not param.requires_grad]

    def before_epoch(self, learn: Learner) -> None:
        """Freeze and unfreeze."""
        learn.set_trainable(self.trainable(learn.progress.epoch, len(learn.groups)))

    def after_fit(self, learn: Learner) -> None:
        """After an error, go back to what was before the fit."""
        before, self._before = self._before, None
        if learn.error is not None and before is not None:
            learn.set_trainable(before)
            for param in self._frozen:
                param.requires_grad_(False)
                param.grad = None
        self._frozen = []

    def trainable(self, epoch: int, n_groups: int) -> range:
        """Return the indices of the groups that train in an epoch.

        Args:
            epoch: The epoch of the fit, from 0.
            n_groups: Number of layer groups of the model.
        """
        stage = epoch // self.epochs_per_group
        if self.mode == "last":
            return range(n_groups - 1, n_groups)
        if self.mode == "gradual":
            return range(max(n_groups - 1 - stage, 0), n_groups)
        if stage == 0:
            return range(n_groups - 1, n_groups)
        return range(stage - 1, stage) if stage < n_groups else range(n_groups)

    def state_dict(self) -> dict[str, Any]:
        """Return what trained before the fit: a resumed fit starts with the groups of the interrupted epoch."""
        return {} if self._before is None else {"before": list(self._before)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        self._before = tuple(state["before"]) if "before" in state else None
