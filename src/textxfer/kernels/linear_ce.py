"""A linear layer and the cross-entropy behind it as one function, for large vocabularies.

Shapes: N tokens, V vocabulary, E features.

Logits are by far the largest tensor of a language model. Here a chunk of them is made, turned into probabilities in
place, into the gradient, multiplied with weights and activations, and forgotten: nothing of their size waits for the
backward pass, which has only to scale what is there.

`linear_cross_entropy_reference` is the plain version.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._C._autograd import _get_current_graph_task_keep_graph
from torch.autograd.function import once_differentiable

from textxfer.kernels.cross_entropy import IGNORE, cross_entropy
from textxfer.kernels.deferred import SharedWeight
from textxfer.kernels.layout import transposed

CHUNK_BYTES = 2**29
"""Most bytes of logits at a time. Each chunk reads and writes a gradient of the weights' size, so chunks are large."""
_CACHE_BYTES = 2**22  # of logits that go through softmax at a time on a CPU
_EXTRA = 8  # columns beside the activations: ones, and zeros, since GPUs want sizes in multiples of eight
_TINY = 1e-30


class TokenLosses(NamedTuple):
    """What each token costs.

    Attributes:
        losses: Cross-entropy in nats, float32, (N,); 0 where the target does not count.
        hits: Whether no word got a larger logit than the target, (N,) bool; False where the target does not count.
    """

    losses: Tensor
    hits: Tensor


def linear_cross_entropy(x: Tensor, weight: Tensor | SharedWeight, bias: Tensor | None, target: Tensor) -> Tensor:
    """Compute the mean cross-entropy in nats of `x @ weight.T + bias`, in float32; 0 if no target counts.

    Products are in the dtype of `x`, sums in float32. A chunk of tokens has at most 512 MB of logits.

    Args:
        x: Activations, (N, E), any float dtype.
        weight: Weights, (V, E); shared if something else uses them, too.
        bias: Bias, (V,), or None.
        target: Ids of the right words, (N,); -100 where there is none.

    Returns:
        The mean over the targets that count, a scalar.
    """
    shared = weight if isinstance(weight, SharedWeight) else SharedWeight(weight)
    # In float16 the gradient must be formed after loss scaling: before it, much of it would underflow.
    if x.dtype == torch.float16 and isinstance(weight, Tensor):
        return cross_entropy(_logits(x, weight, bias), target)
    if bias is not None and not torch.is_grad_enabled():
        bias = bias.detach()  # within the function below gradients look as if they were wanted
    with torch.autocast(x.device.type, enabled=False):  # the dtypes are chosen here, others do not fit together
        return _LinearCrossEntropy.apply(x, shared.token, bias, target, shared)


def linear_cross_entropy_reference(x: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor) -> Tensor:
    """Compute what `linear_cross_entropy` computes with torch's own functions.

    Args and Returns: as `linear_cross_entropy`.
    """
    total = F.cross_entropy(_logits(x, weight, bias).float(), target, ignore_index=IGNORE, reduction="sum")
    return total / (target != IGNORE).sum().clamp(min=1)


@torch.no_grad()
def token_losses(x: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor) -> TokenLosses:
    """Compute the loss of each token, and whether the model would have guessed it; without gradient.

    Args: as `linear_cross_entropy`.

    Returns:
        Loss and hit of each token, (N,) both.
    """
    head, counts = _Head(x, weight, bias), target != IGNORE
    target = target.where(counts, 0)
    losses, hits = torch.zeros(len(x), device=x.device), torch.zeros_like(counts)
    with torch.autocast(x.device.type, enabled=False):
        for part in head.chunks(x):
            logits = head.logits(x[part])
            hits[part] = logits.gather(1, target[part, None]).squeeze(1) >= logits.amax(dim=1)
            losses[part] = head.to_probabilities(logits, x[part], target[part])
    return TokenLosses(losses.where(counts, 0.0), hits & counts)


def _logits(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))


