"""Copying many stretches of a long array at once."""

from __future__ import annotations

import numpy as np

_BLOCK = 4096  # stretches per step: keeps the index arrays in the cache
_LONG = 48  # ids per stretch from which on copying slice by slice is faster than indexing


def gather(
    ids: np.ndarray,
    starts: np.ndarray,
    lengths: np.ndarray,
    *,
    skip: np.ndarray | None = None,
    take: np.ndarray | None = None,
    backward: bool = False,
) -> np.ndarray:
    """Copy stretches of `ids` one behind the other.

    Args:
        ids: All ids.
        starts: Where each stretch begins.
        lengths: How long each is, at least 1.
        skip: How many ids to leave out at the beginning of each stretch; None: none.
        take: How many ids to copy of each behind those left out; None: all.
        backward: Whether to reverse each stretch behind its first id, before any is left out.
    """
    skip = np.zeros_like(lengths) if skip is None else skip
    take = lengths - skip if take is None else take
    out = np.empty(int(take.sum()), ids.dtype)
    if not backward and len(out) >= _LONG * len(take):
        _copy_slices(ids, starts + skip, take, out)
        return out
    position = 0
    for first in range(0, len(starts), _BLOCK):
        begin, length, left, count = (a[first : first + _BLOCK] for a in (starts, lengths, skip, take))
        after = np.cumsum(count)
        within = np.arange(after[-1]) - np.repeat(after - count - left, count)
        if backward:
            within = np.where(within > 0, np.repeat(length, count) - within, 0)
        out[position : position + len(within)] = ids[np.repeat(begin, count) + within]
        position += len(within)
    return out


def _copy_slices(ids: np.ndarray, starts: np.ndarray, counts: np.ndarray, out: np.ndarray) -> None:
    position = 0
    for start, count in zip(starts.tolist(), counts.tolist()):
        out[position : position + count] = ids[start : start + count]
        position += count
