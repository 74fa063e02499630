"""Reading old weights: files that `torch.save` wrote, in its old format or the new one, whatever they are called."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from textxfer.artifact import ArtifactError
from textxfer.importing.weight_scan import check_container

_SAVE = "save the weights alone where the file was made: learn.save(name, with_opt=False), or save_encoder(name)"


class _Unread:
    """Stands for what fastai's optimizer has in a file beside numbers: read over, never used.

    fastai 2's `learn.save` writes a list type of its own and numpy's numbers next to the weights.
    """

    def __init__(self, *parts: object) -> None:
        """Take anything."""

    def __setstate__(self, state: object) -> None:
        """Take anything."""


_UNREAD: list[Any] = [
    (_Unread, name)
    for name in (
        "fastcore.foundation.L",
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray.scalar",
        "numpy.dtype",
    )
]


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Read the weights in a file, by torch's reader that makes tensors and runs nothing.

    Args:
        path: A file of fastai 2 or 1 (`.pth`), with or without the optimizer, or of the scripts of 2018 (`.h5`).

    Returns:
        The tensors by their names in the file, on the CPU; numbers with fraction in float32.

    Raises:
        FileNotFoundError: There is no such file.
        ArtifactError: The file is damaged, holds other things than tensors, or tensors that are no usable weights.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; give a file of weights")
    value = _load(path)
    if isinstance(value, Mapping) and "model" in value and isinstance(value["model"], Mapping):
        value = value["model"]  # beside it is the optimizer's state
    if not isinstance(value, Mapping) or not value:
        raise ArtifactError(f"{path}: holds a {type(value).__name__}, not weights by name; {_SAVE}")
    return {str(name): _checked(path, str(name), tensor) for name, tensor in value.items()}


def _load(path: Path) -> Any:
    with path.open("rb") as file:
        if file.read(4) == b"\x89HDF":
            raise ArtifactError(f"{path}: an HDF5 file, of Keras perhaps; weights of 2018 are torch files named .h5")
    try:
        check_container(path)
        with torch.serialization.safe_globals(_UNREAD):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a file that somebody made up may raise anything
        refused = re.search(r"GLOBAL ([\w.]+)|unrecognized function (\S+)", str(error))
        if refused:
            name = refused[1] or refused[2]
            raise ArtifactError(f"{path}: refers to {name}, which is no tensor, and was not run; {_SAVE}") from None
        reason = str(error).strip().split("\n")[0][:200] or type(error).__name__
        raise ArtifactError(f"{path}: no torch file of weights, or a damaged one ({reason}); copy it again") from error


def _checked(path: Path, name: str, tensor: object) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise ArtifactError(f"{path}: {name} is a {type(tensor).__name__}, not a tensor; {_SAVE}")
    # A tensor may claim to be far larger than its numbers in the file, and would be so as soon as it is copied.
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu" or _claims_more(tensor):
        raise ArtifactError(f"{path}: {name} is no plain tensor of numbers; {_SAVE}")
    if name.endswith("num_batches_tracked"):
        return tensor.detach()
    if not tensor.is_floating_point():
        raise ArtifactError(f"{path}: {name} has numbers of type {tensor.dtype}, which are no weights")
    tensor = tensor.detach().float()
    if not bool(tensor.isfinite().all()):
        raise ArtifactError(f"{path}: {name} holds numbers that are not finite; the training that made it diverged")
    return tensor


def _claims_more(tensor: Tensor) -> bool:
    return tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes()
