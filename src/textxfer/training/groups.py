"""Layer groups: which parameters train, at which rate, with which decay.

A model lists its groups from input to output. All of them are in the optimizer from the first step to the last;
a frozen group has `requires_grad` off and no gradient, so the optimizer skips it and keeps its moments.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import nn


@dataclass(frozen=True)
class LayerGroup:
    """Parameters that are frozen, and get their rate, together.

    Args:
        name: What histories and the optimizer call it, such as `lstm1`.
        params: Its parameters.
    """

    name: str
    params: tuple[nn.Parameter, ...]


@runtime_checkable
class Grouped(Protocol):
    """A model that lists its layer groups."""

    def layer_groups(self) -> Sequence[tuple[str, Iterable[nn.Parameter]]]:
        """Return names and parameters of the groups, from input to output."""
        ...


def layer_groups(model: nn.Module) -> list[LayerGroup]:
    """List the layer groups of a model, from input to output.

    A model without a method `layer_groups` is one group.

    Raises:
        ValueError: If a parameter is in no group or in several, or if two groups share a name.
    """
    listed = model.layer_groups() if isinstance(model, Grouped) else [("model", model.parameters())]
    groups = [LayerGroup(name, tuple(params)) for name, params in listed]
    names = [group.name for group in groups]
    if len(set(names)) < len(names):
        raise ValueError(f"layer groups must have different names, not {names}")
    counts: dict[int, int] = {}
    for group in groups:
        for param in group.params:
            counts[id(param)] = counts.get(id(param), 0) + 1
    wrong = [name for name, param in model.named_parameters() if counts.get(id(param), 0) != 1]
    if wrong:
        raise ValueError(f"each parameter must be in exactly one layer group; these are not: {', '.join(wrong)}")
    return groups


def trainable_groups(groups: Sequence[LayerGroup]) -> tuple[int, ...]:
    """Return the indices of the groups of which anything trains: another learner may have frozen the others.

    Args:
        groups: All layer groups.
    """
    return tuple(index for index, group in enumerate(groups) if not group.params or _trains(group))


def _trains(group: LayerGroup) -> bool:
    return any(param.requires_grad for param in group.params)


def apply_trainable(groups: Sequence[LayerGroup], indices: Collection[int], before: Collection[int]) -> bool:
    """Let the groups of the given indices train and freeze the others.

    A group that stays what it was is left alone, with the parameters in it that were frozen by hand. The gradient of
    a frozen parameter becomes None, not zero: with a zero gradient momentum would still move it.

    Args:
        groups: All layer groups.
        indices: Those that are to train, from 0.
        before: Those that have trained so far.

    Returns:
        Whether anything changed.
    """
    changed = set(before) ^ set(indices) | {i for i in indices if groups[i].params and not _trains(groups[i])}
    for index in changed:
        for param in groups[index].params:
            param.requires_grad_(index in indices)
            if index not in indices:
                param.grad = None
    return bool(changed)


@dataclass(frozen=True)
class Optimizer:
    """How to build the optimizer of a Learner.

    Args:
        kind: `adamw` decays weights apart from the gradient (Loshchilov & Hutter 2019), `adam` adds the decay to
            the gradient (L2, as the 2018 scripts did), `sgd` likewise, with momentum.
        betas: Decay rates of the moments, each in [0, 1). The default is fastai's for text.
        eps: Added to the root of the second moment, > 0.
        weight_decay: >= 0; biases and norms (one-dimensional parameters) do not decay.
        momentum: Momentum of `sgd`, in [0, 1).

    Raises:
        ValueError: There is no such `kind`.
    """

    kind: Literal["adamw", "adam", "sgd"] = "adamw"
    betas: tuple[float, float] = (0.8, 0.99)
    eps: float = 1e-8
    weight_decay: float = 0.01
    momentum: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in ("adamw", "adam", "sgd"):
            raise ValueError(f"kind must be 'adamw', 'adam' or 'sgd', not {self.kind!r}")

    def build(self, groups: Sequence[LayerGroup]) -> torch.optim.Optimizer:
        """Build the torch optimizer: one parameter group for each layer group, with and without decay.

        Each parameter group has the keys `name` (such as `lstm1/decay`), `layer` (the layer group's name), `lr`
        and `base_lr`, the rate that schedules multiply.

        Args:
            groups: The layer groups, from input to output.

        Returns:
            The optimizer, with rates of 0: each fit sets its own.
        """
        param_groups = [part for group in groups for part in self._split(group)]
        if self.kind == "sgd":
            # Not fused: that kernel (torch 2.13) fails where a parameter gets its first gradient after its neighbours.
            return torch.optim.SGD(param_groups, lr=0.0, momentum=self.momentum)
        cls = torch.optim.AdamW if self.kind == "adamw" else torch.optim.Adam
        return cls(param_groups, lr=0.0, betas=self.betas, eps=self.eps, fused=_fused(param_groups))

    def _split(self, group: LayerGroup) -> list[dict[str, Any]]:
        matrices = [param for param in group.params if param.ndim > 1]
        vectors = [param for param in group.params if param.ndim <= 1]
        parts = [("decay", matrices, self.weight_decay), ("no_decay", vectors, 0.0)]
        return [
            {
                "params": params,
                "name": f"{group.name}/{part}",
                "layer": group.name,
                "base_lr": 0.0,
                "weight_decay": decay,
            }
            for part, params, decay in parts
            if params
        ]


def _fused(param_groups: list[dict[str, Any]]) -> bool:
    """Whether torch's fused kernels can serve all parameters: on a CPU six times as fast as the plain loop."""
    params = [param for group in param_groups for param in group["params"]]
    return all(param.is_floating_point() and param.device.type in ("cpu", "cuda") for param in params)
