"""The unfinished part of a download."""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO

from textxfer.files import sync, write_json


class Part:
    """The bytes that have come so far, in `<target>.part`, and what they belong to, in `<target>.part.json`.

    Args:
        target: The file that the part is to become.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(f"{target.name}.part")
        self._notes = target.with_name(f"{target.name}.part.json")

    @property
    def length(self) -> int:
        """Bytes that are there."""
        return self.path.stat().st_size if self.path.is_file() else 0

    def validator(self, url: str) -> str | None:
        """Return the ETag or date of the version that the bytes are of; None if they cannot be added to.

        Args:
            url: The address that the rest would come from; bytes from another one are of no use to it.
        """
        try:
            notes = json.loads(self._notes.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError, RecursionError):
            return None
        if not isinstance(notes, dict) or notes.get("url") != url:
            return None
        validator = notes.get("validator")
        return validator if isinstance(validator, str) else None

    def begin(self, url: str, validator: str | None) -> None:
        """Start over: drop the bytes, and note what those to come belong to."""
        # In this order, so that a crash never leaves bytes of one version with the notes of another.
        self._notes.unlink(missing_ok=True)
        self.path.write_bytes(b"")
        write_json(self._notes, {"url": url, "validator": validator})

    def append(self) -> IO[bytes]:
        """Open the part to add to it."""
        return self.path.open("ab")

    def finish(self) -> None:
        """Flush the part to the disk and give it its name."""
        sync(self.path)
        self.path.replace(self.target)
        self._notes.unlink(missing_ok=True)
        sync(self.target.parent)

    def remove(self) -> None:
        """Remove the part and its notes."""
        self._notes.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)
