"""Keeping freed memory for the next step instead of giving it back to the system.

The C library gives large blocks back as soon as they are freed. A training step on a CPU allocates hundreds of
megabytes, each page of which the system then has to find and clear anew: about a fifth of the time of a step. For the
time of a fit the memory is kept; what a process needs at most does not change.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # mallopt's numbers, from malloc.h
_NEVER = -1
# What the C library's own rules arrive at in a process that uses large blocks: its settings otherwise.
_USUAL = {_MMAP_MAX: 65_536, _MMAP_THRESHOLD: 2**25, _TRIM_THRESHOLD: 2**26}
_lock = threading.Lock()
_users = 0


@contextmanager
def keep_pages(device: torch.device) -> Iterator[None]:
    """Keep freed memory while the context is open; without effect off the CPU and with other C libraries than glibc.

    Args:
        device: Where the work is done.
    """
    libc = _glibc() if device.type == "cpu" else None
    if libc is None:
        yield
        return
    _enter(libc)
    try:
        yield
    finally:
        _leave(libc)


def _enter(libc: Any) -> None:
    global _users
    with _lock:
        _users += 1
        if _users == 1:
            libc.mallopt(_MMAP_MAX, 0)
            libc.mallopt(_TRIM_THRESHOLD, _NEVER)


def _leave(libc: Any) -> None:
    global _users
    with _lock:
        _users -= 1
        if _users == 0:
            for option, value in _USUAL.items():
                libc.mallopt(option, value)
            libc.malloc_trim(0)


@cache
def _glibc() -> Any:
    """Return the C library of this process if it is glibc."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None
