"""Mean cross-entropy over a large vocabulary, with the gradient formed in the forward pass.

Shapes: N tokens, V vocabulary.

Torch's own cross-entropy writes four more tensors of the logits' size: the logits in float32, their log-softmax, a
gradient that is zero but for one entry per token, and the gradient itself. Here a block of rows small enough for the
cache goes from logits to gradient at once, and only the gradient is written.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

IGNORE = -100
"""The target that does not count."""

# Elements of one block: 8 MB of float32 on the CPU, so that it stays in the cache; elsewhere few launches matter more.
_BLOCK_CPU, _BLOCK_DEVICE = 2**21, 2**26


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Compute the mean cross-entropy in nats, in float32; 0 if no target counts.

    Args:
        logits: Unnormalized log-probabilities, (N, V), any float dtype.
        target: Ids of the right words, (N,); -100 where there is none.

    Returns:
        The mean over the targets that count, a scalar.
    """
    # In float16 the gradient must be formed after loss scaling: before it, much of it would underflow.
    if logits.dtype == torch.float16:
        return cross_entropy_reference(logits, target)
    return _CrossEntropy.apply(logits, target)


def cross_entropy_reference(logits: Tensor, target: Tensor) -> Tensor:
    """Compute what `cross_entropy` computes with torch's own functions.

    Args and Returns: as `cross_entropy`.
    """
    total = F.cross_entropy(logits.float(), target, ignore_index=IGNORE, reduction="sum")
    return total / (target != IGNORE).sum().clamp(min=1)


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor) -> Tensor:
        counts = target != IGNORE
        share = counts / counts.sum().clamp(min=1)
        target = target.where(counts, 0).unsqueeze(1)
        grad = torch.empty_like(logits) if ctx.needs_input_grad[0] else None
        loss = torch.zeros((), device=logits.device)
        block = _BLOCK_CPU if logits.device.type == "cpu" else _BLOCK_DEVICE
        step = max(1, block // logits.shape[1])
        for start in range(0, len(logits), step):
            part = slice(start, start + step)
            log_p = logits[part].log_softmax(dim=1, dtype=torch.float32)
            picked = log_p.gather(1, target[part]).squeeze(1)
            loss -= (picked * share[part]).where(counts[part], 0.0).sum()
            if grad is not None:
                _write_gradient(grad[part], log_p, target[part], share[part])
        ctx.save_for_backward(grad)
        return loss

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]  (the decorator hides the parameters' names)
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor, None]:
        (grad,), (grad_loss,) = ctx.saved_tensors, grad_outputs
        # Asking for the value costs nothing on the CPU, where multiplying costs a pass, and the reverse elsewhere.
        plain = grad_loss.device.type == "cpu" and grad_loss.item() == 1
        return grad if plain else grad * grad_loss, None


def _write_gradient(out: Tensor, log_p: Tensor, target: Tensor, share: Tensor) -> None:
    """Write (softmax - one-hot) x share; `log_p` is used up."""
    p = log_p.exp_()
    p.scatter_add_(1, target, p.new_full((1, 1), -1.0).expand_as(target))
    if out.dtype == p.dtype:
        torch.mul(p, share.unsqueeze(1), out=out)
    else:
        out.copy_(p.mul_(share.unsqueeze(1)))
