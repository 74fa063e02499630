"""What the commands that train have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from textxfer import ulmfit
from textxfer.artifact import Artifact, ArtifactError, load_artifact
from textxfer.cli.common import CHOSEN, NewTokenizer, Training
from textxfer.cli.output import model_of
from textxfer.directions import DIRECTIONS, Direction, load_directions
from textxfer.models import LanguageModel
from textxfer.plan import peak_memory, plan
from textxfer.pretrained import resolve
from textxfer.recipe import Recipe
from textxfer.recipe import Training as TrainingNumbers
from textxfer.task import TaskData
from textxfer.text import DataError, Document, RulesTokenizer, SpacyTokenizer, SubwordTokenizer, Tokenizer
from textxfer.training import Learner


def load_bases(folder: Path) -> dict[Direction, Artifact]:
    """Read pretrained language models, by the direction in which they read.

    Args:
        folder: Their folder, that of the run that made them, or the name of a pretrained model, see
            `textxfer.pretrained`.

    Raises:
        ArtifactError: The folder is missing or damaged, or holds classifiers.
        DataError: There is neither such a folder nor such a model.
    """
    bases = load_directions(resolve(model_of(folder, language=True)))
    if not all(isinstance(base.model, LanguageModel) for base in bases.values()):
        raise ArtifactError(f"{folder} holds a classifier; a language model is needed here")
    return bases


def chosen_directions(config: Training, bases: Mapping[Direction, Artifact] | None) -> tuple[Direction, ...]:
    """Return the directions to train in.

    Raises:
        DataError: A direction is asked for that the pretrained models do not read in.
    """
    if config.direction is None:
        return ("forward",) if bases is None else tuple(bases)
    wanted = DIRECTIONS if config.direction == "both" else (config.direction,)
    if bases is not None and (missing := [direction for direction in wanted if direction not in bases]):
        raise DataError(f"--direction {config.direction}: --base holds no model that reads {missing[0]}")
    return wanted


def new_tokenizer(config: NewTokenizer, recipe: Recipe, documents: Iterable[Document]) -> Tokenizer:
    """Return a new tokenizer; one of pieces is trained on the documents that the language model will read."""
    if config.tokenizer in ("bpe", "unigram"):
        texts = (document.text for document in documents)
        try:
            return SubwordTokenizer.train(texts, recipe.max_vocab, config.tokenizer, recipe.rules)
        except ValueError as error:  # the size of the vocabulary, which may be the user's
            raise DataError(f"--tokenizer {config.tokenizer}: {error}") from error
    if config.tokenizer == "rules":
        return RulesTokenizer(recipe.rules)
    return SpacyTokenizer(config.language or CHOSEN["language"], recipe.rules)


def options_of(config: Training, direction: Direction, run: int = 0) -> ulmfit.Options:
    """Return the options of the functions in `ulmfit`."""
    backward, seed = direction == "backward", config.seed + run
    return {"backward": backward, "precision": config.precision, "device": config.device, "seed": seed}


def rehearse(
    name: str, learn: Learner, training: TrainingNumbers, data: TaskData, folder: Path, direction: Direction
) -> Artifact:
    """Take one training through two batches of each stage, save and load its model, and print the plan."""
    plans = plan(learn, training)
    saved = load_artifact(ulmfit.save(folder, learn, data, backward=direction == "backward"))
    print(f"\n{name}: about {sum(stage.seconds for stage in plans) / 60:.1f} min, {peak_memory():,.0f} MB so far")
    for number, stage in enumerate(plans, 1):
        print(f"  stage {number}: {stage}")
    return saved
