"""Plain torch: the strong baseline. No weight drop, so torch's LSTM keeps its weights in one piece."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from textxfer.models import AWDLSTMConfig

State = list[tuple[Tensor, Tensor]]


class PlainLM(nn.Module):
    """An LSTM language model with a tied decoder, of `nn.LSTM` layers and ordinary dropout.

    Args:
        config: Sizes and dropouts; the dropout of words and of weights is not used.
    """

    def __init__(self, config: AWDLSTMConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab, config.embed, padding_idx=config.pad_id)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        self.layers = nn.ModuleList(nn.LSTM(size, out) for size, out in config.sizes)
        self.bias = nn.Parameter(torch.zeros(config.vocab))

    def forward(self, ids: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Return logits (T * B, V) and the state after the window."""
        config = self.config
        x = F.dropout(self.embedding(ids), config.dropout_input, self.training)
        after: State = []
        for i, layer in enumerate(self.layers):
            x, (h, c) = layer(x, None if state is None else state[i])
            p = config.dropout_output if i == config.layers - 1 else config.dropout_hidden
            x = F.dropout(x, p, self.training)
            after.append((h.detach(), c.detach()))
        return F.linear(x.flatten(0, 1), self.embedding.weight, self.bias), after

    def load_ours(self, weights: Mapping[str, Tensor]) -> None:
        """Take the weights of our language model."""
        own = {theirs: weights[ours] for ours, theirs in names(self.config.layers).items()}
        self.load_state_dict(own)


def names(layers: int) -> dict[str, str]:
    """Return the names of `PlainLM`'s parameters by those of our language model."""
    found = {"encoder.embedding.weight": "embedding.weight", "decoder_bias": "bias"}
    for i in range(layers):
        for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            found[f"encoder.layers.{i}.{part}"] = f"layers.{i}.{part}_l0"
    return found


def lm_steps(model: PlainLM, batches: list[tuple[Tensor, Tensor]], clip: float, lr: float) -> Callable[[], None]:
    """Return a function that trains on the batches once, with a fused AdamW; the state is carried on.

    Args:
        model: The model.
        batches: Ids and targets, (T, B) each.
        clip: Largest norm of the gradients.
        lr: The rate.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.8, 0.99), fused=True)
    state: State | None = None

    def run() -> None:
        nonlocal state
        for ids, target in batches:
            logits, state = model(ids, state)
            F.cross_entropy(logits, target.flatten()).backward()
            nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            optimizer.zero_grad()

    return run
