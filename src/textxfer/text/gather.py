"""Copying many stretches of a long array at once."""

from __future__ import annotations

import numpy as np

_BLOCK = 4096  # stretches per step: keeps the index arrays in the cache


def gather(ids: np.ndarray, starts: np.ndarray, lengths: np.ndarray, *, backward: bool = False) -> np.ndarray:
    """Copy stretches of `ids` one behind the other.

    Args:
        ids: All ids.
        starts: Where each stretch begins.
        lengths: How long each is, at least 1.
        backward: Whether to reverse each stretch behind its first id.
    """
    out = np.empty(int(lengths.sum()), ids.dtype)
    position = 0
    for first in range(0, len(starts), _BLOCK):
        begin, length = starts[first : first + _BLOCK], lengths[first : first + _BLOCK]
        ends = np.cumsum(length)
        within = np.arange(ends[-1]) - np.repeat(ends - length, length)
        if backward:
            within = np.where(within > 0, np.repeat(length, length) - within, 0)
        out[position : position + len(within)] = ids[np.repeat(begin, length) + within]
        position += len(within)
    return out
