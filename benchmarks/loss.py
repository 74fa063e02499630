"""The softmax over the vocabulary: from activations and weights to the mean cross-entropy and all gradients.

Shapes: N tokens, E embedding, V vocabulary. The tied matrix is a float32 parameter for all; who computes in bfloat16
casts it within the timed work, as a training step has to. `textxfer` does that itself, `textxfer-logits` is our loss of
logits that lie ready, the rest are peers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import peers_losses, synthetic
from benchmarks.driver import Case, Impl, Options, Work, relative_error
from benchmarks.peers import checking, feature

Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""From activations (N, E), weight (V, E), bias (V,) and target (N,) to the mean loss."""

_EMBED = 400
_TOKENS = {"cpu": (640, 2240), "cuda": (640, 2240, 4480)}
_CHECKED = 640
"""Tokens whose gradients are compared with float64; more would take longer than all else."""
_SLOW = ("torch-fused", "torch-fused-bf16")
"""On a CPU several times as slow as the others: timed at the smallest N only."""


def cases(options: Options) -> Iterable[Case]:
    """Return the sizes to measure: lanes times window of the language models."""
    for vocab in options.size((30_000, 60_000), (500,)):
        for n in options.size(_TOKENS[options.device], (48,)):
            embed = options.size(_EMBED, 16)
            yield Case(
                name=f"n{n}-v{vocab}",
                impls=_impls(n, embed, vocab, options),
                count=n,
                peers=("torch", "plain"),
                flops=3 * 2.0 * n * embed * vocab,
                check=partial(_check, min(n, _CHECKED), embed, vocab, options),
                memory=n != _CHECKED,
                figures={"n": n, "vocab": vocab, "embed": embed},
            )


class Way(NamedTuple):
    """How to get an implementation, in what it computes, and whether it wants the parameters in that dtype."""

    make: Callable[[], Loss]
    dtype: torch.dtype
    cast: bool = True


def _impls(n: int, embed: int, vocab: int, options: Options) -> list[Impl]:
    found = []
    for name, way in _ways(options).items():
        if name in _SLOW and options.device == "cpu" and n > _CHECKED:
            continue
        found.append(Impl(name, partial(_build, way, n, embed, vocab, options), _named(way.dtype)))
    return found


def _ways(options: Options) -> dict[str, Way]:
    half, single = torch.bfloat16, torch.float32
    ways = {
        "textxfer": Way(_ours, half, cast=False),
        "textxfer-fp32": Way(_ours, single, cast=False),
        "textxfer-logits": Way(_ours_from_logits, half),
        "plain": Way(lambda: _plain, single),
        "plain-bf16": Way(lambda: _plain, half),
        "torch-fused": Way(peers_losses.torch_fused, single),
        "torch-fused-bf16": Way(peers_losses.torch_fused, half),
        "torch-fused-tuned": Way(partial(peers_losses.torch_fused, tuned=True), half),
    }
    if options.device == "cuda":
        ways["liger"] = Way(peers_losses.liger, half)
        ways["cce"] = Way(peers_losses.cut, half)
        ways["compiled"] = Way(lambda: torch.compile(_plain), half)
    return {name: way for name, way in ways.items() if options.has(_named(way.dtype))}


def _named(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _plain(x: Tensor, weight: Tensor, bias: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(x, weight, bias), target)


def _ours() -> Loss:
    return feature("textxfer.kernels", "linear_cross_entropy")


def _ours_from_logits() -> Loss:
    cross_entropy = feature("textxfer.kernels", "cross_entropy")
    return lambda x, weight, bias, target: cross_entropy(F.linear(x, weight, bias), target)


class _Inputs:
    """Activations, parameters and targets of a case; the same for all implementations."""

    def __init__(self, n: int, embed: int, vocab: int, device: str) -> None:
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(n, embed, generator=generator).to(device)
        self.weight = torch.empty(vocab, embed).uniform_(-0.1, 0.1, generator=generator).to(device)
        self.bias = torch.empty(vocab).uniform_(-0.1, 0.1, generator=generator).to(device)
        self.target = torch.from_numpy(synthetic.zipf(n, vocab)).to(device)
        self.leaves = [tensor.requires_grad_() for tensor in (self.x, self.weight, self.bias)]

    def gradients(self, loss: Loss, dtype: torch.dtype, cast: bool = True) -> list[Tensor]:
        """Compute the loss in a dtype; return it and the gradients of activations, weight and bias."""
        parameters = [leaf.to(dtype) if cast else leaf for leaf in self.leaves[1:]]
        value = loss(self.x.to(dtype), parameters[0], parameters[1], self.target)
        return [value.detach(), *torch.autograd.grad(value, self.leaves)]


def _build(way: Way, n: int, embed: int, vocab: int, options: Options) -> Work:
    loss = way.make()
    inputs = _Inputs(n, embed, vocab, options.device)
    return Work(lambda: inputs.gradients(loss, way.dtype, way.cast))


def _check(n: int, embed: int, vocab: int, options: Options) -> dict[str, dict[str, float]]:
    """Return relative errors of loss and gradients against float64."""
    inputs = _Inputs(n, embed, vocab, options.device)
    exact = inputs.gradients(_plain, torch.float64)
    found: dict[str, dict[str, float]] = {}
    names = ("rel_err_loss", "rel_err_x", "rel_err_weight", "rel_err_bias")
    for name, way in _ways(options).items():
        with checking(name, found):
            got = inputs.gradients(way.make(), way.dtype, way.cast)
            found[name] = {field: relative_error(a, b) for field, a, b in zip(names, got, exact)}
    return found
