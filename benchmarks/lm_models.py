"""The language models that are measured, as `textxfer.ulmfit` makes them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from benchmarks import synthetic
from benchmarks.driver import Options
from textxfer import ulmfit
from textxfer.callbacks import Report
from textxfer.models import AWDLSTMConfig, LanguageModel
from textxfer.training import Learner


@dataclass(frozen=True)
class Size:
    """A model and its batches: V words, E, H and L of the LSTM, B lanes, windows of T tokens."""

    vocab: int
    embed: int
    hidden: int
    layers: int
    batch: int
    bptt: int = 70

    def config(self, dropout: float = 1.0) -> AWDLSTMConfig:
        """Return the encoder's config with the paper's dropouts times a factor."""
        training = synthetic.training(self.batch, dropout)
        return training.dropouts.apply(AWDLSTMConfig(self.vocab, self.embed, self.hidden, self.layers))

    @property
    def tokens(self) -> int:
        """Tokens of a batch."""
        return self.batch * self.bptt

    @property
    def flops(self) -> float:
        """Operations of a training step: forward, and twice that backward; two for each weight that is multiplied."""
        weights = sum(4 * out * (size + out) for size, out in self.config().sizes)
        return 3 * 2.0 * self.tokens * (weights + self.embed * self.vocab)


def learner(
    size: Size, n_batches: int, options: Options, precision: ulmfit.Precision = "bf16", dropout: float = 1.0
) -> Learner[LanguageModel]:
    """Return the Learner of `ulmfit.language_model` on made-up text of just so many batches; it prints nothing."""
    training = replace(synthetic.training(size.batch, dropout), bptt=size.bptt)
    learn = ulmfit.language_model(
        synthetic.task(synthetic.filling(size.tokens * n_batches), size.vocab),
        recipe=synthetic.recipe(size.embed, size.hidden, size.layers, training),
        training=training,
        precision=precision,
        device=options.device,
    )
    learn.callbacks = [callback for callback in learn.callbacks if not isinstance(callback, Report)]
    return learn
