"""Run the notebooks: `make notebooks`. One that has passed is run again when it, the library or torch has changed.

Each runs in a pytest of its own with nbmake, in this folder, from a fresh kernel; the file itself stays as it is. With
`--update` what it shows is written into it, without what differs from run to run.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

from textxfer.files import write_bytes, write_text

NBS = Path(__file__).resolve().parents[1]
ROOT = NBS.parent
STAMPS = ROOT / "build" / "notebooks"
# The project's own options of pytest are for its tests: markers, warnings as errors.
_PYTEST = ("-q", "--nbmake", "-p", "no:cacheprovider", "-o", "addopts=", "-o", "filterwarnings=", "--no-header")
_STRIP = ("--keep-output", "--drop-empty-cells", "--extra-keys", "metadata.language_info.version")
_GRACE = 10  # seconds between asking and killing
_SHOWN = 80  # lines of the output of a failure


def key(notebook: Path, source: Path = ROOT / "src" / "textxfer") -> str:
    """Return a checksum of all that decides whether a notebook passes: it, the library, Python and torch."""
    digest = hashlib.sha256(f"{sys.version} {version('torch')}".encode())
    for path in [notebook, *sorted(source.rglob("*"))]:
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def run(notebook: Path, seconds: float, *, update: bool = False) -> str:
    """Run a notebook; return nothing if it passes, else what there is to say."""
    before = notebook.read_bytes()
    options = [*_PYTEST, f"--nbmake-timeout={max(1, round(seconds))}", *(["--overwrite"] if update else [])]
    problem = _call([sys.executable, "-m", "pytest", *options, str(notebook)], seconds)
    if update and not problem:
        problem = _call([sys.executable, "-m", "nbstripout", *_STRIP, str(notebook)], seconds)
    if problem and notebook.read_bytes() != before:
        write_bytes(notebook, before)
    return problem


def _call(command: Sequence[str], seconds: float) -> str:
    """Run a command; return the end of its output if it fails or takes too long."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd=ROOT
    ) as process:
        late = ""
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            late = f"\nit was stopped after {seconds:g} s; NOTEBOOK_SECONDS=... gives more"
            process.send_signal(signal.SIGINT)  # pytest then ends the kernel as well
            try:
                output, _ = process.communicate(timeout=_GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                output, _ = process.communicate()
    return "\n".join(output.splitlines()[-_SHOWN:]) + late if late or process.returncode else ""


def check(notebook: Path, arguments: argparse.Namespace) -> bool:
    """Run a notebook unless it is known to pass, and print how it went."""
    stamp = arguments.stamps / f"{notebook.stem}.passed"
    wanted = key(notebook)
    if not (arguments.all or arguments.update) and stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        print(f"{notebook.name}: unchanged since it passed", flush=True)
        return True
    start = time.monotonic()
    problem = run(notebook, arguments.seconds, update=arguments.update)
    print(f"{notebook.name}: {'FAILED' if problem else 'passed'} in {time.monotonic() - start:.0f} s", flush=True)
    if problem:
        print(problem, flush=True)
    elif arguments.update:
        write_text(stamp, key(notebook))
    else:
        write_text(stamp, wanted)
    return not problem


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; return 1 if a notebook failed."""
    parser = argparse.ArgumentParser(description="Run the notebooks of nbs/.")
    parser.add_argument("notebooks", nargs="*", type=Path, help="files; by default all in nbs/")
    parser.add_argument("--all", action="store_true", help="run those too that have passed and have not changed")
    parser.add_argument("--update", action="store_true", help="write what they show into them, normalised")
    parser.add_argument("--seconds", type=float, default=180.0, help="most seconds for one notebook")
    parser.add_argument("--jobs", type=int, default=2, help="notebooks at a time, each with one thread")
    parser.add_argument("--stamps", type=Path, default=STAMPS, help="folder that remembers what has passed")
    namespace = parser.parse_args(arguments)
    notebooks = namespace.notebooks or sorted(NBS.glob("*.ipynb"))
    namespace.stamps.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(namespace.jobs) as pool:
        passed = list(pool.map(lambda notebook: check(notebook, namespace), notebooks))
    print(f"{sum(passed)} of {len(passed)} notebooks pass")
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
