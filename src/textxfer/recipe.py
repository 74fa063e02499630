"""The numbers of ULMFiT as plain values: what is trained how long, how fast and with which dropouts.

A `Recipe` has three trainings: of the general language model, of the language model on the task's text, and of the
classifier. The presets are `small` (ours, for a CPU and few labels), `paper` (Howard & Ruder 2018, arXiv 1801.06146)
and `scripts2018` (what the published scripts do; they differ from the paper in the places marked here).
"""

from __future__ import annotations

from collections.abc import Mapping
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
    """The five dropouts of the AWD-LSTM; see `AWDLSTMConfig` for what each one drops."""

    embed: float
    input: float
    hidden: float
    weight: float
    output: float

    def scaled(self, factor: float) -> Dropouts:
        """Return all five multiplied by a factor."""
        return Dropouts(**{name: value * factor for name, value in asdict(self).items()})

    def apply(self, config: AWDLSTMConfig) -> AWDLSTMConfig:
        """Return the encoder's configuration with these dropouts."""
        return replace(config, **{f"dropout_{name}": value for name, value in asdict(self).items()})


@dataclass(frozen=True)
class Training:
    """How one model is trained.

    Args:
        stages: The fits, in order.
        dropouts: Dropouts of the AWD-LSTM.
        batch_size: Lanes of a language model, documents of a classifier.
        bptt: Tokens per window.
        vary_bptt: Draw the length of each language-model window anew (Merity et al. 2018).
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
    optimizer: Optimizer = field(default_factory=Optimizer)
    discriminative: float | tuple[float, ...] | None = None
    unfreeze: Literal["gradual", "chain-thaw", "last"] | None = None
    alpha: float = 2.0
    beta: float = 1.0
    clip: float | None = 0.25

    def with_epochs(self, epochs: int | None) -> Training:
        """Return the training with another number of epochs in its last, longest stage."""
        if epochs is None:
            return self
        if epochs < 1:
            raise ValueError(f"epochs must be at least 1, not {epochs}")
        return replace(self, stages=(*self.stages[:-1], replace(self.stages[-1], epochs=epochs)))


@dataclass(frozen=True)
class Recipe:
    """A complete set of numbers.

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
        """Return the configuration of a new AWD-LSTM for a vocabulary of this size."""
        return AWDLSTMConfig(vocab=vocab, embed=self.embed, hidden=self.hidden, layers=self.layers)

    def head(self, classes: int) -> ClassifierConfig:
        """Return the configuration of a classifier of this many classes."""
        return ClassifierConfig(
            classes=classes,
            head_hidden=self.head_hidden,
            dropout_pooled=self.dropout_pooled,
            dropout_head=self.dropout_head,
            bptt=self.classify.bptt,
            max_tokens=self.max_tokens,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers as JSON values."""
        return asdict(self)


# Section 4.1 of the paper gives one set of dropouts; "layers" is taken as the output, as the scripts do.
_PAPER_DROPOUTS = Dropouts(embed=0.05, input=0.4, hidden=0.3, weight=0.5, output=0.4)
_SCRIPT_LM_DROPOUTS = Dropouts(embed=0.02, input=0.25, hidden=0.15, weight=0.2, output=0.1)

# The paper does not describe the pretraining; these are the numbers of the scripts' README.
_PRETRAIN_2018 = Training(
    stages=(Stage(epochs=12, lr=1e-3),),
    dropouts=_SCRIPT_LM_DROPOUTS.scaled(0.5),
    vary_bptt=True,
    optimizer=Optimizer("adam", betas=(0.8, 0.99), weight_decay=1e-7),
    discriminative=(1 / 6, 1 / 3, 1.0, 1.0),
    clip=0.12,
)

PAPER = Recipe(
    name="paper",
    rules="2018",
    max_vocab=30_002,
    min_count=2,
    extend_vocab=False,
    embed=400,
    hidden=1150,
    layers=3,
    pretrain=replace(_PRETRAIN_2018, optimizer=Optimizer("adam", betas=(0.7, 0.99), weight_decay=1e-7)),
    finetune=Training(
        stages=(Stage(epochs=15, lr=4e-3),),
        dropouts=_PAPER_DROPOUTS,
        vary_bptt=True,
        optimizer=Optimizer("adam", betas=(0.7, 0.99), weight_decay=0.0),
        discriminative=2.6,
    ),
    classify=Training(
        stages=(Stage(epochs=50, lr=1e-2),),
        dropouts=_PAPER_DROPOUTS,
        optimizer=Optimizer("adam", betas=(0.7, 0.99), weight_decay=0.0),
        discriminative=2.6,
        unfreeze="gradual",
    ),
)

SCRIPTS2018 = replace(
    PAPER,
    name="scripts2018",
    pretrain=_PRETRAIN_2018,
    finetune=Training(
        stages=(Stage(epochs=25, lr=4e-3),),
        dropouts=_SCRIPT_LM_DROPOUTS,
        vary_bptt=True,
        optimizer=Optimizer("adam", betas=(0.8, 0.99), weight_decay=1e-7),
        discriminative=(1 / 6, 1 / 3, 1.0, 1 / 2),
        clip=0.3,
    ),
    classify=Training(
        stages=(
            Stage(epochs=1, lr=1e-2, freeze_to=-1, cut=1 / 3, ratio=8),
            Stage(epochs=1, lr=1e-2, freeze_to=-2, cut=1 / 3, ratio=8),
            Stage(epochs=50, lr=1e-2, cut=1 / 8, ratio=8),
        ),
        dropouts=_PAPER_DROPOUTS,
        batch_size=32,
        optimizer=Optimizer("adam", betas=(0.8, 0.99), weight_decay=1e-6),
        discriminative=2.6,
        clip=25.0,
    ),
)

_SMALL_DROPOUTS = Dropouts(embed=0.02, input=0.1, hidden=0.1, weight=0.1, output=0.1)

SMALL = Recipe(
    name="small",
    rules="default",
    max_vocab=20_000,
    min_count=2,
    extend_vocab=True,
    embed=200,
    hidden=512,
    layers=2,
    pretrain=Training(
        stages=(Stage(epochs=1, lr=5e-3, schedule="one-cycle", ratio=25),),
        dropouts=_SMALL_DROPOUTS.scaled(0.2),
        batch_size=32,
        optimizer=Optimizer("adamw", betas=(0.8, 0.99), weight_decay=0.01),
    ),
    finetune=Training(
        stages=(Stage(epochs=6, lr=4e-3, schedule="one-cycle", ratio=25),),
        dropouts=_SMALL_DROPOUTS.scaled(2.0),
        batch_size=16,
        optimizer=Optimizer("adamw", betas=(0.8, 0.99), weight_decay=0.01),
        discriminative=2.0,
    ),
    classify=Training(
        stages=(Stage(epochs=10, lr=8e-3, schedule="one-cycle", ratio=25),),
        dropouts=_SMALL_DROPOUTS.scaled(2.0),
        batch_size=32,
        optimizer=Optimizer("adamw", betas=(0.8, 0.99), weight_decay=0.05),
        discriminative=2.0,
        unfreeze="gradual",
    ),
    dropout_pooled=0.3,
)

PRESETS: Mapping[str, Recipe] = {recipe.name: recipe for recipe in (SMALL, PAPER, SCRIPTS2018)}


def preset(name: str) -> Recipe:
    """Return a preset by name; an unknown name is an error that lists those there are."""
    if name not in PRESETS:
        raise ValueError(f"there is no recipe {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name]
