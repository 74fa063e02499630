"""A language model: an AWD-LSTM encoder and a decoder that is, as a rule, the embedding matrix itself.

Shapes: T time, B batch, V vocabulary, E embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from textxfer.kernels import LayerState, SharedWeight, cross_entropy, linear_cross_entropy
from textxfer.models.awd_lstm import AWDLSTM, State
from textxfer.models.config import AWDLSTMConfig


class Decoder(NamedTuple):
    """The last layer as one batch uses it.

    Attributes:
        weight: Weights, (V, E).
        bias: Bias, (V,), or None.
        shared: The same weights where the embedding is them, too, for gradients in one place; None if untied.
        dtype: The compute dtype.
    """

    weight: Tensor
    bias: Tensor | None
    shared: SharedWeight | None
    dtype: torch.dtype

    def logits(self, activations: Tensor) -> Tensor:
        """Map activations, (..., E), to logits, (..., V)."""
        bias = None if self.bias is None else self.bias.to(self.dtype)
        return F.linear(activations.to(self.dtype), self.weight.to(self.dtype), bias)


@dataclass(frozen=True, eq=False)
class LMOutput:
    """What a language model returns.

    Attributes:
        hidden: State after the window, per layer.
        raw: Last layer's output before the output dropout, (T, B, E).
        dropped: The same after it, (T, B, E): what the decoder sees.
        decoder: The last layer.
    """

    hidden: State
    raw: Tensor
    dropped: Tensor
    decoder: Decoder

    @cached_property
    def logits(self) -> Tensor:
        """Unnormalized log-probabilities of the next word, (T, B, V), in the compute dtype.

        Computed when asked for: `token_loss` does without them, and they are large.
        """
        return self.decoder.logits(self.dropped)


class LanguageModel(nn.Module):
    """AWD-LSTM encoder plus decoder, tied to the embedding unless the config says otherwise.

    A tied decoder is no module of its own: the embedding parameter is used twice, and stands once on disk.

    Args:
        config: Sizes and dropouts.

    Attributes:
        compute_dtype: The dtype of logits, or None for the parameters' own. Set it on all modules that have it.

    Source: Merity, Keskar & Socher 2018, arXiv 1708.02182; tied weights: Press & Wolf 2017, arXiv 1608.05859.
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

        Returns:
            State and activations, (T, B, E), from which logits, (T, B, V), are made when somebody reads them.
        """
        draw = self.encoder.draw(ids.shape[1])
        raw, dropped, hidden = self.encoder(ids, state, draw)
        return LMOutput(hidden, raw, dropped, self.decoder(draw.table))

    def decoder(self, table: SharedWeight | None = None) -> Decoder:
        """Return the last layer.

        Args:
            table: The batch's draw of word vectors, so that a tied decoder has its gradients in one place with them;
                None if nothing else uses them.
        """
        weight = self.encoder.embedding.weight if self.decoder_weight is None else self.decoder_weight
        shared = table if self.decoder_weight is None else None
        return Decoder(weight, self.decoder_bias, shared, self.compute_dtype or weight.dtype)

    def decode(self, activations: Tensor) -> Tensor:
        """Map activations to logits.

        Args:
            activations: Output of the last LSTM layer, (..., E).

        Returns:
            Logits in the compute dtype, (..., V).
        """
        return self.decoder().logits(activations)

    def layer_groups(self) -> list[tuple[str, list[nn.Parameter]]]:
        """Return the groups of Howard & Ruder's scripts: each LSTM layer, then decoder and embedding together."""
        groups = [(f"lstm{i}", list(lstm.parameters())) for i, lstm in enumerate(self.encoder.lstms, 1)]
        decoder = [p for p in (self.decoder_weight, self.decoder_bias) if p is not None]
        return [*groups, ("decoder", [*self.encoder.embedding.parameters(), *decoder])]


class TokenLoss:
    """The mean cross-entropy in nats per token, in float32; 0 if no token counts.

    From logits, as any loss; or from a language model's output, without the logits: see `linear_cross_entropy`.
    """

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute the loss from logits.

        Args:
            logits: (T, B, V), any float dtype.
            target: Ids of the right words, (T, B); -100 where there is none.

        Returns:
            The mean over the tokens that count, a scalar.
        """
        return cross_entropy(logits.flatten(0, -2), target.flatten())

    def accepts(self, out: object) -> bool:
        """Whether `of_output` can take this output.

        Args:
            out: What a model returned.
        """
        # In float16 the gradient must be formed after the loss is scaled.
        return isinstance(out, LMOutput) and out.decoder.dtype != torch.float16

    def of_output(self, out: LMOutput, target: Tensor) -> Tensor:
        """Compute the loss from what a language model returned.

        Args:
            out: Its output.
            target: Ids of the right words, (T, B); -100 where there is none.

        Returns:
            The mean over the tokens that count, a scalar.
        """
        weight, bias, shared, dtype = out.decoder
        return linear_cross_entropy(out.dropped.to(dtype).flatten(0, -2), shared or weight, bias, target.flatten())

    def __repr__(self) -> str:
        return "token_loss"


token_loss = TokenLoss()
"""The loss of language models."""
