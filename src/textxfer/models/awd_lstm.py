"""The AWD-LSTM encoder: embedding, a stack of LSTM layers, five dropouts.

Shapes: T time, B batch, V vocabulary, E embedding, H hidden, L layers.

The encoder is a function of words and state. Nothing is stored between calls, so training and validation streams
cannot mix and there is nothing to reset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from textxfer.kernels import CODES, LayerState, SharedWeight, check_dropout, from_codes, lookup
from textxfer.models.dropout import EncoderDraw, locked_mask, masked, word_mask
from textxfer.models.lstm import WeightDropLSTM

State = list[LayerState]
"""Hidden and cell state per layer, each (B, H of the layer)."""

_MAX_SCALED_DROPOUT = 0.95


@dataclass(frozen=True)
class AWDLSTMConfig:
    """Sizes and dropouts of an AWD-LSTM.

    Defaults: sizes of Howard & Ruder 2018, but 1152 hidden features for 1150, which GPUs multiply faster, and the
    dropouts with which their scripts tune the language model.

    The dropouts go by many names:

    | here             | Merity et al. 2017 (values for WikiText-2) | awd-lstm-lm | fastai     |
    | ---------------- | ------------------------------------------ | ----------- | ---------- |
    | `dropout_embed`  | embedding dropout, whole words (0.1)       | `dropoute`  | `embed_p`  |
    | `dropout_input`  | on word vectors (0.65)                     | `dropouti`  | `input_p`  |
    | `dropout_hidden` | on output between LSTM layers (0.3)        | `dropouth`  | `hidden_p` |
    | `dropout_weight` | weight-drop on recurrent weights (0.5)     | `wdrop`     | `weight_p` |
    | `dropout_output` | on the final LSTM's output (0.4)           | `dropout`   | `output_p` |

    Howard & Ruder 2018, 4.1 give 0.05, 0.4, 0.3, 0.5 and 0.4 in this order; their scripts take these for the
    classifier. There `output_p` is the dropout of the pooled vector (`ClassifierConfig.dropout_pooled` here), and the
    encoder has no output dropout.

    Args:
        vocab: Number of words, V.
        embed: Size of word vectors and of the last layer, E.
        hidden: Size of the other layers, H.
        layers: Number of LSTM layers, L.
        dropout_embed: Probability that a word's vector is dropped, everywhere in the batch.
        dropout_input: Locked dropout of word vectors.
        dropout_hidden: Locked dropout of the outputs of all layers but the last one.
        dropout_weight: Dropout of the recurrent weights.
        dropout_output: Locked dropout of the last layer's output.
        tie: Whether the decoder of a language model is the embedding matrix.
        bias: Whether the decoder of a language model has a bias.
        pad_id: Id of the padding token; its vector is not trained as an input.

    Raises:
        ValueError: A size is below 1, a dropout outside of [0, 1), or `pad_id` outside of the vocabulary.
    """

    vocab: int
    embed: int = 400
    hidden: int = 1152
    layers: int = 3
    dropout_embed: float = 0.02
    dropout_input: float = 0.25
    dropout_hidden: float = 0.15
    dropout_weight: float = 0.2
    dropout_output: float = 0.1
    tie: bool = True
    bias: bool = True
    pad_id: int = 1

    def __post_init__(self) -> None:
        for name in ("vocab", "embed", "hidden", "layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)!r}")
        for name in self._dropouts():
            check_dropout(getattr(self, name), name)
        if not 0 <= self.pad_id < self.vocab:
            raise ValueError(f"pad_id {self.pad_id} is no id of a vocabulary of {self.vocab}")

    @classmethod
    def _dropouts(cls) -> list[str]:
        return [field.name for field in fields(cls) if field.name.startswith("dropout_")]

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Input and output size of each LSTM layer."""
        widths = [self.embed, *[self.hidden] * (self.layers - 1), self.embed]
        return list(pairwise(widths))

    def scaled(self, factor: float) -> AWDLSTMConfig:
        """Return the same config with other dropouts.

        Args:
            factor: What all dropouts are multiplied by, >= 0; products above 0.95 are cut to it.

        Raises:
            ValueError: `factor` is negative.
        """
        if factor < 0:
            raise ValueError(f"factor must not be negative, not {factor!r}")
        scaled = {name: min(getattr(self, name) * factor, _MAX_SCALED_DROPOUT) for name in self._dropouts()}
        return replace(self, **scaled)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> AWDLSTMConfig:
        """Build a config from what `to_dict` returned.

        Args:
            values: The fields by name.

        Returns:
            The config.

        Raises:
            ValueError: A key is not a field of the config.
        """
        check_keys(values, cls)
        return cls(**values)


def check_keys(values: Mapping[str, Any], config: type) -> None:
    """Refuse keys that are not fields of the dataclass `config`.

    Args:
        values: What may become the fields.
        config: The dataclass.

    Raises:
        ValueError: There are such keys; they and the known ones are listed.
    """
    known = [field.name for field in fields(config)]
    if unknown := sorted(set(values) - set(known)):
        raise ValueError(f"{config.__name__} has no {', '.join(unknown)}; it has {', '.join(known)}")


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
