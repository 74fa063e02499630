"""The command `import`: old weights become a model folder."""

from __future__ import annotations

from textxfer.artifact import save_artifact
from textxfer.cli.config import ImportConfig
from textxfer.importing import import_weights
from textxfer.text import DataError


def import_model(config: ImportConfig) -> None:
    """Write the model folder and print what was found."""
    if config.out.exists() and not config.replace:
        raise DataError(f"{config.out} exists already; name another folder with --out, or pass --replace")
    made = import_weights(
        config.weights,
        config.vocab,
        backward=config.backward,
        rules=config.rules,
        language=config.language,
        classes=config.classes,
    )
    artifact = made.artifact
    save_artifact(config.out, artifact.model, artifact, backward=artifact.backward, card=artifact.card)
    print(f"{made}\nwritten to {config.out}")
