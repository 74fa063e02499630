"""The commands generate and show for models that are called by name, or come in a pair."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from textxfer.cli import use
from textxfer.cli.config import GenerateConfig, ShowConfig
from textxfer.directions import model_folders
from textxfer.pretrained import resolve


def generate(config: GenerateConfig) -> None:
    """Write texts with the model of a folder or name; of a pair the one that reads forward writes."""
    use.generate(replace(config, model=model_folders(resolve(config.model))[0]))


def show(config: ShowConfig) -> None:
    """Print what a folder, or the pretrained model of a name, holds; of a pair both models."""
    folders: list[Path] = model_folders(resolve(config.folder))
    for folder in folders:
        if len(folders) > 1:
            print(f"{folder.name}:")
        use.show(replace(config, folder=folder))
