"""The AWD-LSTM encoder: embedding, a stack of LSTM layers, five dropouts.

Shapes: T time, B batch, V vocabulary, E embedding, H hidden, L layers.

The encoder is a function of words and state. Nothing is stored between calls, so training and validation streams
cannot mix and there is nothing to reset.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from textxfer.kernels import CODES, LayerState, SharedWeight, from_codes, lookup
from textxfer.models.config import AWDLSTMConfig
from textxfer.models.dropout import EncoderDraw, locked_mask, masked, word_mask
from textxfer.models.lstm import WeightDropLSTM

State = list[LayerState]
"""Hidden and cell state per layer, each (B, H of the layer)."""


class EncoderOutput(NamedTuple):
    """What an encoder returns.

    Attributes:
        raw: Output of the last layer before the output dropout, (T, B, E); for temporal regularization.
        dropped: The same after the output dropout, (T, B, E); what goes into decoder or classifier.
        hidden: State after the window, per layer. It carries gradient: detach it before the next window.
    """

    raw: Tensor
    dropped: Tensor
    hidden: State


class AWDLSTM(nn.Module):
    """The AWD-LSTM encoder of Merity et al. 2017: words and state in, activations and state out.

    Dropouts in order: whole words, word vectors, each layer's recurrent weights and output, see `AWDLSTMConfig`.
    Every mask is drawn once per call, or once per batch if `draw` is called and its result passed to several calls.

    Args:
        config: Sizes and dropouts.

    Attributes:
        compute_dtype: The dtype of activations, or None for the parameters' own. Set it on all modules that have it.
    """

    compute_dtype: torch.dtype | None

    def __init__(self, config: AWDLSTMConfig) -> None:
        super().__init__()
        self.config = config
        self.compute_dtype = None
        self.embedding = nn.Embedding(config.vocab, config.embed, padding_idx=config.pad_id)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        self.layers = nn.ModuleList(WeightDropLSTM(i, o, config.dropout_weight) for i, o in config.sizes)

    @property
    def lstms(self) -> list[WeightDropLSTM]:
        """The LSTM layers from input to output."""
        return [layer for layer in self.layers if isinstance(layer, WeightDropLSTM)]

    def draw(self, batch: int) -> EncoderDraw:
        """Draw all masks for a batch and prepare the layers' weights.

        Args:
            batch: Number of rows, B.

        Returns:
            Masks, none in evaluation, and prepared weights; good for any number of windows of these rows.
        """
        weights = tuple(lstm.draw_weights() for lstm in self.lstms)
        config, like = self.config, self.embedding.weight
        table = SharedWeight(like)
        if not self.training:
            return EncoderDraw(None, None, (None,) * config.layers, table, weights)
        dropouts = [config.dropout_hidden] * (config.layers - 1) + [config.dropout_output]
        return EncoderDraw(
            embed=word_mask(config.vocab, config.dropout_embed, like),
            input=locked_mask(batch, config.embed, config.dropout_input, like),
            hidden=tuple(locked_mask(batch, out, p, like) for (_, out), p in zip(config.sizes, dropouts)),
            table=table,
            weights=weights,
        )

    def initial_state(self, batch: int) -> State:
        """Return the zero state: hidden and cell state of each layer, (B, size of the layer).

        Args:
            batch: Number of rows, B.
        """
        return [lstm.initial_state(batch) for lstm in self.lstms]

    def embed(self, ids: Tensor, draw: EncoderDraw) -> Tensor:
        """Look up word vectors and drop whole words and features.

        Args:
            ids: Word ids, (T, B).
            draw: What `draw(B)` returned.

        Returns:
            Word vectors in the compute dtype, (T, B, E).
        """
        vectors = lookup(ids, draw.table, self.config.pad_id)
        if draw.embed is not None:
            vectors = vectors * draw.embed[ids]
        return masked(vectors, draw.input).to(self.compute_dtype or vectors.dtype)

    def forward(
        self, ids: Tensor, state: Sequence[LayerState] | None = None, draw: EncoderDraw | None = None
    ) -> EncoderOutput:
        """Encode a window.

        Args:
            ids: Word ids, (T, B).
            state: State before the window, per layer; zeros if None.
            draw: What `draw(B)` returned, to use one set of masks for several windows; drawn here if None.

        Returns:
            Activations in the compute dtype, state in the parameters' dtype.

        Raises:
            ValueError: `state` is of another number of rows or layers.
        """
        batch = ids.shape[1]
        state = self.initial_state(batch) if state is None else self._checked(state, batch)
        draw = self.draw(batch) if draw is None else draw
        raw = dropped = self.embed(ids, draw)
        hidden: State = []
        for lstm, layer_state, weights, mask in zip(self.lstms, state, draw.weights, draw.hidden):
            raw, after = lstm(dropped, layer_state, weights)
            dropped = masked(raw, mask)
            hidden.append(after)
        if raw.dtype == CODES:  # of 8-bit layers; there is no dropout behind them
            dtype = self.compute_dtype or self.embedding.weight.dtype
            raw = dropped = from_codes(raw, dtype, self.lstms[-1].spans[1])
        return EncoderOutput(raw, dropped, hidden)

    def _checked(self, state: Sequence[LayerState], batch: int) -> Sequence[LayerState]:
        layers, rows = len(state), state[0][0].shape[0] if state else 0
        if (layers, rows) != (self.config.layers, batch):
            raise ValueError(
                f"the state is of {layers} layers and {rows} rows, but the encoder has {self.config.layers} layers "
                f"and the batch {batch} rows: start a new stream with state=None"
            )
        return state
