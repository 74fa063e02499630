"""A model folder: weights, configuration, vocabulary and tokenizer, all that it takes to use a model elsewhere.

`model.safetensors` (weights; or several files, see `textxfer.weights`), `config.json` (format, kind, sizes, classes,
fingerprints, how it was made), `vocab.json`, `tokenizer.json`. Loading needs no training code and runs no code from
the folder.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from textxfer.artifact_check import check_config, is_model_folder
from textxfer.files import new_folder, write_json
from textxfer.models import AWDLSTMConfig, ClassifierConfig, LanguageModel, TextClassifier
from textxfer.non_finite import decode
from textxfer.text import Tokenizer, Vocab
from textxfer.text.store_files import read_tokenizer
from textxfer.weights import ArtifactError, DType, read_weights, write_weights

FORMAT = 1
_CONFIG, _VOCAB, _TOKENIZER = "config.json", "vocab.json", "tokenizer.json"


class TextSide(Protocol):
    """What turns text into ids and ids into names: a `TokenStore` or an `Artifact`."""

    @property
    def vocab(self) -> Vocab:
        """The vocabulary."""
        ...

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer."""
        ...

    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes, in the order of the model's outputs; empty for a language model."""
        ...


@dataclass
class Artifact:
    """A loaded model with its text side.

    Attributes:
        model: The model, in evaluation mode.
        vocab: Its vocabulary.
        tokenizer: Its tokenizer.
        classes: Names of the classes; empty for a language model.
        backward: Whether the model reads texts from the end to the start.
        card: How the model was made: free JSON values.
    """

    model: LanguageModel | TextClassifier
    vocab: Vocab
    tokenizer: Tokenizer
    classes: Sequence[str] = ()
    backward: bool = False
    card: dict[str, Any] = field(default_factory=dict)


def save_artifact(
    folder: str | Path,
    model: LanguageModel | TextClassifier,
    text: TextSide,
    *,
    backward: bool = False,
    card: dict[str, Any] | None = None,
    replace: bool = True,
    dtype: DType = "fp32",
    shard_bytes: int | None = None,
) -> Path:
    """Write a model folder; it appears complete or not at all.

    Args:
        folder: Where to write.
        model: The model.
        text: Vocabulary, tokenizer and classes: the `TokenStore` of the training data, or an `Artifact`.
        backward: Whether the model reads texts backwards.
        card: How the model was made: JSON values.
        replace: Whether an existing model folder may be replaced; other folders never are.
        dtype: Numbers of the files, `fp32` or `fp16`: half the bytes, 11 bits of precision. Loaded ones are float32.
        shard_bytes: Most bytes of a file of weights; None writes one file of any size.

    Returns:
        The folder.

    Raises:
        ArtifactError: If the folder exists and is no model folder, vocabulary and model differ in size, or a weight is
            too large for float16.
    """
    folder = Path(folder)
    if folder.exists() and not (replace and is_model_folder(folder)):
        raise ArtifactError(
            f"{folder} exists already{' and is no model folder' if replace else ''}; name another place"
        )
    config = _describe(model)
    if config["encoder"]["vocab"] != len(text.vocab):
        raise ArtifactError(f"the model has {config['encoder']['vocab']} tokens, its vocabulary {len(text.vocab)}")
    classes = list(text.classes) if isinstance(model, TextClassifier) else []
    config |= {
        "format": FORMAT,
        "classes": classes,
        "backward": backward,
        "vocab": text.vocab.fingerprint,
        "tokenizer": text.tokenizer.fingerprint,
        "card": card or {},
    }
    with new_folder(folder, replace=True) as scratch:
        config |= write_weights(scratch, model.state_dict(), dtype, shard_bytes)
        text.vocab.save(scratch / _VOCAB)
        write_json(scratch / _TOKENIZER, text.tokenizer.to_dict())
        write_json(scratch / _CONFIG, config)
    return folder


def load_artifact(folder: str | Path, device: str | torch.device = "cpu") -> Artifact:
    """Read a model folder.

    Args:
        folder: A folder that `save_artifact` wrote.
        device: Where to put the model.

    Returns:
        The model, on `device` and in evaluation mode, with its text side.

    Raises:
        ArtifactError: If the folder is missing or damaged, or holds a vocabulary that is not the model's.
    """
    folder = Path(folder)
    config = _read_json(folder, _CONFIG)
    if config.get("format") != FORMAT:
        raise ArtifactError(f"{folder / _CONFIG}: format {config.get('format')!r}; this version reads format {FORMAT}")
    try:
        check_config(config)
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{folder / _CONFIG} is damaged: {error}; copy the model folder again") from error
    vocab, tokenizer = _read_text_side(folder, config)
    weights = read_weights(folder, config, lambda: _expected(folder, config))
    if config["encoder"]["vocab"] != len(vocab):
        raise ArtifactError(
            f"{folder}: {config['encoder']['vocab']:,} tokens in config.json, {len(vocab):,} in vocab.json"
        )
    model = _build(config)
    model.load_state_dict(weights)
    classes, card = tuple(config["classes"]), decode(config.get("card", {}))
    return Artifact(model.to(device).eval(), vocab, tokenizer, classes, config["backward"], card)


