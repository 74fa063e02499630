"""Where the commands of a round write: a folder, one on a small disk that can become full, or one that can be locked."""

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
NOBODY = 65_534
"""The number that Unix systems give to a user without rights."""
_DISK = 64 << 20
_OPEN, _LOCKED = 0o755, 0o555


class Place:
    """A folder for the commands of a round.

    Args:
        base: A folder that is made for it.
        kind: What can happen to it.

    Attributes:
        folder: Where the commands write.
        seen: Where they copy what the checks want to see.
        user: As whom they run; None: as we do.
    """

    def __init__(self, base: Path, kind: Kind) -> None:
        self.base, self.kind = base, kind
        self.folder, self.seen = base / "disk" / "work", base / "seen"
        self.user = NOBODY if kind == "lockable" and os.getuid() == 0 else None
        (base / "disk").mkdir(parents=True)
        if kind == "small disk":
            _mount(base / "disk")
        self.folder.mkdir()
        if self.user is not None:
            for path in (base, self.folder):
                os.chown(path, self.user, self.user)

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
    if os.getuid() == 0 and not _serves_nobody():
        found["lockable"] = "root may write to locked folders, and the user nobody cannot run this Python"
    return found


def _serves_nobody() -> bool:
    """Whether the user without rights can run what the tests run."""
    command = [sys.executable, "-c", "import json, textxfer.files"]
    options = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    try:
        done = subprocess.run(command, env=environment(), cwd=ROOT, capture_output=True, **options)
    except OSError:
        return False
    return done.returncode == 0
