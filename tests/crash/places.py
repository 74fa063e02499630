"""Where the commands of a round write: a folder, one on a disk that can become full, or one that can be locked."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from tests.crash.processes import ROOT, environment

Kind = Literal["plain", "small disk", "lockable"]
_DISK = 64 << 20
_OPEN, _LOCKED = 0o755, 0o555
_TRY = """
import sys
from pathlib import Path
from tests.crash.rights import obey_modes

obey_modes()
folder = Path(sys.argv[1])
folder.chmod(0o555)
try:
    (folder / "a").touch()
except PermissionError:
    sys.exit(0)
sys.exit(1)
"""


class Place:
    """A folder for the commands of a round.

    Args:
        base: A folder for it, which is not there yet.
        kind: What can happen to it.

    Attributes:
        folder: Where the commands write.
        seen: Where they copy what the checks want to see.
    """

    def __init__(self, base: Path, kind: Kind) -> None:
        self.base, self.kind = base, kind
        self.folder, self.seen = base / "disk" / "work", base / "seen"

    def make(self) -> None:
        """Make the folder, and mount its disk."""
        (self.base / "disk").mkdir(parents=True)
        if self.kind == "small disk":
            _mount(self.base / "disk")
        self.folder.mkdir()

    def close(self, *, remove: bool) -> None:
        """Repair it, and remove it if nobody wants to look at it."""
        self.repair()
        if self.kind == "small disk":
            if not remove:
                shutil.copytree(self.folder, self.base / "kept")
            subprocess.run(["umount", str(self.base / "disk")], check=True)
        if remove:
            shutil.rmtree(self.base)

    def fill(self, spare: int) -> None:
        """Fill the disk up to a few bytes."""
        with (self.base / "disk" / "ballast").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            for block in (1 << 20, 1 << 12):
                with contextlib.suppress(OSError):
                    while file.write(bytes(block)) == block:
                        pass
            file.truncate(max(0, file.tell() - spare))

    def lock(self) -> None:
        """Turn all folders read-only; twice, for what comes into being meanwhile."""
        for _ in range(2):
            for folder in _folders(self.folder):
                with contextlib.suppress(FileNotFoundError):
                    folder.chmod(_LOCKED)

    def repair(self) -> None:
        """Make room and allow writing again."""
        (self.base / "disk" / "ballast").unlink(missing_ok=True)
        if self.kind == "lockable":
            for folder in _folders(self.folder):
                folder.chmod(_OPEN)


def _folders(root: Path) -> Iterator[Path]:
    yield root
    for folder, names, _ in os.walk(root):
        yield from (Path(folder) / name for name in names)


def _mount(folder: Path) -> None:
    command = ["mount", "-t", "tmpfs", "-o", f"size={_DISK},mode=755", "tmpfs", str(folder)]
    subprocess.run(command, check=True, capture_output=True)


def missing(folder: Path) -> dict[Kind, str]:
    """Return the kinds of places that cannot be had here, and the reasons.

    Args:
        folder: An empty folder to try in.
    """
    found: dict[Kind, str] = {}
    try:
        _mount(folder)
        subprocess.run(["umount", str(folder)], check=True)
    except (OSError, subprocess.CalledProcessError):
        found["small disk"] = "a small disk cannot be mounted here: that takes root"
    locked = subprocess.run([sys.executable, "-c", _TRY, str(folder)], env=environment(), cwd=ROOT, capture_output=True)
    if locked.returncode:
        found["lockable"] = "root may write to locked folders, and cannot give that right up here"
    return found
