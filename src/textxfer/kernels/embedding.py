"""Looking up word vectors, with a gradient that costs what was looked up and not what could have been.

Shapes: T time, B batch, V vocabulary, E embedding.

torch's own look-up makes a gradient of the whole table for every call, and autograd adds up those of all windows and,
in a language model, that of the decoder. Here all of them add rows to one.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from textxfer.kernels.deferred import DeferredGrads, SharedWeight


def lookup(ids: Tensor, table: SharedWeight, pad_id: int) -> Tensor:
    """Look up rows of a table.

    Args:
        ids: (T, B).
        table: Word vectors, (V, E).
        pad_id: Row that gets no gradient.

    Returns:
        Word vectors, (T, B, E).
    """
    if table.needs_grad and torch.is_grad_enabled():
        return _Lookup.apply(ids, table.token, table.value, table.grads, pad_id)
    return F.embedding(ids, table.value)


def lookup_reference(ids: Tensor, weight: Tensor, pad_id: int) -> Tensor:
    """Compute what `lookup` computes with torch's own function.

    Args:
        ids: Word ids, (T, B).
        weight: Word vectors, (V, E).
        pad_id: Row that gets no gradient.

    Returns:
        Word vectors, (T, B, E).
    """
    return F.embedding(ids, weight, pad_id)


class _Lookup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, ids: Tensor, token: Tensor, table: Tensor, grads: DeferredGrads, pad_id: int) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.table, ctx.grads, ctx.pad_id = (table.shape, table.dtype), grads, pad_id
        return F.embedding(ids, table)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]  (the decorator hides the parameters' names)
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        (ids,), (grad,) = ctx.saved_tensors, grad_outputs
        shape, dtype = ctx.table
        total = ctx.grads.buffer(0)
        if total is None:
            total = grad.new_zeros(shape, dtype=dtype)
            ctx.grads.add(0, total)
        rows = grad.masked_fill((ids == ctx.pad_id).unsqueeze(-1), 0).flatten(0, -2)
        total.index_add_(0, ids.flatten(), rows.to(dtype))
        return None, grad.new_empty(0), None, None, None
