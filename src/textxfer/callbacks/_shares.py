"""What makes the parts of a batch, each on a process of its own, add up to what the whole batch would give.

Shapes: T time, B batch, F features; of the part that one process has.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import is_dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from textxfer.callbacks._peers import Peers
from textxfer.training.metric import sum_dtype


class Shares(NamedTuple):
    """What a batch has in it, on one process or on all.

    Attributes:
        n: Targets that count.
        loss: Sum of the loss over them.
        states: Activations of the last layer, (T, B) without padding: what AR is a mean over.
        pairs: Pairs of activations that follow one another: what TAR is a mean over.
    """

    n: Tensor
    loss: Tensor
    states: Tensor
    pairs: Tensor


def shares_of(out: Any, loss: Tensor, n: int) -> Shares:
    """Count what the batch of this process has in it. One in which nothing counts has nothing in it.

    Args:
        out: What the model returned; if it has activations `raw` (T, B, E), they are counted, up to `lengths` (B,) if
            it has those.
        loss: Mean loss of the batch, a scalar.
        n: Targets that count.
    """
    kind = {"dtype": sum_dtype(loss.device), "device": loss.device}
    states = pairs = torch.zeros((), **kind)
    raw = getattr(out, "raw", None)
    if not n:
        return Shares(states, states, states, pairs)
    if isinstance(raw, Tensor) and raw.ndim == 3:
        steps, width = raw.shape[:2]
        lengths = getattr(out, "lengths", None)
        lengths = torch.full((width,), steps, **kind) if lengths is None else lengths.to(**kind)
        states, pairs = lengths.clamp(0, steps).sum(), (lengths - 1).clamp(0, steps - 1).sum()
    return Shares(torch.full((), n, **kind), loss.detach().to(**kind) * n, states, pairs)


def summed(peers: Peers, own: Shares) -> Shares:
    """Return the sum over all processes."""
    total = torch.stack(own)
    peers.sum_(total)
    return Shares(*total)


def weighted_output(out: Any, own: Shares, total: Shares) -> Any:
    """Return a model's output whose activations weigh as much as in the whole batch.

    The objective of a process is weighted by its targets that count. Penalties on activations are means over other
    things, so that their gradient has to be weighted anew: that of `dropped` by the share in all activations, that of
    `raw` by the share in all pairs.

    Args:
        out: What the model returned: a record with `raw` and `dropped`; anything else is returned as it is.
        own: What the batch of this process has in it.
        total: What the batches of all have in them.
    """
    new = {}
    for name, mine, all_ in (("raw", own.pairs, total.pairs), ("dropped", own.states, total.states)):
        value = getattr(out, name, None)
        if isinstance(value, Tensor) and value.requires_grad:
            factor = mine * total.n / (all_ * own.n)
            new[name] = _ScaledGrad.apply(value, torch.where(mine > 0, factor, torch.zeros_like(factor)))
    if not new:
        return out
    if isinstance(out, tuple) and hasattr(out, "_replace"):
        return out._replace(**new)  # pyright: ignore[reportAttributeAccessIssue]  a named tuple
    return replace(out, **new) if is_dataclass(out) and not isinstance(out, type) else out


class _ScaledGrad(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, factor: Tensor) -> Tensor:
        ctx.factor = factor
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0] * ctx.factor.to(grads[0].dtype), None


def share_statistics(model: nn.Module, peers: Peers, counts: Callable[[], bool], undo: ExitStack) -> None:
    """Let batch normalization see the rows of all processes in training.

    Args:
        model: The model: modules with running statistics (`running_mean`) are those that are meant.
        peers: The processes.
        counts: Whether the batch of this process counts; one that does not adds no rows.
        undo: Takes this back.
    """
    for module in model.modules():
        if hasattr(module, "running_mean"):
            module.forward = partial(_over_all, module, module.forward, peers, counts)
            undo.callback(vars(module).pop, "forward", None)


def _over_all(
    module: nn.Module, plain: Callable[[Tensor], Tensor], peers: Peers, counts: Callable[[], bool], x: Tensor
) -> Tensor:
    """Normalize with the rows of all, (sum of B, F), and return the own ones, (B, F)."""
    if not module.training:
        return plain(x)
    own = len(x) if counts() else 0
    rows = [n for (n,) in peers.gather_ints(own)]
    if not sum(rows):
        return plain(x)
    first = sum(rows[: peers.rank])
    normalized = plain(_AllRows.apply(x, first, own, sum(rows), peers))
    # Without rows of its own a process still takes part in the backward pass, in which the others wait for it.
    return normalized[first : first + own] if own else x + 0 * normalized.sum()


class _AllRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, first: int, own: int, total: int, peers: Peers) -> Tensor:
        ctx.first, ctx.own, ctx.rows, ctx.peers = first, own, len(x), peers
        everything = x.new_zeros(total, *x.shape[1:])
        everything[first : first + own] = x[:own]
        peers.sum_(everything)
        return everything

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        everything = grads[0].contiguous().clone()
        ctx.peers.sum_(everything)
        grad = everything.new_zeros(ctx.rows, *everything.shape[1:])
        grad[: ctx.own] = everything[ctx.first : ctx.first + ctx.own]
        return grad, None, None, None, None
