"""Weight gradients that several calls sum in place, and that reach the parameters once.

A layer that runs over twenty windows of a document, or an embedding that is also the decoder, would have autograd
make a gradient of the weights' size for each use and add them up. Here all uses add into one buffer. A *token* stands
for the weights in the graph: every use takes it as an input, so the engine comes to the token's backward after all of
theirs, and there the sums are handed over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class DeferredGrads:
    """Sums of the gradients of some weights within one backward pass.

    It must not refer to the token: the graph refers to it, and a cycle would outlive its step.

    A sum has the shape of its weight, such as (4H, I) of an LSTM layer or (V, E) of an embedding.

    Args:
        needed: For each weight whether a gradient is wanted.
    """

    def __init__(self, needed: Sequence[bool]) -> None:
        self.needed = tuple(needed)
        self._task = -1
        self._forget()

    def add(self, index: int, grad: Tensor) -> None:
        """Add to the gradient of a weight.

        Args:
            index: Number of the weight.
            grad: The gradient. The first one becomes the buffer: it must be the caller's to give away.
        """
        total = self.buffer(index)
        if total is None:
            self._sums[index] = grad
        else:
            total.add_(grad)

    def buffer(self, index: int) -> Tensor | None:
        """Return the sum so far, to add to it in place; None before the first addition of a backward pass.

        Args:
            index: Number of the weight.
        """
        # Sums that a backward pass did not fetch, since it was asked for other gradients, must not reach the next one.
        task = torch._C._current_graph_task_id()
        if task != self._task:
            self._forget()
            self._task = task
        return self._sums[index]

    def take(self) -> list[Tensor | None]:
        """Return all sums, None where nothing was added, and forget them."""
        self.buffer(0)
        taken = self._sums
        self._forget()
        return taken

    def _forget(self) -> None:
        self._sums: list[Tensor | None] = [None] * len(self.needed)


Finish = Callable[[list[Tensor | None]], Sequence[Tensor | None]]
"""Turns the sums into the gradients of the weights: dtype, masks."""


class SharedWeight:
    """A weight that several functions use: its value without graph, and the token that stands for it in the graph.

    Args:
        weight: The parameter, such as word vectors, (V, E).
    """

    def __init__(self, weight: Tensor) -> None:
        self.value = weight.detach()
        self.grads = DeferredGrads([weight.requires_grad])
        self.token = token_of(self.grads, [weight], list)

    @property
    def needs_grad(self) -> bool:
        """Whether a gradient is wanted."""
        return self.grads.needed[0]


def token_of(grads: DeferredGrads, weights: Sequence[Tensor], finish: Finish) -> Tensor:
    """Return the token that stands for weights: an empty tensor that requires a gradient if one of them does.

    Args:
        grads: Where uses of the token add their gradients.
        weights: The weights, such as the four of an LSTM layer, (4H, I), (4H, H), (4H,) and (4H,).
        finish: Called with the sums when all uses are through. It must not refer to the token.
    """
    return _Token.apply(grads, finish, *weights)


class _Token(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, grads: DeferredGrads, finish: Finish, *weights: Tensor) -> Tensor:
        ctx.grads, ctx.finish = grads, finish
        return weights[0].new_empty(0)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]  (the decorator hides the parameters' names)
        ctx: Any, *_: Tensor
    ) -> tuple[Tensor | None, ...]:
        return None, None, *ctx.finish(ctx.grads.take())
