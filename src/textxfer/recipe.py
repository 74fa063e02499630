"""The numbers of ULMFiT as plain values: what is trained how long, how fast and with which dropouts.

A `Recipe` has three trainings: of the general language model, of the language model on the task's text, and of the
classifier. `textxfer.presets` has the recipes by name.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from textxfer.models import AWDLSTMConfig, ClassifierConfig
from textxfer.training import Cosine, Linear, OneCycle, Optimizer, Schedule, SlantedTriangular

ScheduleName = Literal["slanted", "one-cycle", "cosine", "linear", "constant"]


@dataclass(frozen=True)
class Stage:
    """One fit.

    Args:
        epochs: Passes over the data.
        lr: Highest rate, of the last layer group.
        freeze_to: First layer group that trains; negative counts from the head.
        schedule: Shape of the rate over the fit.
        cut: Share of the updates on the way up (`slanted`, `one-cycle`), in (0, 1).
        ratio: Highest over first rate (`slanted`, `one-cycle`).
    """

    epochs: int
    lr: float
    freeze_to: int = 0
    schedule: ScheduleName = "slanted"
    cut: float = 0.1
    ratio: float = 32.0

    def rate(self) -> Schedule | None:
        """Return the multiplier of the rate over the fit; None keeps it constant."""
        schedules: dict[str, Schedule | None] = {
            "slanted": SlantedTriangular(self.cut, self.ratio),
            "one-cycle": OneCycle(self.cut, self.ratio),
            "cosine": Cosine(),
            "linear": Linear(),
            "constant": None,
        }
        return schedules[self.schedule]


@dataclass(frozen=True)
class Dropouts:
    """The five dropouts of the AWD-LSTM as probabilities in [0, 1).

    `AWDLSTMConfig` has the names that others give them.

    Args:
        embed: For whole words, everywhere in the batch.
        input: For features of word vectors.
        hidden: For features between LSTM layers.
        weight: For recurrent weights.
        output: For features behind the last layer.
    """

    embed: float
    input: float
    hidden: float
    weight: float
    output: float

    def scaled(self, factor: float) -> Dropouts:
        """Return all five multiplied by a factor.

        Args:
            factor: The factor, >= 0; no product may reach 1.
        """
        return Dropouts(**{name: round(value * factor, 6) for name, value in asdict(self).items()})

    def apply(self, config: AWDLSTMConfig) -> AWDLSTMConfig:
        """Return the encoder's configuration with these dropouts.

        Args:
            config: Its sizes are kept.
        """
        return replace(config, **{f"dropout_{name}": value for name, value in asdict(self).items()})


@dataclass(frozen=True)
class Training:
    """How one model is trained.

    Args:
        stages: The fits, in order.
        dropouts: Dropouts of the AWD-LSTM.
        batch_size: Lanes of a language model, documents of a classifier.
        bptt: Tokens per window.
        vary_bptt: Draw the length of each window of a language model anew; of a classifier, that of all windows of a
            batch (Merity et al. 2018, section 4.1).
        rescale_lr: Multiply the rate by the window's length over `bptt`; language models only.
        optimizer: Which optimizer, its betas and its weight decay.
        discriminative: The rate of a layer group over that of the one below it; or one multiplier for each group;
            None for one rate.
        unfreeze: Unfreeze within the fit: `gradual` (one more group per epoch), `chain-thaw`, `last`.
        alpha: Weight of activation regularization.
        beta: Weight of temporal activation regularization.
        clip: Largest norm of the gradient; None leaves it alone.
    """

    stages: tuple[Stage, ...]
    dropouts: Dropouts
    batch_size: int = 64
    bptt: int = 70
    vary_bptt: bool = False
    rescale_lr: bool = False
    optimizer: Optimizer = field(default_factory=Optimizer)
    discriminative: float | tuple[float, ...] | None = None
    unfreeze: Literal["gradual", "chain-thaw", "last"] | None = None
    alpha: float = 2.0
    beta: float = 1.0
    clip: float | None = 0.25

    def with_epochs(self, epochs: int | None) -> Training:
        """Return the training with another number of epochs in its last, longest stage.

        Args:
            epochs: The number, >= 1; None leaves it as it is.

        Raises:
            ValueError: It is below 1.
        """
        if epochs is None:
            return self
        if epochs < 1:
            raise ValueError(f"epochs must be at least 1, not {epochs}")
        return replace(self, stages=(*self.stages[:-1], replace(self.stages[-1], epochs=epochs)))


@dataclass(frozen=True)
class Recipe:
    """A complete set of numbers for the three steps of ULMFiT (Howard & Ruder 2018).

    Args:
        name: Name of the preset.
        rules: Text rules, see `textxfer.text.rules`.
        max_vocab: Most tokens of a vocabulary.
        min_count: Fewest occurrences of a token in it.
        extend_vocab: Keep the tokens of the pretrained model that the task's own text lacks, so that words seen
            first in a new text have their pretrained vectors. The paper's vocabulary is the task's alone.
        embed: Width of embedding and last layer.
        hidden: Width of the other layers.
        layers: Number of LSTM layers.
        pretrain: The general language model.
        finetune: The language model on the task's text.
        classify: The classifier.
        head_hidden: Width of the head's hidden layer.
        dropout_pooled: Dropout of the pooled states.
        dropout_head: Dropout of the head's hidden layer.
        max_tokens: Last tokens of a document whose states are pooled with gradient.
    """

    name: str
    rules: str
    max_vocab: int
    min_count: int
    extend_vocab: bool
    embed: int
    hidden: int
    layers: int
    pretrain: Training
    finetune: Training
    classify: Training
    head_hidden: int = 50
    dropout_pooled: float = 0.4
    dropout_head: float = 0.1
    max_tokens: int = 1400

    def encoder(self, vocab: int) -> AWDLSTMConfig:
        """Return the configuration of a new AWD-LSTM, with the default dropouts.

        Args:
            vocab: Number of tokens, V.
        """
        return AWDLSTMConfig(vocab=vocab, embed=self.embed, hidden=self.hidden, layers=self.layers)

    def head(self, classes: int) -> ClassifierConfig:
        """Return the configuration of what a classifier adds to its encoder.

        Args:
            classes: Number of classes, C.
        """
        return ClassifierConfig(
            classes=classes,
            head_hidden=self.head_hidden,
            dropout_pooled=self.dropout_pooled,
            dropout_head=self.dropout_head,
            bptt=self.classify.bptt,
            max_tokens=self.max_tokens,
            vary_bptt=self.classify.vary_bptt,
        )

    def for_finetune(self, pretrained: bool) -> Training:
        """Return the numbers of the task's language model; one from random weights has one rate for all groups.

        Args:
            pretrained: Whether it starts from a pretrained one.
        """
        return self.finetune if pretrained else replace(self.finetune, discriminative=None)

    def for_classify(self, pretrained: bool) -> Training:
        """Return the numbers of the classifier, on a trained encoder or on random weights.

        Random weights have nothing to be spared: all layer groups train from the start, at one rate.

        Args:
            pretrained: Whether the encoder is trained.
        """
        if pretrained:
            return self.classify
        stages = self.classify.stages
        whole = replace(stages[-1], epochs=sum(stage.epochs for stage in stages))
        return replace(self.classify, stages=(whole,), discriminative=None, unfreeze=None)

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers as JSON values."""
        return asdict(self)
