"""What is checked of a token store before it is used: nothing in its files is taken on trust."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from textxfer.text.document import DataError
from textxfer.text.labels import check_class_names
from textxfer.text.rule_sets import PRESETS
from textxfer.text.text_rules import TextRules

AGAIN = "build the store again (TokenStore.build with overwrite=True)"
ARRAYS = {"single": (), "multi": ("label_ids",), "number": ("values",)}
_BLOCK = 1 << 24
_MOST = 1 << 48
"""More tokens or documents than any store has; sums of such numbers do not overflow."""
_MOST_RULE = 1 << 16


def check_rules(rules: TextRules) -> None:
    """Refuse rules with values of other types than ours, which would fail when a text comes."""
    values = rules.to_dict()
    like = PRESETS["fastai" if "kind" in values else "default"].to_dict()
    for name, value in values.items():
        if type(value) is not type(like[name]) or (isinstance(value, int) and value > _MOST_RULE):
            raise ValueError(f"its rules have {value!r:.80} for {name}")


def check_meta(meta: dict[str, Any]) -> None:
    """Refuse values of the wrong type or size.

    Raises:
        KeyError: One is missing.
        ValueError: One is wrong.
    """
    for name in ("documents", "tokens"):
        if type(meta[name]) is not int or not 1 <= meta[name] < _MOST:
            raise ValueError(f"{name} is {meta[name]!r:.80}")
    if not isinstance(meta["label_kind"], str) or meta["label_kind"] not in ARRAYS:
        raise ValueError(f"label_kind is {meta['label_kind']!r:.80}")
    check_class_names(meta["classes"])
    types = meta.get("types")
    if types is not None and (type(types) is not int or not 1 <= types < _MOST):
        raise ValueError(f"types is {types!r:.80}")
    if not isinstance(meta.get("source"), str | None):
        raise ValueError("source is no text")
    noted = (meta["fingerprints"], meta["files"], meta.get("recipe", {}))
    if not all(isinstance(value, dict) for value in noted):
        raise ValueError("fingerprints, files and recipe must be objects")
    if not isinstance(noted[2].get("source", ""), str | None):
        raise ValueError("the source in its recipe is no checksum")


def check_ids(path: Path, ids: np.ndarray, n_tokens: int) -> None:
    """Refuse ids that the vocabulary does not have; reads all of them once."""
    for first in range(0, len(ids), _BLOCK):
        if (largest := int(ids[first : first + _BLOCK].max())) >= n_tokens:
            raise DataError(f"{path}: id {largest} where the vocabulary has {n_tokens:,} tokens; {AGAIN}")


def check_shapes(path: Path, arrays: dict[str, np.ndarray], documents: int) -> None:
    """Refuse arrays of another type or length than the store must have."""
    shapes = {"offsets": (documents + 1,), "label_ids": arrays.get("label_ids", np.empty(0)).shape}
    for name, array in arrays.items():
        dtype, shape = np.dtype(np.float64 if name == "values" else np.int64), shapes.get(name, (documents,))
        if array.dtype != dtype or array.shape != shape:
            raise DataError(f"{path}: {name} is {array.dtype} {array.shape}, expected {dtype} {shape}; {AGAIN}")


def check_values(path: Path, arrays: dict[str, np.ndarray], tokens: int, classes: int) -> None:
    """Refuse offsets and labels that contradict each other or point at nothing."""
    offsets, labels = arrays["offsets"], arrays["labels"]
    # Compared, not subtracted: differences of very large numbers overflow, and look right.
    if offsets[0] != 0 or offsets[-1] != tokens or (offsets[1:] <= offsets[:-1]).any():
        raise DataError(f"{path}: the offsets do not fit the ids; {AGAIN}")
    several = arrays.get("label_ids")
    if labels.min() < -1 or (several is not None and labels.max() > len(several)):
        raise DataError(f"{path}: the labels do not fit their counts; {AGAIN}")
    if several is not None and len(several) != int(labels.clip(min=0).sum()):
        raise DataError(f"{path}: the labels do not fit their counts; {AGAIN}")
    ids = labels[labels >= 0] if several is None else several
    if "values" not in arrays and len(ids) and (ids.min() < 0 or ids.max() >= classes):
        raise DataError(f"{path}: a label without a class; {AGAIN}")
    if "values" in arrays and not np.isfinite(arrays["values"][labels >= 0]).all():
        raise DataError(f"{path}: a label that is no finite number; {AGAIN}")
