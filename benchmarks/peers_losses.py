"""Fused softmax losses of others, each as a function of activations, weight, bias and target."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from benchmarks.peers import Skip, feature, optional

Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]

_CHUNK = 1024
"""Tokens per chunk of the tuned run. torch's own choice is 16 at 30,000 words, and each chunk reads all weights."""


def torch_fused(tuned: bool = False) -> Loss:
    """torch's `linear_cross_entropy` in chunks, of its own choice or larger ones."""
    fused = feature("torch.nn.functional", "linear_cross_entropy")
    make = feature("torch.nn", "LinearCrossEntropyOptions")
    options = make(chunking_method=None, batch_chunk_size=_CHUNK) if tuned else make()
    return lambda x, weight, bias, target: fused(x, weight, target, linear_bias=bias, options=options)


def liger() -> Loss:
    """Liger's fused linear cross-entropy, as it ships."""
    apply = optional("liger_kernel.ops.fused_linear_cross_entropy").LigerFusedLinearCrossEntropyFunction.apply
    return lambda x, weight, bias, target: apply(x, weight, target, bias)[0]


def cut() -> Loss:
    """Apple's cut cross-entropy in the variant for pretraining: no gradient is left out."""
    cce = optional("cut_cross_entropy")
    if not hasattr(cce, "linear_cross_entropy"):
        raise Skip("cut_cross_entropy has no linear_cross_entropy")
    return lambda x, weight, bias, target: cce.linear_cross_entropy(
        x, weight, target, bias=bias, impl="cce_kahan_full_c"
    )
