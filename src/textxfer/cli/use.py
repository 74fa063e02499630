"""The commands that use what was trained: evaluate, predict, generate, show."""

from __future__ import annotations

import csv
import io
import json
import sys
from dataclasses import replace
from pathlib import Path

import torch

from textxfer.artifact import load_artifact, load_language_model
from textxfer.cli import pictures
from textxfer.cli.config import EvaluateConfig, GenerateConfig, PredictConfig, ShowConfig
from textxfer.cli.output import RUN, model_of
from textxfer.cli.reading import open_corpus, read_documents
from textxfer.directions import model_folders
from textxfer.evaluate import evaluate as evaluate_probabilities
from textxfer.files import write_json, write_text
from textxfer.generation import generate as generate_texts
from textxfer.models import TextClassifier
from textxfer.predict import Prediction, Predictor
from textxfer.pretrained import resolve
from textxfer.text import DataError, TokenStore
from textxfer.text.card import card
from textxfer.text.files import read_json
from textxfer.training import checkpoints


def evaluate(config: EvaluateConfig) -> None:
    """Report how a classifier does on labelled documents."""
    _check_target(config.out, config.data)
    predictor = _predictor(config)
    documents = read_documents(config.data, config, config.label, config.max_rows)
    artifact = predictor.artifact
    store = TokenStore.build(None, documents, artifact.tokenizer, vocab=artifact.vocab, classes=artifact.classes)
    report = evaluate_probabilities(predictor.predict_store(store), store.labels, artifact.classes)
    print(report)
    if config.out is not None:
        write_json(config.out, report.to_dict())


def predict(config: PredictConfig) -> None:
    """Predict the classes of the texts given, or of those in a file."""
    if bool(config.texts) == (config.data is not None):
        raise DataError("give texts as arguments, or a file with --data, and not both")
    _check_target(config.out, config.data)
    predictor = _predictor(config)
    if config.data is None:
        numbered = [(row, text) for row, text in enumerate(config.texts, 1) if text.strip() or not config.skip_empty]
        rows, texts = [row for row, _ in numbered], [text for _, text in numbered]
    else:
        documents = list(open_corpus(config.data, config))
        rows, texts = [document.row for document in documents], [document.text for document in documents]
    predictions = predictor(texts)
    if config.out is not None:
        write_text(config.out, _table(rows, predictions, list(predictor.classes)))
        print(f"{len(predictions):,} predictions written to {config.out}")
        return
    for row, prediction in zip(rows, predictions):
        print(f"{row}\t{prediction.label}\t{prediction.confidence:.3f}")


def _check_target(out: Path | None, data: Path | None) -> None:
    """Refuse, before any work is done, a place that is no file, and to write over what is read."""
    if out is not None and out.is_dir():
        raise DataError(f"--out {out} is a folder; name a file in it")
    if out is not None and data is not None and out.exists() and data.exists() and out.samefile(data):
        raise DataError(f"--out {out} is the file that is read, and would be lost; name another one")


def _predictor(config: EvaluateConfig | PredictConfig) -> Predictor:
    device = config.device or ("cuda" if torch.cuda.is_available() else "cpu")
    return Predictor.load(model_of(config.model), device, config.dtype)


def _table(rows: list[int], predictions: list[Prediction], classes: list[str]) -> str:
    buffer = io.StringIO(newline="")
    table = csv.writer(buffer, lineterminator="\n")
    table.writerow(["row", "label", *classes])
    for row, prediction in zip(rows, predictions):
        table.writerow([row, prediction.label, *(f"{prediction.probabilities[name]:.6f}" for name in classes)])
    return buffer.getvalue()


def generate(config: GenerateConfig) -> None:
    """Write texts that continue the prompt, one below the other; of a pair the model that reads forward writes."""
    model, artifact = load_language_model(model_folders(resolve(model_of(config.model, language=True)))[0])
    try:
        texts = generate_texts(
            model,
            artifact.vocab,
            artifact.tokenizer,
            [config.prompt] * config.count,
            config.tokens,
            temperature=config.temperature,
            top_k=config.top_k,
            top_p=config.top_p,
            seed=config.seed,
            backward=artifact.backward,
            dtype=config.dtype,
        )
    except ValueError as error:
        raise DataError(str(error)) from error
    print("\n\n".join(texts))


def show(config: ShowConfig) -> None:
    """Print what a folder, or the pretrained model of a name, holds, and draw it; of a pair both models."""
    if config.plot is not None:
        pictures.check_target(config.plot)
    folders = model_folders(resolve(config.folder))
    drawn = []
    for folder in folders:
        if len(folders) > 1:
            print(f"{folder.name}:")
        drawn += _show(replace(config, folder=folder))
    if config.plot is not None:
        files = pictures.write(drawn, config.plot)
        to = sys.stderr if config.json else sys.stdout  # the JSON shall stay readable
        print(f"\ndrawn: {', '.join(map(str, files))}", file=to)


def _show(config: ShowConfig) -> list[pictures.Picture]:
    """Print what one folder holds, and return the pictures of it if there shall be any."""
    folder = config.folder
    if (config.others or config.json) and not _is_store(folder):
        raise DataError(f"{folder}: no token store; only those are compared with others or shown as JSON")
    if (folder / "config.json").is_file():
        text, draw = _describe_model(folder), pictures.of_model
    elif (folder / RUN).is_file():
        text, draw = _describe_run(folder), pictures.of_run
    elif states := checkpoints(folder):
        text = "\n".join(["training states, oldest first:", *(f"  {state.name}" for state in states)])
        draw = pictures.of_states
    elif _is_store(folder):
        text, draw = _describe_store(config), pictures.of_store
    else:
        what = "holds no model, run, token store or training state" if folder.is_dir() else "is no folder"
        raise DataError(f"{folder} {what}")
    drawn = [] if config.plot is None else [each for place in (folder, *config.others) for each in draw(place)]
    print(text)
    return drawn


def _is_store(folder: Path) -> bool:
    return (folder / "meta.json").is_file()


def _describe_store(config: ShowConfig) -> str:
    store = TokenStore.open(config.folder)
    described = card(store, {str(path): TokenStore.open(path) for path in config.others})
    return json.dumps(described.to_dict(), indent=1, ensure_ascii=False) if config.json else str(described)


def _describe_model(folder: Path) -> str:
    artifact = load_artifact(folder)
    kind = "classifier" if isinstance(artifact.model, TextClassifier) else "language model"
    n_weights = sum(parameter.numel() for parameter in artifact.model.parameters())
    lines = [
        f"{kind}{', backward' if artifact.backward else ''}: {n_weights:,} weights",
        f"vocabulary: {len(artifact.vocab):,} tokens",
        f"tokenizer: {artifact.tokenizer}",
        f"encoder: {artifact.model.encoder.config}",
    ]
    if artifact.classes:
        lines.append(f"classes: {', '.join(artifact.classes)}")
    return "\n".join(lines)


def _describe_run(folder: Path) -> str:
    card = read_json(folder / RUN, "the card of a run")
    models = [model for place in sorted(folder.glob("*/")) for model in model_folders(place)]
    parts = [json.dumps(card, indent=1, ensure_ascii=False)]
    for model in models:
        if (model / "config.json").is_file():
            parts.append(f"\n{model.relative_to(folder)}\n{_describe_model(model)}")
    return "\n".join(parts)
