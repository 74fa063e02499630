"""A language model: an AWD-LSTM encoder and a decoder that is, as a rule, the embedding matrix itself.

Shapes: T time, B batch, V vocabulary, E embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from textxfer.kernels import LayerState, cross_entropy
from textxfer.models.awd_lstm import AWDLSTM, AWDLSTMConfig, State


class LMOutput(NamedTuple):
    """What a language model returns.

    Attributes:
        logits: Unnormalized log-probabilities of the next word, (T, B, V), in the compute dtype.
        hidden: State after the window, per layer.
        raw: Last layer's output before the output dropout, (T, B, E).
        dropped: The same after it, (T, B, E).
    """

    logits: Tensor
    hidden: State
    raw: Tensor
    dropped: Tensor


class LanguageModel(nn.Module):
    """AWD-LSTM encoder plus decoder, tied to the embedding unless the config says otherwise.

    A tied decoder is no module of its own: the embedding parameter is used twice, and stands once on disk.

    Args:
        config: Sizes and dropouts.

    Attributes:
        compute_dtype: The dtype of logits, or None for the parameters' own. Set it on all modules that have it.
    """

    compute_dtype: torch.dtype | None

    def __init__(self, config: AWDLSTMConfig) -> None:
        super().__init__()
        self.config = config
        self.compute_dtype = None
        self.encoder = AWDLSTM(config)
        self.decoder_weight: nn.Parameter | None = None
        self.decoder_bias: nn.Parameter | None = None
        if not config.tie:
            self.decoder_weight = nn.Parameter(torch.empty(config.vocab, config.embed).uniform_(-0.1, 0.1))
        if config.bias:
            self.decoder_bias = nn.Parameter(torch.zeros(config.vocab))

    def forward(self, ids: Tensor, state: Sequence[LayerState] | None = None) -> LMOutput:
        """Predict the next word at every position.

        Args:
            ids: Word ids, (T, B).
            state: State before the window, per layer; zeros if None.
        """
        raw, dropped, hidden = self.encoder(ids, state)
        return LMOutput(self.decode(dropped), hidden, raw, dropped)

    def decode(self, activations: Tensor) -> Tensor:
        """Map activations, (..., E), to logits, (..., V)."""
        weight = self.encoder.embedding.weight if self.decoder_weight is None else self.decoder_weight
        dtype = self.compute_dtype or weight.dtype
        bias = None if self.decoder_bias is None else self.decoder_bias.to(dtype)
        return F.linear(activations.to(dtype), weight.to(dtype), bias)

    def layer_groups(self) -> list[tuple[str, list[nn.Parameter]]]:
        """Return the groups of Howard & Ruder's scripts: each LSTM layer, then decoder and embedding together."""
        groups = [(f"lstm{i}", list(lstm.parameters())) for i, lstm in enumerate(self.encoder.lstms, 1)]
        decoder = [p for p in (self.decoder_weight, self.decoder_bias) if p is not None]
        return [*groups, ("decoder", [*self.encoder.embedding.parameters(), *decoder])]


def token_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Compute the mean cross-entropy in nats per token, in float32; 0 if no token counts.

    Args:
        logits: (T, B, V), any float dtype.
        target: Ids of the right words, (T, B); -100 where there is none.
    """
    return cross_entropy(logits.flatten(0, -2), target.flatten())
