"""SIGTERM and Ctrl-C: a training saves its state first, everything else ends at once.

The batch that runs is finished, and a validation that runs too, since states are saved behind them. A second signal
ends the command without waiting; what was saved before is complete all the same.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

_HINT = b"\nending at the next saved state; the same signal again ends at once\n"


class Terminated(BaseException):
    """SIGTERM has ended the command; like KeyboardInterrupt no error, so `except Exception` lets it pass."""


class Signals:
    """What the signals of a command have asked for.

    Attributes:
        saves: Whether a training runs that will look at `asked` and save its state.
        asked: The signal that came while one ran; None if none did.
    """

    def __init__(self) -> None:
        self.saves = False
        self.asked: int | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Take note of a signal, or end the command; the arguments are those that Python gives to a handler."""
        if self.saves and self.asked is None:
            self.asked = number
            os.write(2, _HINT)  # not print(): the signal may have come in the middle of one
        else:
            end(number)


SIGNALS = Signals()


def end(number: int) -> NoReturn:
    """End the command as a signal does.

    Args:
        number: The signal.

    Raises:
        KeyboardInterrupt: It is SIGINT.
        Terminated: It is another one.
    """
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated


@contextmanager
def heeded() -> Iterator[None]:
    """Let SIGTERM and Ctrl-C end what runs in the block in the way of this module.

    Outside of the main thread, which alone may say what signals do, it leaves them alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    SIGNALS.saves, SIGNALS.asked = False, None
    before = {number: signal.signal(number, SIGNALS) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
