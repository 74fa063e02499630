"""The head of an old classifier as ours: normalization, dropout, linear layer, and the same again.

fastai 2 calls its parts `1.layers.0.0.weight`, fastai 1 `1.layers.0.weight`, the scripts of 2018 `1.layers.0.bn.weight`
and `1.layers.0.lin.weight`. All pool last, maximum and mean in this order, and have a ReLU between the two blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from textxfer.artifact import ArtifactError
from textxfer.models import ClassifierConfig

_OURS = ("norm_pooled", "hidden", "norm_hidden", "output")
_NORM = ("weight", "bias", "running_mean", "running_var")
_ORDER_2018 = {"bn": "0", "lin": "1"}
_SEEN_BATCHES = 10  # from then on our running statistics are torch's
_REMEDY = "take its encoder: learn.save_encoder(name), and import that"


@dataclass(frozen=True)
class Head:
    """A head found in a file.

    Attributes:
        config: Sizes, and the windows of those who made it.
        tensors: Its tensors by our names.
        origin: The names in the file by the names of a classifier's tensors.
    """

    config: ClassifierConfig
    tensors: Mapping[str, Tensor]
    origin: Mapping[str, str]


def head_tensors(path: Path, weights: Mapping[str, Tensor]) -> Head:
    """Find our head in the tensors `1.layers.*` of a file.

    Args:
        path: The file, for messages.
        weights: The tensors by their names.

    Raises:
        ArtifactError: The head has other layers than ours.
    """
    modules = _modules(weights)
    kinds = ["norm" if "running_mean" in parts else "linear" for parts in modules.values()]
    if kinds != ["norm", "linear", "norm", "linear"]:
        raise ArtifactError(
            f"{path}: the classifier's head has the layers {', '.join(kinds)}; only norm, linear, norm, linear can be "
            f"imported; {_REMEDY}"
        )
    origin: dict[str, str] = {}
    for ours, parts in zip(_OURS, modules.values()):
        _check_parts(path, "norm" in ours, parts)
        origin |= {f"{ours}.{part}": name for part, name in parts.items()}
    tensors = {ours: weights[name] for ours, name in origin.items()}
    _fill(tensors)
    if tensors["hidden.weight"].dim() != 2 or tensors["output.weight"].dim() != 2:
        raise ArtifactError(f"{path}: the weights of the classifier's head are no matrices; {_REMEDY}")
    classes, hidden = tensors["output.weight"].shape
    if classes < 2 or hidden < 1:
        raise ArtifactError(f"{path}: the head has {classes} output, so it does not tell classes apart; {_REMEDY}")
    return Head(_config(weights, classes, hidden), tensors, {f"head.{ours}": name for ours, name in origin.items()})


def _modules(weights: Mapping[str, Tensor]) -> dict[tuple[int, ...], dict[str, str]]:
    """Return the parameters of each layer and their names in the file, in the order in which the layers compute."""
    modules: dict[tuple[int, ...], dict[str, str]] = {}
    for name in weights:
        *place, part = name.removeprefix("1.layers.").split(".")
        numbers = [_ORDER_2018.get(step, step) for step in place]
        # What has no number comes last, and is then no layer of ours.
        key = tuple(int(step) if step.isdecimal() and len(step) < 4 else 1000 for step in numbers)
        modules.setdefault(key, {})[part] = name
    return dict(sorted(modules.items()))


def _check_parts(path: Path, norm: bool, parts: Mapping[str, str]) -> None:
    needed = set(_NORM) if norm else {"weight"}
    allowed = needed | ({"num_batches_tracked"} if norm else {"bias"})
    if not needed <= parts.keys() <= allowed:
        found = ", ".join(sorted(parts.values()))
        raise ArtifactError(f"{path}: a layer of the head is of an unknown kind ({found}); {_REMEDY}")


def _fill(tensors: dict[str, Tensor]) -> None:
    """Add what files lack: fastai 2's linear layers have no bias, old normalizations count no batches."""
    for name in ("hidden", "output"):
        tensors.setdefault(f"{name}.bias", tensors[f"{name}.weight"].new_zeros(len(tensors[f"{name}.weight"])))
    for name in ("norm_pooled", "norm_hidden"):
        tensors.setdefault(f"{name}.num_batches_tracked", torch.tensor(_SEEN_BATCHES))


def _config(weights: Mapping[str, Tensor], classes: int, hidden: int) -> ClassifierConfig:
    """Return the sizes, with the windows that fastai 2, or those before it, take unless told otherwise."""
    of_fastai_2 = all(name.split(".")[3].isdecimal() for name in weights)
    bptt = 72 if of_fastai_2 else 70
    return ClassifierConfig(classes, hidden, bptt=bptt, max_tokens=20 * bptt)
