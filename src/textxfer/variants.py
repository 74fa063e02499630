"""The rows of the paper's ablation tables, as named changes of a recipe.

Each variant leaves something out of ULMFiT or puts an older way in its place; what it does not name stays as the recipe
has it: sizes, dropouts, epochs, batch sizes. Source: Howard & Ruder 2018, section 5 and tables 4 to 7.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from textxfer.recipe import Dropouts, Recipe, ScheduleName, Stage, Training

LanguageModelUse = Literal["tuned", "as it is", "none"]
Unfreeze = Literal["gradual", "chain-thaw", "last"] | None

_NO_DROPOUT = Dropouts(embed=0.0, input=0.0, hidden=0.0, weight=0.0, output=0.0)
_FACTOR = 2.6
_VANILLA_EPOCHS = 5
"""Epochs of the classifier on an encoder without dropout, which soon overfits (footnote 4)."""


@dataclass(frozen=True)
class Variant:
    """One row of an ablation table.

    Attributes:
        name: Its name, such as `freez+stlr`.
        title: What the paper calls it.
        pretrained: Whether there is a general language model to start from.
        language_model: Whether it is tuned on the task's text, taken as it is, or there is none at all: then the
            classifier starts from random weights.
        lm_discriminative: Discriminative rates of the tuning.
        lm_slanted: Slanted triangular schedule of the tuning; else a constant rate.
        vanilla: No dropout and no AR and TAR in language model and encoder.
        unfreeze: Order in which the layer groups of the classifier start to train; None: all from the start.
        discriminative: Discriminative rates of the classifier.
        schedule: Shape of the classifier's rate.
    """

    name: str
    title: str
    pretrained: bool = True
    language_model: LanguageModelUse = "tuned"
    lm_discriminative: bool = True
    lm_slanted: bool = True
    vanilla: bool = False
    unfreeze: Unfreeze = "gradual"
    discriminative: bool = True
    schedule: ScheduleName = "slanted"

    @property
    def is_whole(self) -> bool:
        """Whether the classifier is trained in all of ULMFiT's ways; the paper stops all others early."""
        return self.discriminative and self.schedule == "slanted" and self.unfreeze == "gradual"

    def apply(self, recipe: Recipe) -> Recipe:
        """Return the recipe with what the variant changes; one stage of training each, as in the paper.

        Args:
            recipe: A recipe of the whole method, such as `textxfer.presets.PAPER`.
        """
        return replace(
            recipe,
            name=f"{recipe.name}, {self.name}",
            finetune=self._finetune(recipe.finetune),
            classify=self._classify(recipe.classify, n_groups=recipe.layers + 2),
        )

    def _finetune(self, training: Training) -> Training:
        stage = _one_stage(training, 4e-3, "slanted" if self.lm_slanted else "constant")
        factor = _FACTOR if self.lm_discriminative else None
        return self._regularized(replace(training, stages=(stage,), discriminative=factor))

    def _classify(self, training: Training, n_groups: int) -> Training:
        """Section 5.2: 0.01 with discriminative rates, 0.001 otherwise; chain-thaw has 0.0001 below the last group."""
        stage = _one_stage(training, 1e-2 if self.discriminative else 1e-3, self.schedule)
        rates: float | tuple[float, ...] | None = _FACTOR if self.discriminative else None
        if self.unfreeze == "chain-thaw":
            rates = (*[0.1] * (n_groups - 1), 1.0)
        if self.vanilla:
            stage = replace(stage, epochs=min(stage.epochs, _VANILLA_EPOCHS))
        return self._regularized(replace(training, stages=(stage,), discriminative=rates, unfreeze=self.unfreeze))

    def _regularized(self, training: Training) -> Training:
        return replace(training, dropouts=_NO_DROPOUT, alpha=0.0, beta=0.0) if self.vanilla else training


def _one_stage(training: Training, lr: float, schedule: ScheduleName) -> Stage:
    return Stage(sum(stage.epochs for stage in training.stages), lr, schedule=schedule)


ULMFIT = Variant("ulmfit", "ULMFiT: Freez + discr + stlr")
_PLAIN = replace(ULMFIT, unfreeze=None, discriminative=False, schedule="constant")
_FREEZ = replace(_PLAIN, unfreeze="gradual")

PRETRAINING = (replace(ULMFIT, name="no-pretraining", title="Without pretraining", pretrained=False), ULMFIT)
"""Table 4."""
LM_QUALITY = (replace(ULMFIT, name="vanilla", title="Vanilla LM", vanilla=True), ULMFIT)
"""Table 5."""
LM_TUNING = (
    replace(ULMFIT, name="lm-none", title="No LM fine-tuning", language_model="as it is"),
    replace(ULMFIT, name="lm-full", title="Full", lm_discriminative=False, lm_slanted=False),
    replace(ULMFIT, name="lm-full+discr", title="Full + discr", lm_slanted=False),
    ULMFIT,
)
"""Table 6; the last row is full + discr + stlr."""
CLASSIFIER_TUNING = (
    replace(_PLAIN, name="scratch", title="From scratch", pretrained=False, language_model="none"),
    replace(_PLAIN, name="full", title="Full"),
    replace(_PLAIN, name="full+discr", title="Full + discr", discriminative=True),
    replace(_PLAIN, name="last", title="Last", unfreeze="last"),
    replace(_PLAIN, name="chain-thaw", title="Chain-thaw", unfreeze="chain-thaw"),
    replace(_FREEZ, name="freez", title="Freez"),
    replace(_FREEZ, name="freez+discr", title="Freez + discr", discriminative=True),
    replace(_FREEZ, name="freez+stlr", title="Freez + stlr", schedule="slanted"),
    replace(_FREEZ, name="freez+cos", title="Freez + cos", schedule="cosine"),
    ULMFIT,
)
"""Table 7."""

VARIANTS: Mapping[str, Variant] = {
    variant.name: variant for table in (PRETRAINING, LM_QUALITY, LM_TUNING, CLASSIFIER_TUNING) for variant in table
}


def variant(name: str) -> Variant:
    """Return a variant by name.

    Args:
        name: A key of `VARIANTS`, such as `freez+discr`.

    Raises:
        ValueError: There is no such variant; those there are are listed.
    """
    if name not in VARIANTS:
        raise ValueError(f"there is no variant {name!r}; there are {', '.join(VARIANTS)}")
    return VARIANTS[name]
