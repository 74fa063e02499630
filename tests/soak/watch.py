"""What a process holds: memory, Python objects, tensors, open files, threads, temporary files. Linux only."""

from __future__ import annotations

import gc
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import median

import torch

_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_EDGE = 5
"""The samples at the beginning that are compared with as many at the end: at least so many, else a fifth of all."""


@dataclass(frozen=True)
class Sample:
    """What was held after a round.

    Attributes:
        fits: Fits that were done.
        predictions: Texts that were classified.
        seconds: Time since the beginning.
        rss: Memory of the process, bytes.
        objects: Python objects that the garbage collector knows.
        tensors: Tensors among them.
        files: Open file descriptors.
        threads: Threads, those of the C libraries too.
        temporary: Temporary files, and half-written ones that were to be renamed.
    """

    fits: int
    predictions: int
    seconds: float
    rss: int
    objects: int
    tensors: int
    files: int
    threads: int
    temporary: int


COUNTS = ("objects", "tensors", "files", "threads", "temporary")


def sample(fits: int, predictions: int, seconds: float, temporary: Path) -> Sample:
    """Count what the process holds now.

    Args:
        fits: Fits done.
        predictions: Texts classified.
        seconds: Time since the beginning.
        temporary: The folder of temporary files.
    """
    gc.collect()
    objects = gc.get_objects()
    tensors = sum(issubclass(type(each), torch.Tensor) for each in objects)
    return Sample(
        fits,
        predictions,
        round(seconds, 2),
        memory(),
        len(objects),
        tensors,
        len(os.listdir("/proc/self/fd")) - 1,  # noqa: PTH208  less the descriptor by which the folder is read
        len(os.listdir("/proc/self/task")),  # noqa: PTH208
        sum(1 for _ in temporary.rglob("*")),
    )


def memory() -> int:
    """Return the resident memory of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


def growth(samples: Sequence[Sample]) -> dict[str, float]:
    """Compare the end with the beginning: by how much the median of each figure has grown, as a share.

    Args:
        samples: Those after the warm-up.

    Returns:
        The shares by the name of the figure; infinite where there was nothing and there is something.
    """
    edge = max(len(samples) // 5, min(_EDGE, len(samples) // 2))
    found = {}
    for name in ("rss", *COUNTS):
        values = [getattr(each, name) for each in samples]
        first, last = median(values[:edge]), median(values[-edge:])
        found[name] = last / first - 1 if first else float("inf") if last else 0.0
    return found


def problems(samples: Sequence[Sample], limit: float = 0.02) -> list[str]:
    """Say what a process has kept that it should have let go of; nothing if it is as it should be.

    Args:
        samples: Those after the warm-up.
        limit: By which share memory and the number of objects may grow; of all else nothing may be left.
    """
    found = growth(samples)
    told = []
    for name, share in found.items():
        if share > (limit if name in ("rss", "objects") else 0):
            first, last = (getattr(samples[index], name) for index in (0, -1))
            told.append(f"{name}: {first:,} at first, {last:,} in the end, medians {100 * share:+.2f} %")
    return told


def names() -> list[str]:
    """Return the names of the figures of a sample."""
    return [field.name for field in fields(Sample)]