class _Head:
    """The linear layer in the dtype of its input; the bias is a further row of the weights, for a column of ones."""

    def __init__(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
        self.weight = weight.to(x.dtype)
        self.by_features = transposed(
            self.weight, below=weight.new_zeros(len(weight)) if bias is None else bias, extra=_EXTRA
        )

    def chunks(self, x: Tensor) -> list[slice]:
        """Return the chunks of tokens."""
        most = max(1, CHUNK_BYTES // (len(self.weight) * x.element_size()))
        rows = -(-len(x) // max(1, -(-len(x) // most)))  # as even as can be: a small last chunk costs a pass like any
        return [slice(start, min(start + rows, len(x))) for start in range(0, len(x), max(1, rows))]

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits of a chunk."""
        beside = F.pad(x.new_ones(len(x), 1), (0, _EXTRA - 1))
        return torch.cat([x, beside], dim=1) @ self.by_features

    def to_probabilities(self, logits: Tensor, x: Tensor, target: Tensor) -> Tensor:
        """Turn the logits of a chunk into probabilities in their place; return the loss of each token."""
        if logits.is_cuda and (softmax := _triton_softmax(logits.device, logits.dtype)) is not None:
            return softmax(logits, target)
        if logits.device.type != "cpu":
            log_p = logits.log_softmax(dim=1, dtype=torch.float32)
            losses = -log_p.gather(1, target[:, None]).squeeze(1)
            logits.copy_(log_p.exp_())
            return losses
        rows = max(1, _CACHE_BYTES // (logits.shape[1] * logits.element_size()))
        for block in logits.split(rows):
            torch.softmax(block, dim=1, out=block)
        p = logits.gather(1, target[:, None]).squeeze(1).float()
        losses = -p.log()
        if (lost := p < _TINY).any():  # the probability is no longer a normal number
            exact = self.logits(x[lost]).log_softmax(dim=1, dtype=torch.float32)
            losses[lost] = -exact.gather(1, target[lost, None]).squeeze(1)
        return losses


@cache
def _triton_softmax(device: torch.device, dtype: torch.dtype) -> Callable[[Tensor, Tensor], Tensor] | None:
    """Return the kernel, or None where Triton is missing or cannot run it; torch's functions then do.

    Triton compiles a part of itself when it is first used, so only a launch shows whether it works.
    """
    try:
        from textxfer.kernels.softmax_triton import softmax_in_place

        softmax_in_place(
            torch.zeros(1, 1, dtype=dtype, device=device), torch.zeros(1, dtype=torch.int64, device=device)
        )
    except ImportError:
        return None
    except torch.OutOfMemoryError:  # says nothing about Triton
        raise
    except Exception as error:  # Triton's, of the C compiler, of the driver
        warnings.warn(
            f"Triton does not work on {device}, so torch's functions compute the loss over the vocabulary, which takes "
            "longer. Triton needs a C compiler and Python's header files; on Debian and Ubuntu: "
            f"apt install gcc python3-dev. It said: {type(error).__name__}: {error}",
            stacklevel=2,
        )
        return None
    return softmax_in_place


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, token: Tensor, bias: Tensor | None, target: Tensor, shared: SharedWeight
    ) -> Tensor:
        head, counts = _Head(x, shared.value, bias), target != IGNORE
        target, share = target.where(counts, 0), counts / counts.sum().clamp(min=1)
        wanted = any(ctx.needs_input_grad)
        scaled = transposed((x * share[:, None]).to(x.dtype), below=share, extra=_EXTRA) if wanted else None
        losses, dx, sums = torch.empty(len(x), device=x.device), torch.empty_like(x) if wanted else None, None
        for part in head.chunks(x):
            p = head.logits(x[part])
            losses[part] = head.to_probabilities(p, x[part], target[part])
            if scaled is None or dx is None:
                continue
            p.view(-1)[torch.arange(len(p), device=p.device) * p.shape[1] + target[part]] -= 1
            torch.mm(p, head.weight, out=dx[part])
            if any(ctx.needs_input_grad[1:3]):
                product = scaled[:, part] @ p
                sums = product if sums is None else sums.float().add_(product)
        if dx is not None:
            ctx.save_for_backward((dx * share[:, None]).to(x.dtype), *_weight_grads(sums, shared.value, bias))
        ctx.grads = shared.grads
        return (losses.where(counts, 0.0) * share).sum()

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]  (the decorator hides the parameters' names)
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        (factor,), grads = grad_outputs, list(ctx.saved_tensors)
        if grads[1] is not None and _get_current_graph_task_keep_graph():
            grads[1] = grads[1].clone()  # it is given away below, and this graph may be run again
        # Asking for the value costs nothing on the CPU, where multiplying costs a pass, and the reverse elsewhere.
        if factor.device.type != "cpu" or factor.item() != 1:
            grads = [None if grad is None else grad * factor.to(grad.dtype) for grad in grads]
        dx, d_weight, d_bias = grads
        if d_weight is not None and ctx.needs_input_grad[1]:
            ctx.grads.add(0, d_weight)
        return dx, factor.new_empty(0), d_bias, None, None


def _weight_grads(sums: Tensor | None, weight: Tensor, bias: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Take the gradients of weights (V, E) and bias (V,) out of the summed products (E + 8, V)."""
    if sums is None:
        return None, None
    d_weight = torch.empty_like(weight).copy_(sums[:-_EXTRA].t())
    return d_weight, None if bias is None else sums[-_EXTRA].to(bias.dtype)
