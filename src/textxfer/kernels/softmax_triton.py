"""Softmax of logits in their place, and the loss of each row, in one CUDA kernel.

Shapes: N tokens, V vocabulary.

torch's functions write the logits in float32 first, then their logarithm, then the probabilities. Here a row is read
twice and written once, in the dtype that it has; sums are float32. Importing this module needs Triton, which torch's
CUDA wheels bring.
"""

from __future__ import annotations

import torch
import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]
from torch import Tensor

_BLOCK, _WARPS = 4096, 8


def softmax_in_place(logits: Tensor, target: Tensor) -> Tensor:
    """Turn logits into probabilities.

    Args:
        logits: (N, V), contiguous, on a CUDA device; overwritten.
        target: Ids, (N,).

    Returns:
        The cross-entropy of each row in nats, float32, (N,).
    """
    losses = torch.empty(len(logits), device=logits.device)
    with torch.cuda.device_of(logits):  # Triton launches on the current device, whichever the tensors are on
        if len(logits):
            _softmax[(len(logits),)](logits, target, losses, logits.shape[1], BLOCK=_BLOCK, num_warps=_WARPS)  # pyright: ignore
    return losses


@triton.jit
def _softmax(logits, target, losses, n_words, BLOCK: tl.constexpr):  # pyright: ignore  # Triton's language
    row = tl.program_id(0)
    start = logits + row.to(tl.int64) * n_words
    # Read before the barriers of the first loop: the second one overwrites it, and warps need not wait for one another.
    picked = tl.load(start + tl.load(target + row)).to(tl.float32)
    largest, total = -float("inf"), 0.0
    for first in range(0, n_words, BLOCK):
        word = first + tl.arange(0, BLOCK)
        x = tl.load(start + word, mask=word < n_words, other=-float("inf")).to(tl.float32)
        higher = tl.maximum(largest, tl.max(x, 0))
        total = total * tl.exp(largest - higher) + tl.sum(tl.exp(x - higher), 0)
        largest = higher
    log_total = largest + tl.log(total)
    tl.store(losses + row, log_total - picked)
    for first in range(0, n_words, BLOCK):
        word = first + tl.arange(0, BLOCK)
        x = tl.load(start + word, mask=word < n_words, other=-float("inf")).to(tl.float32)
        tl.store(start + word, tl.exp(x - log_total).to(logits.dtype.element_ty), mask=word < n_words)
