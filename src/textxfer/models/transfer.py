"""Moving what a model has learned to another vocabulary and to a classifier.

Shapes: V vocabulary, E embedding.

Weights are matched by the parameters' names and by the words themselves, never by position, and what does not match
is an error that lists it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from textxfer.models.awd_lstm import AWDLSTM
from textxfer.models.classifier import TextClassifier
from textxfer.models.config import AWDLSTMConfig
from textxfer.models.language_model import LanguageModel

_PER_WORD = ("encoder.embedding.weight", "decoder_weight", "decoder_bias")


@dataclass(frozen=True)
class TransferReport:
    """How much of a new vocabulary the old one covers.

    Attributes:
        n_tokens: Size of the new vocabulary.
        n_new: Tokens of it that the old one does not have.
        matched_mass: Share of the token occurrences that the old vocabulary covers; None if counts are unknown.
    """

    n_tokens: int
    n_new: int
    matched_mass: float | None = None

    @property
    def matched_types(self) -> float:
        """Share of the new vocabulary that the old one has."""
        return 1 - self.n_new / self.n_tokens

    def __str__(self) -> str:
        mass = "" if self.matched_mass is None else f", {100 * self.matched_mass:.1f} % of its token mass"
        new = f"{self.n_new:,} new token{'' if self.n_new == 1 else 's'} got the mean row"
        return f"matched {100 * self.matched_types:.1f} % of the vocabulary's types{mass}, {new}"


def remap_vocab(
    weights: Tensor, old_tokens: Sequence[str], new_tokens: Sequence[str], counts: Sequence[int] | None = None
) -> tuple[Tensor, TransferReport]:
    """Re-arrange rows for a new vocabulary; tokens without a row get the mean of all (Howard & Ruder's scripts).

    Args:
        weights: One row, or one number, per old token, (V, E) or (V,).
        old_tokens: The old vocabulary.
        new_tokens: The new vocabulary.
        counts: How often each new token occurs; None if unknown.

    Returns:
        A new tensor with one row per new token, and how much of the vocabulary matched.

    Raises:
        ValueError: Lengths do not fit or a vocabulary has a token twice.
    """
    if len(weights) != len(old_tokens):
        raise ValueError(f"{len(weights)} rows of weights, but {len(old_tokens)} old tokens")
    if counts is not None and len(counts) != len(new_tokens):
        raise ValueError(f"{len(counts)} counts, but {len(new_tokens)} new tokens")
    old_ids, _ = _index(old_tokens, "old"), _index(new_tokens, "new")
    ids = torch.tensor([old_ids.get(token, -1) for token in new_tokens], device=weights.device)
    rows = weights.detach()[ids.clamp(min=0)]
    rows[ids < 0] = weights.detach().mean(dim=0)
    return rows, TransferReport(len(new_tokens), int((ids < 0).sum()), _mass(ids >= 0, counts))


def _index(tokens: Sequence[str], which: str) -> dict[str, int]:
    if not tokens:
        raise ValueError(f"the {which} vocabulary is empty")
    index = {token: i for i, token in enumerate(tokens)}
    if len(index) != len(tokens):
        twice = sorted({token for i, token in enumerate(tokens) if index[token] != i})
        raise ValueError(f"tokens that occur twice in the {which} vocabulary: {', '.join(map(repr, twice[:5]))}")
    return index


def _mass(matched: Tensor, counts: Sequence[int] | None) -> float | None:
    if counts is None:
        return None
    occurrences = torch.tensor(counts, dtype=torch.float64, device=matched.device)
    total = float(occurrences.sum())
    return float(occurrences[matched].sum()) / total if total else 0.0


def transfer_language_model(
    source: LanguageModel | Mapping[str, Tensor],
    source_tokens: Sequence[str],
    target_tokens: Sequence[str],
    counts: Sequence[int] | None = None,
    *,
    config: AWDLSTMConfig | None = None,
) -> tuple[LanguageModel, TransferReport]:
    """Make a language model for a new vocabulary from one for another.

    Args:
        source: The model, or its state dict.
        source_tokens: The vocabulary of `source`, in the order of its ids.
        target_tokens: The vocabulary of the new model, in the order of its ids.
        counts: How often each target token occurs in the target corpus; None if unknown.
        config: Sizes and dropouts of the new model, the size of the vocabulary aside. None for those of `source`,
            which only a model knows, not a state dict.

    Returns:
        The new model, on the CPU and in training mode, and how much of its vocabulary matched.

    Raises:
        ValueError: Parameters are missing, left over or of another shape (all are listed), or a vocabulary does not
            fit the weights.
    """
    if isinstance(source, LanguageModel):
        config, state = config or source.config, source.state_dict()
    elif config is None:
        raise ValueError("a state dict does not tell the sizes and dropouts: pass config")
    else:
        state = dict(source)
    model = LanguageModel(replace(config, vocab=len(target_tokens)))
    remapped = {n: remap_vocab(state[n], source_tokens, target_tokens, counts) for n in _PER_WORD if n in state}
    load_by_name(model, {**state, **{name: rows for name, (rows, _) in remapped.items()}}, "language model")
    return model, remapped[_PER_WORD[0]][1]


def load_encoder(classifier: TextClassifier, encoder: AWDLSTM) -> None:
    """Copy the weights of a language model's encoder into a classifier; dropouts stay the classifier's.

    Args:
        classifier: The classifier.
        encoder: `encoder` of a `LanguageModel` with the same vocabulary.

    Raises:
        ValueError: Parameters are missing, left over or of another shape; all are listed and nothing is loaded.
    """
    load_by_name(classifier.encoder, encoder.state_dict(), "classifier's encoder")


def load_by_name(module: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Load weights into a module if, and only if, all names and shapes agree.

    Args:
        module: The module.
        state: Its weights by name.
        what: How the error calls the module.

    Raises:
        ValueError: Something differs; every difference is listed and nothing is loaded.
    """
    own = module.state_dict()
    problems = [f"{name}: missing" for name in own if name not in state]
    problems += [f"{name}: not a parameter of the {what}" for name in state if name not in own]
    problems += [
        f"{name}: shape {tuple(state[name].shape)}, but the {what} needs {tuple(tensor.shape)}"
        for name, tensor in own.items()
        if name in state and state[name].shape != tensor.shape
    ]
    if problems:
        raise ValueError(f"the weights do not fit the {what}:\n  " + "\n  ".join(problems))
    module.load_state_dict(state)
