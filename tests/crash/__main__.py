"""End real `textxfer` processes at random moments, and see that nothing is lost."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.crash.jobs import NAMES
from tests.crash.processes import Server
from tests.crash.rounds import Lab, Round, Tally


def main(arguments: list[str] | None = None) -> int:
    """Run rounds for some minutes; the exit code is 1 if something was lost."""
    options = _options(arguments)
    folder = Path(tempfile.mkdtemp(prefix="textxfer-crash-", dir=options.folder))
    with Server() as server:
        tally = run(folder, server, options)
    print(f"\n{tally}", flush=True)
    for failure in tally.failures:
        print(f"\nFAILED {failure}")
    if tally.failures:
        print(f"\nall of it is in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


def run(folder: Path, server: Server, options: argparse.Namespace) -> Tally:
    """Run rounds until the time is over or there are enough of them; return what happened."""
    until = time.monotonic() + 60 * options.minutes
    lab, tally, number = Lab(folder, server, options.seed, options.commands), Tally(), options.first_round
    print(", ".join(f"{name} {whole.seconds:.1f} s" for name, whole in lab.whole.items()), flush=True)
    for reason in lab.missing.values():
        print(f"left out: {reason}")
    while time.monotonic() < until and tally.ends.total() < options.ends:
        round_ = Round(lab, number, tally, options.true_share)
        round_.run()
        if options.verbose:
            print(f"round {number}, {round_.job.name}, {round_.place.kind}: {'; '.join(round_.told)}", flush=True)
        number += 1
        if number - options.first_round >= options.rounds:
            break
    return tally


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="how long to go on")
    parser.add_argument("--seed", type=int, default=0, help="what inputs and ends are drawn from")
    parser.add_argument("--first-round", type=int, default=0, help="where to begin, to repeat a failure")
    parser.add_argument("--rounds", type=int, default=sys.maxsize, help="most rounds")
    parser.add_argument("--ends", type=int, default=sys.maxsize, help="stop after so many ends")
    parser.add_argument(
        "--commands", nargs="*", default=NAMES, choices=NAMES, help=f"end these only, of {' '.join(NAMES)}"
    )
    parser.add_argument("--true-share", type=float, default=0.08, help="share of the rounds with true command lines")
    parser.add_argument("--folder", type=Path, default=None, help="where to work; else the system's temporary folder")
    parser.add_argument("--verbose", action="store_true", help="print each round")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an end that unmounts what is mounted
    sys.exit(main())