def load_language_model(folder: str | Path, device: str | torch.device = "cpu") -> tuple[LanguageModel, Artifact]:
    """Read a model folder that must hold a language model.

    Args:
        folder: A folder that `save_artifact` wrote.
        device: Where to put the model.

    Returns:
        The model and the folder's whole content, in which it is once more.

    Raises:
        ArtifactError: As `load_artifact`, or the folder holds a classifier.
    """
    artifact = load_artifact(folder, device)
    if not isinstance(artifact.model, LanguageModel):
        raise ArtifactError(f"{folder} holds a classifier; a language model is needed here")
    return artifact.model, artifact


def load_classifier(folder: str | Path, device: str | torch.device = "cpu") -> tuple[TextClassifier, Artifact]:
    """Read a model folder that must hold a classifier.

    Args:
        folder: A folder that `save_artifact` wrote.
        device: Where to put the model.

    Returns:
        The model and the folder's whole content, in which it is once more.

    Raises:
        ArtifactError: As `load_artifact`, or the folder holds a language model.
    """
    artifact = load_artifact(folder, device)
    if not isinstance(artifact.model, TextClassifier):
        raise ArtifactError(f"{folder} holds a language model; a classifier is needed here")
    return artifact.model, artifact


def _describe(model: LanguageModel | TextClassifier) -> dict[str, Any]:
    if isinstance(model, TextClassifier):
        return {"kind": "classifier", "encoder": model.encoder.config.to_dict(), "classifier": model.config.to_dict()}
    return {"kind": "language model", "encoder": model.config.to_dict()}


def _build(config: dict[str, Any]) -> LanguageModel | TextClassifier:
    encoder = AWDLSTMConfig.from_dict(config["encoder"])
    if config["kind"] == "classifier":
        head = ClassifierConfig.from_dict(config["classifier"])
        if head.classes != len(config["classes"]):
            raise ValueError(f"{head.classes} outputs, {len(config['classes'])} class names")
        return TextClassifier(encoder, head)
    if config["kind"] == "language model":
        return LanguageModel(encoder)
    raise ValueError(f"unknown kind {config['kind']!r}")


def _expected(folder: Path, config: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Return the shapes that the weights must have, as tensors without memory."""
    try:
        with torch.device("meta"):
            return _build(config).state_dict()
    except (KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ArtifactError(f"{folder / _CONFIG} is damaged: {error!s:.500}") from error


def _read_text_side(folder: Path, config: dict[str, Any]) -> tuple[Vocab, Tokenizer]:
    try:
        vocab, tokenizer = Vocab.load(folder / _VOCAB), read_tokenizer(folder / _TOKENIZER)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"the text side of {folder} is damaged: {error}") from error
    if missing := [token for token in tokenizer.specials if token not in vocab]:
        raise ArtifactError(f"{folder / _VOCAB} lacks special tokens of its tokenizer: {', '.join(missing)}")
    for name, own, part in (("vocabulary", vocab, "vocab"), ("tokenizer", tokenizer, "tokenizer")):
        if own.fingerprint != config.get(part):
            raise ArtifactError(
                f"{folder}: this {name} is not the one that the model was trained with "
                f"({part}.json {own.fingerprint[:8]}, config.json {str(config.get(part))[:8]}); "
                f"take {part}.json from the folder that the model came from"
            )
    return vocab, tokenizer


def _what_is_there(folder: Path, name: str) -> str:
    """Say which file is missing, and which model folders are inside: those of a run, or of the two directions."""
    if not folder.is_dir():
        return "there is no such folder"
    inside = sorted({path.parent.name for mark in (_CONFIG, "pair.json") for path in folder.glob(f"*/{mark}")})
    return f"{name} is missing" + (f"; there are models inside: {', '.join(inside)}" if inside else "")


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    if not (folder / name).is_file():
        raise ArtifactError(f"{folder} is no model folder: {_what_is_there(folder, name)}")
    try:
        value = json.loads((folder / name).read_text(encoding="utf-8", errors="surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{folder / name} is damaged ({error}); copy the model folder again") from error
    if not isinstance(value, dict):
        raise ArtifactError(f"{folder / name} is damaged (no JSON object); copy the model folder again")
    return value
