"""One LSTM layer with dropped recurrent weights.

Shapes: T time, B batch, I input features, H hidden features.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from textxfer.kernels import LayerState, check_dropout, lstm_layer, share_buffer
from textxfer.models.dropout import LSTMWeights, dropped_weight


class WeightDropLSTM(nn.Module):
    """An LSTM layer whose recurrent weights are dropped in training (Merity et al. 2017, section 2).

    The raw matrix is the parameter, under a plain name; the dropped one is an argument of the kernel and lives for
    one batch. In evaluation no copy is made.

    Args:
        input_size: Features of the input, I.
        hidden_size: Features of the hidden state, H.
        dropout_weight: Probability with which a recurrent weight is dropped, 0 <= p < 1.

    Attributes:
        compute_dtype: The dtype in which the layer computes, or None for the parameters' own. Parameters, their
            gradients and the returned state stay in the parameters' dtype.
    """

    compute_dtype: torch.dtype | None

    def __init__(self, input_size: int, hidden_size: int, dropout_weight: float = 0.0) -> None:
        super().__init__()
        check_dropout(dropout_weight, "dropout_weight")
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.dropout_weight = dropout_weight
        self.compute_dtype = None
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
        """Return the zero state for `batch` rows."""
        zeros = self.weight_hh.new_zeros(batch, self.hidden_size)
        return zeros, zeros

    def draw_weights(self) -> LSTMWeights:
        """Drop recurrent weights, if the layer is training, and cast everything to the compute dtype."""
        w_hh = dropped_weight(self.weight_hh, self.dropout_weight, self.training)
        dtype = self.compute_dtype or w_hh.dtype
        weights = tuple(w.to(dtype) for w in (self.weight_ih, w_hh, self.bias_ih, self.bias_hh))
        return LSTMWeights(*(share_buffer(*weights) if w_hh.is_cuda else weights))

    def forward(
        self, x: Tensor, state: LayerState | None = None, weights: LSTMWeights | None = None
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
        h, c = self.initial_state(x.shape[1]) if state is None else state
        weights = self.draw_weights() if weights is None else weights
        dtype = weights.w_hh.dtype
        y, (h, c) = lstm_layer(x.to(dtype), (h.to(dtype), c.to(dtype)), *weights)
        return y, (h.to(self.weight_hh.dtype), c.to(self.weight_hh.dtype))

    def extra_repr(self) -> str:
        """Show the sizes and the dropout."""
        return f"{self.input_size}, {self.hidden_size}, dropout_weight={self.dropout_weight}"
