"""The classifier's head: from pooled vectors to logits.

Shapes: B batch, F features, C classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from textxfer.chance import generator

_EPS, _MOMENTUM = 1e-5, 0.1  # torch's


class HeadNorm(nn.Module):
    """Batch normalization whose running statistics are right from the first batch on, and which takes a batch of one.

    Torch's running variance starts at 1 and forgets that by a tenth per batch. Pooled states vary far less, so after
    the few dozen batches of a small task the start still outweighs them, and a model that has learnt its task fails in
    evaluation. Here the statistics are the plain mean over the first ten batches, and torch's running mean from then
    on. Names and meaning on disk are torch's.

    A training batch of one document has no variance to normalize with: it uses the running statistics and leaves them
    as they are.

    Args:
        features: Size of the input, F.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize each feature: (B, F) to (B, F)."""
        if not self.training or len(x) == 1:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=_EPS)
        self._track(x.detach())
        return F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=_EPS)

    @torch.no_grad()
    def _track(self, batch: Tensor) -> None:
        self.num_batches_tracked += 1
        # A tensor, not a number: no synchronization with the device.
        share = (1 / self.num_batches_tracked).clamp(min=_MOMENTUM).to(self.running_mean.dtype)
        variance, mean = torch.var_mean(batch, dim=0)
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


class HeadDropout(nn.Dropout):
    """Torch's dropout, which also draws from the generator that a thread has of its own."""

    def forward(self, input: Tensor) -> Tensor:
        """Set elements to zero and scale the others."""
        own = generator()
        if own is None or not (self.training and self.p) or input.device.type != "cpu":
            return super().forward(input)
        # What torch itself does, to the last bit; but its function takes no generator.
        return input * torch.empty_like(input).bernoulli_(1 - self.p, generator=own).div_(1 - self.p)


class ClassifierHead(nn.Module):
    """Two linear layers, each behind batch normalization and dropout, with a ReLU between (Howard & Ruder 2018, 3.3).

    Args:
        features: Size of the input, F.
        hidden: Size of the hidden layer.
        classes: Number of classes, C.
        dropout_pooled: Dropout of the normalized input.
        dropout_head: Dropout of the normalized hidden layer.
    """

    def __init__(self, features: int, hidden: int, classes: int, dropout_pooled: float, dropout_head: float) -> None:
        super().__init__()
        self.norm_pooled = HeadNorm(features)
        self.hidden = nn.Linear(features, hidden)
        self.norm_hidden = HeadNorm(hidden)
        self.output = nn.Linear(hidden, classes)
        self.dropout_pooled = HeadDropout(dropout_pooled)
        self.dropout_hidden = HeadDropout(dropout_head)

    def forward(self, pooled: Tensor) -> Tensor:
        """Map pooled vectors, (B, F), of any float dtype to logits, (B, C), in the parameters' dtype."""
        x = self.dropout_pooled(self.norm_pooled(pooled.to(self.norm_pooled.weight.dtype)))
        x = self.hidden(x).relu()
        x = self.dropout_hidden(self.norm_hidden(x))
        return self.output(x)
