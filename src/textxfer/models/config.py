"""Sizes and dropouts of the encoder, as they are saved with its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from itertools import pairwise
from typing import Any

from textxfer.kernels import check_dropout

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
