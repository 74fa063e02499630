"""Fuzzing of the readers, guided by what their code does with each input; needs atheris (extra `fuzz`).

    python -m tests.hostile.fuzz READER [READER ...] --minutes M

Without a reader all are fuzzed, each for its share of the time, which is that of the processor. A process of its own
reads; what it does not survive is found in the file `last`. Files that do harm are written to build/fuzz/READER;
mended, they belong to `tests/hostile/cases/READER`, from where a test reads them.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

OUT = Path("build/fuzz")
_INSTRUMENTED = ["textxfer", "tarfile", "zipfile", "gzip", "lzma", "pickletools", "csv", "json"]
_WAIT = 60  # how many times longer a process may take by the clock, and not less than this many minutes


def main() -> int:
    """Fuzz, print a line for each reader, and return 1 if harm was done."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("readers", nargs="*", metavar="READER")
    parser.add_argument("--minutes", type=float, default=10.0, help="of the processor, in all")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        _fuzz(arguments.readers[0], 60 * arguments.minutes)
    if not arguments.readers:
        from tests.hostile.readers import READERS

        arguments.readers = list(READERS)
    share = arguments.minutes / len(arguments.readers)
    reports = [_one(name, share) for name in arguments.readers]
    print(
        f"in all: {sum(r['executions'] for r in reports):,} executions, {sum(len(r['harm']) for r in reports)} harmful"
    )
    return any(report["harm"] for report in reports)


def _one(name: str, minutes: float) -> dict[str, Any]:
    """Fuzz one reader in a process of its own."""
    place = OUT / name
    place.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.hostile.fuzz", "--here", name, "--minutes", str(minutes)]
    report: dict[str, Any] = {"executions": 0, "read": 0, "refused": 0, "seconds": 60 * minutes, "harm": []}
    (place / "report.json").unlink(missing_ok=True)
    with (place / "log.txt").open("w", encoding="utf-8") as log:
        try:
            code = subprocess.run(
                command, stdout=log, stderr=log, timeout=60 * _WAIT * max(minutes, 1), check=False
            ).returncode
        except subprocess.TimeoutExpired:
            code = "a hang"
    if (place / "report.json").is_file():
        report |= json.loads((place / "report.json").read_text(encoding="utf-8"))
    if code:
        report["harm"].append(f"the process ended with {code}; see {place}/log.txt and {place}/last")
    print(
        f"{name}: {report['executions']:,} executions in {report['seconds']:.0f} s, {report['read']:,} read, "
        f"{report['refused']:,} refused, {len(report['harm'])} harmful",
        *report["harm"],
        sep="\n    ",
        flush=True,
    )
    return report


def _fuzz(name: str, seconds: float) -> None:
    """Fuzz in this process until the time is over; does not return."""
    import atheris

    with atheris.instrument_imports(include=_INSTRUMENTED):
        from tests.hostile import readers
    reader = readers.READERS[name]
    memory = Path("/dev/shm")  # new folders are flushed, which takes a disk its time
    folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    run = _Run(reader, folder, OUT / name, time.process_time() + seconds)
    seeds = folder / "seeds"
    seeds.mkdir()
    for number, each in enumerate(reader.names):
        for how in range(4):
            content = reader.sample()[each][:4000] if how == 0 else bytes(8)
            (seeds / f"{number}-{how}").write_bytes(bytes([number, how]) + content)
    options = ["-max_len=4096", "-rss_limit_mb=0", "-handle_alrm=0", "-timeout=0", f"-artifact_prefix={OUT / name}/"]
    atheris.Setup([sys.argv[0], *options, str(seeds)], run)
    atheris.Fuzz()


class _Run:
    """Counts what becomes of each input, and keeps those that do harm, one of each kind."""

    def __init__(self, reader: Any, folder: Path, out: Path, end: float) -> None:
        self.reader, self.folder, self.out, self.end = reader, folder, out, end
        self.began = time.process_time()
        self.report: dict[str, Any] = {"executions": 0, "read": 0, "refused": 0, "harm": []}
        self.kinds: set[str] = set()

    def __call__(self, data: bytes) -> None:
        from tests.hostile.damage import damaged
        from tests.hostile.readers import Harm, attempt

        if time.process_time() > self.end:
            self.finish()
        (self.out / "last").write_bytes(data)
        name, content = damaged(self.reader.sample(), self.reader.names, data)
        self.report["executions"] += 1
        try:
            message = attempt(self.reader, self.folder, name, content)
            self.report["read" if message is None else "refused"] += 1
        except Harm as harm:
            self.keep(harm, name, content)

    def keep(self, harm: AssertionError, name: str, content: bytes) -> None:
        frames = traceback.extract_tb((harm.__cause__ or harm).__traceback__)
        own = [frame for frame in frames if "textxfer" in frame.filename] or frames
        kind = f"{Path(own[-1].filename).stem}-{own[-1].lineno}-{str(harm).split(':')[0]}"
        if kind in self.kinds:
            return
        self.kinds.add(kind)
        target = self.out / f"{re.sub(r'[^A-Za-z0-9-]+', '_', kind)[:80]}@{name}"
        target.write_bytes(content)
        self.report["harm"].append(f"{target.name}: {harm!s:.300}")

    def finish(self) -> None:
        self.report["seconds"] = time.process_time() - self.began
        (self.out / "report.json").write_text(json.dumps(self.report), encoding="utf-8")
        os._exit(0)  # libFuzzer does not come back


if __name__ == "__main__":
    sys.exit(main())
