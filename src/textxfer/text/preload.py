"""Imported by the process that worker processes are forked from: what tokenizing needs, and no more.

spaCy's library thinc imports torch where it is installed, which costs each worker a second and 150 MB. Tokenizing does
without, so torch is hidden while spaCy is imported; whoever imports torch here later gets it.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import textxfer.text.encode  # noqa: F401


@contextmanager
def _hidden(module: str) -> Iterator[None]:
    if module in sys.modules:
        yield
        return
    cast("dict[str, Any]", sys.modules)[module] = None  # the import system then says that there is none
    try:
        yield
    finally:
        del sys.modules[module]


if importlib.util.find_spec("spacy"):
    with _hidden("torch"):
        importlib.import_module("spacy")
