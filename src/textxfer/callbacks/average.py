"""Averages of the weights over the updates, used in validation and left in the model in the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, final

import torch
from torch import Tensor

from textxfer.training.callback import Callback, Order

if TYPE_CHECKING:
    from textxfer.training.learner import Learner

_KEY, _OWN = "average/", "own/"


@final
class WeightAverage(Callback):
    """Validate, and end the fit, with averaged weights.

    Training goes on with its own weights: the average stands in the model during validation only. After a fit that
    ended well it stays there; after an error the model has the weights of the last update. Buffers, such as the
    statistics of batch normalization, are not averaged.

    Args:
        mode: `ema` averages from the first update on, with weights that fall by `decay` with each update (free of the
            bias of a start at zero). `nt-asgd` waits until the validation loss has not improved for a while, then
            averages all later updates evenly; before that it does nothing.
        decay: Decay of `ema`, in (0, 1).
        nonmono: `nt-asgd` starts after an epoch whose validation loss is above the lowest of all earlier epochs of the
            fit but the last `nonmono`, >= 1.

    Raises:
        ValueError: An argument is out of its range.

    Source: Merity, Keskar & Socher 2018, "Regularizing and Optimizing LSTM Language Models", section 3 and
    algorithm 1. The optimizer and its rate stay what they are; in the paper both are SGD's.
    """

    # The last one: it averages what all others have done. In after_fit, where the order is reversed, it is among the
    # first, so that SaveBest has the last word about the weights.
    order = Order.SAVE

    def __init__(self, mode: Literal["ema", "nt-asgd"] = "ema", decay: float = 0.999, nonmono: int = 5) -> None:
        if mode not in ("ema", "nt-asgd"):
            raise ValueError(f"mode must be 'ema' or 'nt-asgd', not {mode!r}")
        if not 0 < decay < 1:
            raise ValueError(f"decay must be more than 0 and less than 1, not {decay!r}")
        if nonmono < 1:
            raise ValueError(f"nonmono must be at least 1, not {nonmono!r}")
        self.mode: Literal["ema", "nt-asgd"] = mode
        self.decay = decay
        self.nonmono = nonmono
        self._reset()

    @property
    def weights(self) -> dict[str, Tensor]:
        """The average of each parameter, by name; empty while there is none."""
        return dict(self._average)

    def before_fit(self, learn: Learner) -> None:
        """Start without an average.

        Raises:
            ValueError: `nt-asgd` has no validation loader to watch.
        """
        self._swap_back(learn)
        self._reset()
        if self.mode == "nt-asgd" and learn.loaders.valid is None:
            raise ValueError("WeightAverage('nt-asgd') watches the validation loss: the learner needs such a loader")

    def before_epoch(self, learn: Learner) -> None:
        """Switch averaging on if the validation loss has stalled."""
        rows = [row for row in learn.history if row["fit"] == learn.progress.fit]
        self._on = self._on or stalled([row["valid_loss"] for row in rows if "valid_loss" in row], self.nonmono)

    def before_batch(self, learn: Learner) -> None:
        """Put training's own weights back if a validation on the side has failed and left the average."""
        if learn.step.training:
            self._swap_back(learn)

    def after_update(self, learn: Learner) -> None:
        """Take the new weights into the average."""
        if not self._on:
            return
        params = dict(learn.model.named_parameters())
        weights = [param.detach() for param in params.values()]
        self._n += 1
        if self._n == 1:
            self._average = {name: weight.clone() for name, weight in zip(params, weights)}
        else:
            torch._foreach_lerp_(self._averages(learn), weights, self._share())  # pyright: ignore[reportPrivateImportUsage]

    def before_valid(self, learn: Learner) -> None:
        """Put the average into the model."""
        if self._n and self._own is None:
            self._own = {name: param.detach().clone() for name, param in learn.model.named_parameters()}
            _copy(learn, self._averages(learn))

    def after_valid(self, learn: Learner) -> None:
        """Put training's own weights back."""
        self._swap_back(learn)

    def after_fit(self, learn: Learner) -> None:
        """Leave the average in the model; after an error, training's own weights."""
        self._swap_back(learn)
        if learn.error is None and self._n:
            _copy(learn, self._averages(learn))
        self._reset()

    def state_dict(self) -> dict[str, Any]:
        """Return the average and what it is made of; training's own weights where the average stands in the model."""
        averages = {f"{_KEY}{name}": tensor for name, tensor in self._average.items()}
        own = {f"{_OWN}{name}": tensor for name, tensor in (self._own or {}).items()}
        return {"on": self._on, "n": self._n, **averages, **own}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        self._on, self._n = state["on"], state["n"]
        self._average, own = (
            {key.removeprefix(kind): tensor.clone() for key, tensor in state.items() if key.startswith(kind)}
            for kind in (_KEY, _OWN)
        )
        self._own = own or None

    def _reset(self) -> None:
        self._on = self.mode == "ema"
        self._n = 0
        self._average: dict[str, Tensor] = {}
        self._own: dict[str, Tensor] | None = None

    def _share(self) -> float:
        """Return the share of the newest weights in the average."""
        if self.mode == "nt-asgd":
            return 1 / self._n
        return (1 - self.decay) / (1 - self.decay**self._n)

    def _averages(self, learn: Learner) -> list[Tensor]:
        """Return the averages in the order of the model's parameters, on their devices."""
        for name, param in learn.model.named_parameters():
            self._average[name] = self._average[name].to(param.device)
        return [self._average[name] for name, _ in learn.model.named_parameters()]

    def _swap_back(self, learn: Learner) -> None:
        if self._own is not None:
            _copy(learn, [self._own[name] for name, _ in learn.model.named_parameters()])
            self._own = None


def stalled(losses: Sequence[float], nonmono: int) -> bool:
    """Whether the last loss is above the lowest of all earlier ones but the last `nonmono` of those."""
    *earlier, last = losses or (0.0,)
    return len(earlier) > nonmono and last > min(earlier[:-nonmono])


@torch.no_grad()
def _copy(learn: Learner, tensors: Sequence[Tensor]) -> None:
    torch._foreach_copy_(list(learn.model.parameters()), list(tensors))  # pyright: ignore[reportPrivateImportUsage]
