"""What may be missing or fail: peers that are not installed, or raise; functions that a version does not have."""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

OURS = ("textxfer", "model")
"""How the names of our implementations begin."""


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


def reason(name: str, error: Exception) -> str:
    """Say in a line why an implementation cannot take part; an error of ours is a defect, and is raised again."""
    if isinstance(error, Skip):
        return str(error)
    if isinstance(error, torch.OutOfMemoryError):
        return "out of memory"
    if name.startswith(OURS):
        raise error
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


@contextmanager
def checking(name: str, figures: dict[str, dict[str, float]]) -> Iterator[None]:
    """Check an implementation within this: one that raises gets a figure that is not a number, and so is left out.

    `Skip` leaves no figure: it is raised again when the implementation is built, and printed then.
    """
    try:
        yield
    except Skip:
        return
    except Exception as error:
        print(f"{name} cannot be checked: {reason(name, error)}", flush=True)
        figures[name] = {"error": math.nan}
