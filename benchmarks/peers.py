"""What may be missing: peers that are not installed, functions that a version does not have."""

from __future__ import annotations

import importlib
import warnings
from typing import Any


class Skip(Exception):
    """An implementation cannot take part; the message says why."""


def optional(module: str) -> Any:
    """Import a peer's module without its warnings; `Skip` if it is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(module)
        except ImportError as error:
            raise Skip(f"not installed ({error})") from error


def feature(module: str, name: str) -> Any:
    """Return something of an installed package; `Skip` if this version does not have it."""
    found = getattr(importlib.import_module(module), name, None)
    if found is None:
        raise Skip(f"{module} has no {name}")
    return found
