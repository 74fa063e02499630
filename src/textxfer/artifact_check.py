"""What is checked of a model folder's configuration before a model is made of it."""

from __future__ import annotations

import json
import math
from dataclasses import fields
from pathlib import Path
from typing import Any

from textxfer.models import AWDLSTMConfig, ClassifierConfig
from textxfer.text.labels import check_class_names

_MOST_LAYERS = 100
"""Layers of the deepest model that is read: each of them takes time, before its size is compared with the file."""
_MOST = 1 << 40
_KINDS = ("classifier", "language model")


def is_model_folder(folder: Path) -> bool:
    """Whether a folder is one of ours: its `config.json` says of which kind the model is; others have such files, too.

    Args:
        folder: The folder, which need not exist.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(config, dict) and config.get("kind") in _KINDS


def check_config(config: dict[str, Any]) -> None:
    """Refuse a configuration with values that are missing, of another type or far too large.

    Raises:
        KeyError: One is missing.
        TypeError: One is no object where one is needed.
        ValueError: One is wrong.
    """
    check_class_names(config["classes"])
    if type(config["backward"]) is not bool or not isinstance(config.get("card", {}), dict):
        raise ValueError("backward must be true or false, and card an object")
    _check_types(config["encoder"], AWDLSTMConfig)
    if config["encoder"].get("layers", 1) > _MOST_LAYERS:
        raise ValueError(f"{config['encoder']['layers']:,} layers; at most {_MOST_LAYERS} are read")
    if config.get("kind") == "classifier":
        _check_types(config["classifier"], ClassifierConfig)


def _check_types(values: Any, config: type) -> None:
    """Compare values with the types of a config's fields, which dataclasses do not."""
    if not isinstance(values, dict):
        raise TypeError(f"{config.__name__} needs an object, not a {type(values).__name__}")
    types = {field.name: str(field.type) for field in fields(config)}
    for name in values.keys() & types.keys():
        value = values[name]
        whole = type(value) is int and abs(value) < _MOST
        sound = {
            "int": whole,
            "int | None": whole or value is None,
            "float": whole or (type(value) is float and math.isfinite(value)),
            "bool": type(value) is bool,
        }
        if not sound[types[name]]:
            raise ValueError(f"{name} is {value!r:.80}")
