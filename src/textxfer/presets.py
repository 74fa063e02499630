"""The recipes by name.

`small` is ours, for a CPU and few labels. `paper` has the numbers of Howard & Ruder 2018 (arXiv 1801.06146), sections 3
and 4.1; `scripts2018` those of the scripts that were published with it. The two differ in the betas, the rates and
dropouts of the language model, the windows, the stages of unfreezing, batch size, epochs, clipping and weight decay;
tests/programs/test_paper_numbers.py has both number by number.

`laptop` is `small` with fewer passes and epochs, so many as fit into a given time: see `textxfer.sizing`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from textxfer.recipe import Dropouts, Recipe, Stage, Training
from textxfer.training import Optimizer

# Section 4.1 of the paper gives one set of dropouts for all; its 0.4 for "layers" is the language model's output and
# the classifier's pooled states: the encoder of a classifier has no output dropout in the scripts.
_PAPER_DROPOUTS = Dropouts(embed=0.05, input=0.4, hidden=0.3, weight=0.5, output=0.4)
_CLASSIFIER_DROPOUTS = replace(_PAPER_DROPOUTS, output=0.0)
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
    pretrain=replace(
        _PRETRAIN_2018, rescale_lr=True, optimizer=Optimizer("adam", betas=(0.7, 0.99), weight_decay=1e-7)
    ),
    finetune=Training(
        stages=(Stage(epochs=15, lr=4e-3),),
        dropouts=_PAPER_DROPOUTS,
        vary_bptt=True,
        rescale_lr=True,
        optimizer=Optimizer("adam", betas=(0.7, 0.99), weight_decay=0.0),
        discriminative=2.6,
    ),
    classify=Training(
        stages=(Stage(epochs=50, lr=1e-2),),
        dropouts=_CLASSIFIER_DROPOUTS,
        vary_bptt=True,
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
        dropouts=_CLASSIFIER_DROPOUTS,
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
    max_vocab=15_000,
    min_count=2,
    extend_vocab=True,
    embed=200,
    hidden=512,
    layers=2,
    pretrain=Training(
        stages=(Stage(epochs=1, lr=4e-3, schedule="one-cycle", ratio=25),),
        dropouts=_SMALL_DROPOUTS.scaled(0.2),
        batch_size=16,
        optimizer=Optimizer("adamw", betas=(0.8, 0.99), weight_decay=0.01),
    ),
    finetune=Training(
        stages=(Stage(epochs=6, lr=4e-3, schedule="one-cycle", ratio=25),),
        dropouts=_SMALL_DROPOUTS.scaled(2.0),
        batch_size=16,
        optimizer=Optimizer("adamw", betas=(0.8, 0.99), weight_decay=0.01),
        discriminative=2.0,
    ),
    # Chosen on 818 held-out questions of TREC's training set, where gradual unfreezing did no better.
    classify=Training(
        stages=(Stage(epochs=10, lr=5e-3, schedule="one-cycle", ratio=25),),
        dropouts=replace(_SMALL_DROPOUTS.scaled(3.0), output=0.0),
        batch_size=32,
        optimizer=Optimizer("adamw", betas=(0.8, 0.99), weight_decay=0.05),
        discriminative=1.3,
    ),
    dropout_pooled=0.3,
)

LAPTOP = replace(SMALL, name="laptop")

PRESETS: Mapping[str, Recipe] = {recipe.name: recipe for recipe in (SMALL, PAPER, SCRIPTS2018, LAPTOP)}


def preset(name: str) -> Recipe:
    """Return a preset by name.

    Args:
        name: `small`, `paper`, `scripts2018` or `laptop`.

    Raises:
        ValueError: There is no such preset; those there are are listed.
    """
    if name not in PRESETS:
        raise ValueError(f"there is no recipe {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name]
