"""Models for both directions of reading, and the two as one.

A classifier that reads forward and one that reads backward err on different texts; the mean of their probabilities errs
less often than either (Howard & Ruder 2018, section 3.3). Each has its own language model; nothing is shared but the
data. On disk the two are folders within one, named by their direction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textxfer.artifact import Artifact, ArtifactError, load_artifact, save_artifact
from textxfer.files import new_folder, write_json
from textxfer.models import LanguageModel, TextClassifier
from textxfer.predict import DIRECTIONS, PAIR, Direction, PairPredictor, Predictor
from textxfer.task import TaskData
from textxfer.training import Learner


def direction_of(backward: bool) -> Direction:
    """Return the name of a direction.

    Args:
        backward: Whether a model reads texts from the end to the start.
    """
    return "backward" if backward else "forward"


def load_directions(folder: str | Path) -> dict[Direction, Artifact]:
    """Read a folder of one model, or of one for each direction.

    Args:
        folder: A model folder, or one that `Bidirectional.save` wrote.

    Returns:
        The models by direction.

    Raises:
        ArtifactError: A folder is missing or damaged, or holds a model that reads in the other direction.
    """
    folder = Path(folder)
    if not (folder / PAIR).is_file():
        artifact = load_artifact(folder)
        return {direction_of(artifact.backward): artifact}
    found: dict[Direction, Artifact] = {name: load_artifact(folder / name) for name in DIRECTIONS}
    one, other = found.values()
    if one.vocab != other.vocab or one.tokenizer.fingerprint != other.tokenizer.fingerprint:
        raise ArtifactError(f"the two models in {folder} do not have the same vocabulary and tokenizer")
    for direction, artifact in found.items():
        if direction_of(artifact.backward) != direction:
            raise ArtifactError(f"{folder / direction} holds a model that reads {direction_of(artifact.backward)}")
    return found


def model_folders(folder: Path) -> list[Path]:
    """Return the model folders in a folder: those of a pair, forward before backward, or the folder alone.

    Args:
        folder: A model folder, or the folder of a pair.
    """
    return [folder / name for name in DIRECTIONS] if (folder / PAIR).is_file() else [folder]


def mark_pair(folder: Path) -> None:
    """Say of a folder that it holds a model for each direction.

    Args:
        folder: A folder with the model folders `forward` and `backward`.
    """
    write_json(folder / PAIR, {"format": 1, "directions": list(DIRECTIONS)})


@dataclass(frozen=True)
class Bidirectional:
    """Classifiers for both directions, with the language models that they come from; see `ulmfit.bidirectional`.

    Attributes:
        data: Their data.
        language_models: Learners of the task's language models.
        classifiers: Learners of the classifiers.

    Source: Howard & Ruder 2018, section 3.3.
    """

    data: TaskData
    language_models: Mapping[Direction, Learner[LanguageModel]]
    classifiers: Mapping[Direction, Learner[TextClassifier]]

    def predictor(self, **options: Any) -> PairPredictor:
        """Return what classifies texts by the mean of both.

        Args:
            options: `tokens_per_batch` and `dtype`, see `Predictor`.
        """
        data, parts = self.data, []
        for direction in DIRECTIONS:
            model = self.classifiers[direction].model
            artifact = Artifact(model, data.vocab, data.tokenizer, data.classes, direction == "backward")
            parts.append(Predictor(model, artifact, **options))
        return PairPredictor(*parts)

    def save(self, folder: str | Path) -> Path:
        """Write both classifiers as one folder, for `Predictor.load`; it appears complete or not at all.

        Args:
            folder: Where to write; the folder of another pair is replaced.

        Returns:
            The folder.

        Raises:
            ArtifactError: The folder exists and is not that of a pair.
        """
        folder = Path(folder)
        if folder.exists() and not (folder / PAIR).is_file():
            raise ArtifactError(f"{folder} exists already and is no folder of two models; name another place")
        with new_folder(folder, replace=True) as scratch:
            for direction, learn in self.classifiers.items():
                card = {"history": learn.history.epochs}
                save_artifact(scratch / direction, learn.model, self.data, backward=direction == "backward", card=card)
            mark_pair(scratch)
        return folder
