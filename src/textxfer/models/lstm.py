"""One LSTM layer with dropped recurrent weights.

Shapes: T time, B batch, I input features, H hidden features.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from textxfer.kernels import (
    LayerState,
    LSTMWeights,
    PreparedLSTM,
    WeightDrop,
    check_dropout,
    draw_kept,
    prepare_lstm,
)


class WeightDropLSTM(nn.Module):
    """An LSTM layer whose recurrent weights are dropped in training (Merity et al. 2017, section 2).

    The raw matrix is the parameter, under a plain name; the dropped one belongs to what `draw_weights` returns and
    lives for one batch. In evaluation without gradient, what the kernel makes of the weights is kept until they change,
    or until the layer is run with gradient or told to train or to evaluate. What is written to a parameter's `.data`
    between two evaluations is not noticed: call `eval()` after it.

    Args:
        input_size: Features of the input, I.
        hidden_size: Features of the hidden state, H.
        dropout_weight: Probability with which a recurrent weight is dropped, 0 <= p < 1.

    Attributes:
        compute_dtype: The dtype in which the layer computes, or None for the parameters' own. Parameters, their
            gradients and the returned state stay in the parameters' dtype.
        spans: Ranges of the hidden states of the layer below and of this one, for 8 bits, see `models.precision`.
    """

    compute_dtype: torch.dtype | None

    def __init__(self, input_size: int, hidden_size: int, dropout_weight: float = 0.0) -> None:
        super().__init__()
        check_dropout(dropout_weight, "dropout_weight")
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.dropout_weight = dropout_weight
        self.compute_dtype = None
        self.spans = (1.0, 1.0)
        self._prepared: tuple[tuple[object, ...], PreparedLSTM] | None = None  # for evaluation without gradient
        self.weight_ih = nn.Parameter(torch.empty(4 * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(4 * hidden_size, hidden_size))
        self.bias_ih = nn.Parameter(torch.empty(4 * hidden_size))
        self.bias_hh = nn.Parameter(torch.empty(4 * hidden_size))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights uniformly from +-1 / sqrt(H)."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def initial_state(self, batch: int) -> LayerState:
        """Return the zero state: hidden and cell state, each (B, H).

        Args:
            batch: Number of rows, B.
        """
        zeros = self.weight_hh.new_zeros(batch, self.hidden_size)
        return zeros, zeros

    def draw_weights(self) -> PreparedLSTM:
        """Drop recurrent weights, if the layer is training, and prepare all for the kernel of the compute dtype.

        Returns:
            The layer, ready to run over any number of windows.
        """
        weights = LSTMWeights(self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        if self.training or torch.is_grad_enabled():
            self._prepared = None  # an update may follow, and torch's fused optimizers leave no trace of theirs
            return prepare_lstm(weights, self.compute_dtype, self._draw_drop())
        if any(weight.is_inference() for weight in weights):  # nothing tells when these change
            return prepare_lstm(weights, self.compute_dtype, spans=self.spans)
        key = (self.compute_dtype, self.spans, *(_state_of(weight) for weight in weights))
        prepared = self._prepared
        if prepared is None or prepared[0] != key:
            prepared = self._prepared = key, prepare_lstm(weights, self.compute_dtype, spans=self.spans)
        return prepared[1]

    def _draw_drop(self) -> WeightDrop | None:
        if not (self.training and self.dropout_weight):
            return None
        kept = draw_kept(self.weight_hh.shape, self.dropout_weight, self.weight_hh.device)
        return WeightDrop(kept, self.dropout_weight)

    def forward(
        self, x: Tensor, state: LayerState | None = None, weights: PreparedLSTM | None = None
    ) -> tuple[Tensor, LayerState]:
        """Run the layer over a window.

        Args:
            x: Input, (T, B, I).
            state: State before the window, each (B, H); zeros if None.
            weights: What `draw_weights` returned, to use one draw for several windows; drawn here if None.

        Returns:
            The hidden states, (T, B, H), in the compute dtype, and the state after the window in the parameters'
            dtype: it can be carried on and saved whatever dtype the next window is computed in.
        """
        state = self.initial_state(x.shape[1]) if state is None else state
        return (self.draw_weights() if weights is None else weights)(x, state)

    def train(self, mode: bool = True) -> WeightDropLSTM:
        """Change between training and evaluation; both forget the weights prepared for evaluation."""
        self._prepared = None
        return super().train(mode)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the prepared weights behind: a copy makes its own."""
        return {**super().__getstate__(), "_prepared": None}

    def extra_repr(self) -> str:
        """Show the sizes and the dropout."""
        return f"{self.input_size}, {self.hidden_size}, dropout_weight={self.dropout_weight}"


def _state_of(weight: Tensor) -> tuple[int, int]:
    """Return what changes whenever a parameter is assigned or written to."""
    return weight.data_ptr(), weight._version
