"""The five dropouts of the AWD-LSTM, as masks that are drawn once and then only read.

Shapes: B batch, V vocabulary, E embedding, H hidden.

A mask that is drawn apart from the layer that uses it can serve several windows of a document, so that cutting a
document into windows changes nothing but where the gradient stops. fastai draws new masks for each window.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from textxfer.kernels import PreparedLSTM, SharedWeight, keep_mask


@dataclass(frozen=True)
class EncoderDraw:
    """One draw of all that is random in an encoder; None stands for a mask of ones.

    Attributes:
        embed: Which words are kept, (V, 1).
        input: Mask of the embedded words, the same at every step, (1, B, E).
        hidden: Masks of the layers' outputs, the same at every step, (1, B, H) each; the last one is the output
            dropout, (1, B, E).
        table: The word vectors, for all look-ups of the batch and for a decoder that is tied to them.
        weights: The layers, prepared with the weights of this draw.
    """

    embed: Tensor | None
    input: Tensor | None
    hidden: tuple[Tensor | None, ...]
    table: SharedWeight
    weights: tuple[PreparedLSTM, ...]

    def rows(self, start: int, stop: int) -> EncoderDraw:
        """Return the draw of the batch's rows `start` to `stop` (exclusive)."""
        return EncoderDraw(
            self.embed,
            _rows(self.input, start, stop),
            tuple(_rows(mask, start, stop) for mask in self.hidden),
            self.table,
            self.weights,
        )


def _rows(mask: Tensor | None, start: int, stop: int) -> Tensor | None:
    return None if mask is None else mask[:, start:stop]


def locked_mask(batch: int, features: int, p: float, like: Tensor) -> Tensor | None:
    """Draw a dropout mask that all steps of a sequence share (variational dropout, Gal & Ghahramani 2016).

    Args:
        batch: Rows, B.
        features: Features of the activations to be masked.
        p: Probability of a zero, 0 <= p < 1.
        like: A tensor that gives dtype and device.

    Returns:
        The mask, (1, B, features), or None if `p` is 0.
    """
    return keep_mask((1, batch, features), p, like) if p else None


def word_mask(vocab: int, p: float, like: Tensor) -> Tensor | None:
    """Draw which words of the vocabulary are kept: a dropped word is zero wherever it occurs (Merity et al. 2017, 4.3).

    Args:
        vocab: Size of the vocabulary, V.
        p: Probability that a word is dropped, 0 <= p < 1.
        like: A tensor that gives dtype and device.

    Returns:
        The mask, (V, 1), or None if `p` is 0.
    """
    return keep_mask((vocab, 1), p, like) if p else None


def masked(x: Tensor, mask: Tensor | None) -> Tensor:
    """Multiply by a mask, if there is one.

    The product is rounded to the dtype of `x` only in the end: 1 / (1 - p) in bfloat16 would be off by up to 0.4 %,
    which training would see and evaluation would not.
    """
    return x if mask is None else (x * mask).to(x.dtype)
