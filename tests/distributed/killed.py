"""The command line, of which one process is killed in its first life, at a given batch.

torchrun ... tests/distributed/killed.py RANK BATCH COMMAND ...
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from textxfer import distributed
from textxfer.cli import main
from textxfer.training import loop

rank, batch, *command = sys.argv[1:]
plain, seen = loop.run_batch, [0]


def run_batch(learn: Any, index: int, data: Any, training: bool) -> None:
    plain(learn, index, data, training)
    seen[0] += training
    if seen[0] == int(batch) and os.environ["RANK"] == rank and not distributed.restarts():
        os.kill(os.getpid(), signal.SIGKILL)


loop.run_batch = run_batch
sys.exit(main(command))
