"""A hash of documents, by which a store knows what it was built from."""

from __future__ import annotations

import hashlib

from textxfer.text.document import Document


class SourceHash:
    """SHA-256 over texts, labels and row numbers of documents in their order."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, document: Document) -> None:
        """Add a document."""
        text = document.text.encode("utf-8", "surrogatepass")
        rest = f"{len(text)},{document.row},{document.label!r};".encode("utf-8", "backslashreplace")
        self._hash.update(rest)
        self._hash.update(text)

    def hexdigest(self) -> str:
        """Return the hash of what was added so far."""
        return self._hash.hexdigest()
