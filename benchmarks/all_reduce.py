"""How long processes take to sum numbers: the messages alone, without a model. `benchmarks.scaling` starts it."""

from __future__ import annotations

import time

import torch

from textxfer.callbacks._peers import join

SIZES = (400, 40_000, 400_000, 4_000_000, 40_000_000, 120_000_000)
"""Bytes of the sums that are measured."""


def measure(sizes: list[int], repeats: int) -> dict[str, list[float]]:
    """Sum float32 numbers over the processes that torchrun has started, the sizes in turn.

    Args:
        sizes: Bytes of each sum.
        repeats: How often; once more before, which does not count.

    Returns:
        Seconds of each repetition by size; nothing in a process that is alone.
    """
    peers = join(torch.device("cpu"), 10.0)
    found: dict[str, list[float]] = {str(size): [] for size in sizes}
    numbers = {size: torch.zeros(size // 4) for size in sizes}
    for _ in range(repeats + 1 if peers is not None else 0):
        for size, tensor in numbers.items():
            if peers is not None:
                peers.gather_ints(0)  # all begin at the same time
                began = time.perf_counter()
                peers.sum_(tensor)
                found[str(size)].append(time.perf_counter() - began)
    return {size: seconds[1:] for size, seconds in found.items()}
