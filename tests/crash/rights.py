"""Root may write to any folder, whatever its mode says. A process that obeys modes gives that right up; Linux only."""

from __future__ import annotations

import ctypes
import os

_VERSION_3 = 0x20080522
_DROP_FROM_BOUNDS = 24
"""PR_CAPBSET_DROP: without it, root gets all rights back when it starts a program."""
_OVERRIDES = (1, 2)
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH."""


def obey_modes() -> None:
    """Give up the right to pass over the modes of files and folders, for this process and what it starts.

    Raises:
        OSError: The system does not know how.
    """
    if os.getuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "capset"):
        raise OSError("this system has no capset")
    for number in _OVERRIDES:
        _done(libc.prctl(_DROP_FROM_BOUNDS, number, 0, 0, 0))
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice, for numbers from 32 on
    _done(libc.capget(header, sets))
    keep = ~sum(1 << number for number in _OVERRIDES) & 0xFFFFFFFF
    for place in range(3):
        sets[place] &= keep
    _done(libc.capset(header, sets))


def _done(code: int) -> None:
    if code:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
