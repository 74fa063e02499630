"""Language models of the tasks, kept on disk: many cells differ in the classifier alone."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from experiments.tasks import digest
from textxfer import ulmfit
from textxfer.artifact import Artifact, load_language_model, save_artifact
from textxfer.callbacks import Report
from textxfer.directions import Direction
from textxfer.locks import alone
from textxfer.models import AWDLSTM
from textxfer.recipe import Recipe
from textxfer.task import TaskData
from textxfer.text import Document
from textxfer.training import Learner
from textxfer.variants import LanguageModelUse


class Tuned(NamedTuple):
    """An encoder, and the seconds that its training took (when it was trained)."""

    encoder: AWDLSTM
    seconds: float


def task_encoder(
    data: TaskData,
    documents: list[Document],
    base: Artifact | None,
    use: LanguageModelUse,
    recipe: Recipe,
    direction: Direction,
    seed: int,
    cache: Path,
) -> Tuned:
    """Return the encoder of the task's language model, trained now or at an earlier time.

    Args:
        data: The task's texts as ids.
        documents: The same texts, by which the cache knows them.
        base: Pretrained model to start from.
        use: `tuned`, or `as it is`: then the pretrained model only gets the task's vocabulary.
        recipe: The numbers.
        direction: Direction of reading.
        seed: Seed of weights, dropouts and order.
        cache: Folder of the trained models.
    """
    training = recipe.for_finetune(base is not None)
    options: dict[str, Any] = {"backward": direction == "backward", "seed": seed}
    if use == "as it is":
        return Tuned(
            ulmfit.language_model(data, base=base, recipe=recipe, training=training, **options).model.encoder, 0.0
        )
    place = cache / _key(data, documents, base, recipe, direction, seed)
    with alone(place.with_suffix(".lock")):
        if not (place / "config.json").is_file():
            began = time.perf_counter()
            learn = quiet(ulmfit.language_model(data, base=base, recipe=recipe, training=training, **options))
            ulmfit.fit_stages(learn, training)
            card = {"seconds": time.perf_counter() - began}
            save_artifact(place, learn.model, data, backward=direction == "backward", card=card)
    model, artifact = load_language_model(place)
    return Tuned(model.encoder, artifact.card["seconds"])


def quiet(learn: Learner[Any]) -> Learner[Any]:
    """Take the progress bars away: cells may run side by side."""
    learn.callbacks = [callback for callback in learn.callbacks if not isinstance(callback, Report)]
    return learn


def fingerprint(base: Artifact | None) -> str | None:
    """Return a checksum of a model's weights."""
    if base is None:
        return None
    found = hashlib.sha256()
    for name, tensor in sorted(base.model.state_dict().items()):
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def _key(
    data: TaskData, documents: list[Document], base: Artifact | None, recipe: Recipe, direction: Direction, seed: int
) -> str:
    """Name everything that the weights depend on; the texts in any order, as cells with fewer labels order them."""
    numbers: Mapping[str, Any] = recipe.to_dict()
    facts = {
        "texts": sorted(digest([Document(document.text)]) for document in documents),
        "vocab": data.vocab.fingerprint,
        "tokenizer": data.tokenizer.fingerprint,
        "base": fingerprint(base),
        "training": numbers["finetune"],
        "sizes": None if base is not None else [numbers[name] for name in ("embed", "hidden", "layers")],
        "direction": direction,
        "seed": seed,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]
