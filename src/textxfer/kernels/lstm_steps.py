"""The LSTM equations on a CPU, step by step, on products of any kind.

Shapes: T time, B batch, I input features, H hidden features.

The input projection does not depend on the recurrence, so it is made for many steps in one product; what is left for
each step is one product and the equations on its result. Gates and cell are float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from textxfer.kernels.lstm import LayerState

ROWS = 2560
"""Rows of the input that are projected at a time: enough for a product at full speed, little enough for the cache."""


class Products(Protocol):
    """The two products of a layer, and how hidden states are written for them.

    Attributes:
        hidden: H.
        dtype: The dtype in which hidden states are written.
    """

    hidden: int
    dtype: torch.dtype

    def project(self, x: Tensor) -> Tensor:
        """Multiply input, (N, I), with the input weights: (N, 4H), without bias."""
        ...

    def recur(self, h: Tensor, projected: Tensor) -> Tensor:
        """Multiply written hidden states, (B, H), with the recurrent weights; add projected input and biases."""
        ...

    def write(self, h: Tensor, out: Tensor) -> None:
        """Write hidden states."""
        ...


class Factors(NamedTuple):
    """What a backward pass needs of each step: factors that are at hand in the forward pass, all float32.

    Attributes:
        gates: What the gradient of the cell (input, forget and cell gate) or of h (output gate) is multiplied by to
            become that of the gate before its non-linearity, (T, B, 4, H), in the order of torch's gates.
        cell: What the gradient of h is multiplied by to become that of the cell, (T, B, H).
        forget: The forget gate, (T, B, H).
    """

    gates: Tensor
    cell: Tensor
    forget: Tensor

    @classmethod
    def empty(cls, steps: int, batch: int, hidden: int) -> Factors:
        """Return room for a window."""
        return cls(torch.empty(steps, batch, 4, hidden), *torch.empty(2, steps, batch, hidden))

    def steps(self) -> Iterator[Factors]:
        """Return the part of each time step."""
        return map(Factors, *(part.unbind(0) for part in self))


def run_window(
    x: Tensor, state: LayerState, products: Products, factors: Factors | None = None
) -> tuple[Tensor, LayerState]:
    """Run over a window.

    Args:
        x: Input as `products` wants it, (T, B, I).
        state: State before the window, float32, each (B, H).
        products: The layer.
        factors: Where to write what backward needs; None for nothing.

    Returns:
        All hidden states as `products` writes them, (T, B, H), and the state after the window, float32.
    """
    steps, batch, _ = x.shape
    y = torch.empty(steps, batch, products.hidden, dtype=products.dtype)
    step = _Step(batch, products, state)
    saved = repeat(None) if factors is None else factors.steps()
    for inputs, out, factor in zip(_projected(x, products), y.unbind(0), saved):
        step.forward(inputs, out)
        if factor is not None:
            step.save(factor)
    return y, (step.h, step.c)


def _projected(x: Tensor, products: Products) -> Iterator[Tensor]:
    """Yield the projected input of each step, (B, 4H)."""
    _, batch, features = x.shape
    for block in x.split(max(1, ROWS // batch)):
        yield from products.project(block.reshape(-1, features)).view(len(block), batch, -1).unbind(0)


class _Step:
    """Buffers of one time step, and the equations on them."""

    def __init__(self, batch: int, products: Products, state: LayerState) -> None:
        hidden = products.hidden
        self.products = products
        self.h = torch.empty(batch, hidden)
        self.c, self.c_before = state[1].detach().clone(), torch.empty(batch, hidden)
        self.written = torch.empty(batch, hidden, dtype=products.dtype)
        products.write(state[0].detach(), self.written)
        self.gates = torch.empty(batch, 4 * hidden)
        self.i, self.f, self.g, self.o = self.gates.split(hidden, dim=1)
        self.i_and_f = self.gates[:, : 2 * hidden]
        self.ig, self.tanh_c = torch.empty(2, batch, hidden)

    def forward(self, projected: Tensor, out: Tensor) -> None:
        """Go one step on: projected input, (B, 4H), in; hidden state, (B, H), out."""
        self.gates.copy_(self.products.recur(self.written, projected))
        self.i_and_f.sigmoid_()
        self.g.tanh_()
        self.o.sigmoid_()
        self.c, self.c_before = self.c_before, self.c
        torch.mul(self.i, self.g, out=self.ig)
        torch.addcmul(self.ig, self.f, self.c_before, out=self.c)
        torch.tanh(self.c, out=self.tanh_c)
        torch.mul(self.o, self.tanh_c, out=self.h)
        self.products.write(self.h, out)
        self.written = out

    def save(self, factors: Factors) -> None:
        """Write the factors of this step."""
        gates, cell, forget = factors
        # s (1 - s): right for all but the cell gate.
        torch.addcmul(self.gates, self.gates, self.gates, value=-1, out=gates.view(self.gates.shape))
        i, f, g, o = gates.unbind(1)
        i.mul_(self.g)
        f.mul_(self.c_before)
        torch.addcmul(self.i, self.ig, self.g, value=-1, out=g)  # i (1 - g^2)
        o.mul_(self.tanh_c)
        torch.addcmul(self.o, self.h, self.tanh_c, value=-1, out=cell)  # o (1 - tanh^2 c)
        forget.copy_(self.f)
