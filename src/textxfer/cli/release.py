"""The command that makes a pretrained model ready to be given away: release."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from textxfer.artifact import Artifact, ArtifactError, save_artifact
from textxfer.artifact_check import is_model_folder
from textxfer.cli.config import ReleaseConfig
from textxfer.cli.model_card import facts_of, markdown
from textxfer.cli.output import RUN, model_of, versions
from textxfer.cli.perplexity import Text, measure, read_text, written
from textxfer.directions import DIRECTIONS, Direction, load_directions, mark_pair
from textxfer.files import new_folder, remove_if_empty, write_json, write_text
from textxfer.models import LanguageModel
from textxfer.predict import PAIR
from textxfer.pretrained import check_name
from textxfer.text import DataError
from textxfer.text.files import read_json

FORMAT = 1
CARD, README = "card.json", "README.md"
_MEGA = 1_000_000


@dataclass(frozen=True)
class Source:
    """A trained language model and, if known, the card of the run that trained it."""

    artifact: Artifact
    run: Mapping[str, Any] | None


def release(config: ReleaseConfig) -> None:
    """Write a model for each direction with a model card, measured on texts with the weights that are written."""
    check_name(config.name)
    _check_out(config)
    shard_bytes = None if config.shard_mb is None else int(config.shard_mb * _MEGA)
    if shard_bytes is not None and shard_bytes < 1:
        raise DataError(f"--shard-mb {config.shard_mb:g} is less than a byte; give megabytes, such as 16")
    sources = _sources(config)
    texts = [read_text(path, config, wikitext=False) for path in config.test]
    texts += [read_text(path, config, wikitext=True) for path in config.wikitext]
    with new_folder(config.out, replace=config.replace) as scratch:
        _write_models(config, scratch, sources, shard_bytes)
        card = _card(config, scratch, sources, texts)
        write_json(scratch / CARD, card)
        write_text(scratch / README, markdown(card))
    size = sum(path.stat().st_size for path in config.out.rglob("*") if path.is_file())
    print(f"{config.name}: {', '.join(sources)}, {size / _MEGA:.1f} MB written to {config.out}")


def _check_out(config: ReleaseConfig) -> None:
    """Refuse, before any work is done, a folder that must not be replaced."""
    out = config.out
    remove_if_empty(out)
    if out.exists() and not ((out / PAIR).is_file() or is_model_folder(out)):
        raise DataError(f"{out} exists and is no model folder; name another folder with --out")
    if out.exists() and not config.replace:
        raise DataError(f"{out} holds a model; name another folder, or pass --replace")


def _sources(config: ReleaseConfig) -> dict[Direction, Source]:
    """Read the models to release, forward before backward.

    Raises:
        ArtifactError: A folder holds no language model.
        DataError: Two models read in the same direction or have not the same vocabulary.
    """
    found: dict[Direction, Source] = {}
    for folder in config.runs:
        place = model_of(folder, language=True)
        # The card of `classify` is about its classifier, not about the language model beside it.
        known = (folder / RUN).is_file() and place.name == "model"
        run = read_json(folder / RUN, "the card of a run") if known else None
        for direction, artifact in load_directions(place).items():
            if not isinstance(artifact.model, LanguageModel):
                raise ArtifactError(f"{folder} holds a classifier; language models are released")
            if direction in found:
                raise DataError(f"{folder} holds a second model that reads {direction}; give one for each direction")
            found[direction] = Source(artifact, run)
    sides = [source.artifact for source in found.values()]
    if any(side.vocab != sides[0].vocab or side.tokenizer != sides[0].tokenizer for side in sides):
        raise DataError("the models have not the same vocabulary and tokenizer; train both from the same text")
    return {direction: found[direction] for direction in DIRECTIONS if direction in found}


def _write_models(
    config: ReleaseConfig, scratch: Path, sources: Mapping[Direction, Source], shard_bytes: int | None
) -> None:
    """Write a folder for each direction, or a single model into the folder itself."""
    for direction, source in sources.items():
        artifact = source.artifact
        card = {"name": config.name, "history": artifact.card.get("history", [])}
        save_artifact(
            scratch / direction,
            artifact.model,
            artifact,
            backward=artifact.backward,
            card=card,
            dtype=config.dtype,
            shard_bytes=shard_bytes,
        )
    if len(sources) > 1:
        mark_pair(scratch)
        return
    (folder,) = scratch.iterdir()
    for path in list(folder.iterdir()):
        path.rename(scratch / path.name)
    folder.rmdir()


def _card(
    config: ReleaseConfig, scratch: Path, sources: Mapping[Direction, Source], texts: list[Text]
) -> dict[str, Any]:
    """Return all that the model card says; texts are measured with the weights as they were written."""
    device = config.device or ("cuda" if torch.cuda.is_available() else "cpu")
    directions: dict[str, Any] = {}
    for direction, artifact in load_directions(scratch).items():
        folder = scratch / direction if len(sources) > 1 else scratch
        run = sources[direction].run
        tests = [measure(artifact, text, device) for text in texts]
        for test in tests:
            figures = f"{written(test['per_token'], 1)} per token, {written(test['per_word'], 1)} per word"
            print(f"{direction}, {test['file']}: {figures}")
        size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
        directions[direction] = {"bytes": size, **facts_of(artifact, run, direction), "tests": tests}
    model = next(iter(sources.values())).artifact.model
    return {
        "format": FORMAT,
        "name": config.name,
        "source": config.source,
        "licence": config.licence,
        "note": config.note,
        "dtype": config.dtype,
        "weights": sum(parameter.numel() for parameter in model.parameters()),
        "encoder": model.encoder.config.to_dict(),
        "tokenizer": str(next(iter(sources.values())).artifact.tokenizer),
        "directions": directions,
        "measured_with": versions(),
    }
