"""What is written down of a named data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from textxfer.text.document import Corpus


@dataclass(frozen=True)
class Remote:
    """A file of a release.

    Attributes:
        name: What it is called on the disk.
        urls: Addresses of it; the next one is tried if one fails.
        size: Its length in bytes, if known.
        sha256: Its checksum, if known.
        splits: Splits that need it; empty: all of them.
        packed: Whether it is an archive.
    """

    name: str
    urls: tuple[str, ...]
    size: int | None = None
    sha256: str | None = None
    splits: tuple[str, ...] = ()
    packed: bool = True


@dataclass(frozen=True)
class Original:
    """A data set as its authors published it.

    Attributes:
        files: What there is to download.
        paths: File or folder of each split, relative to where the archive was unpacked.
        read: Reads one of these.
    """

    files: tuple[Remote, ...]
    paths: Mapping[str, str]
    read: Callable[[Path], Corpus] = field(repr=False)


@dataclass(frozen=True)
class DataSet:
    """What is known of a named data set.

    Attributes:
        title: What its authors call it.
        splits: Files of each split in a local copy with header lines, relative to the data set's folder.
        text: Columns of the text; empty if the files are running text in the manner of WikiText (`= Title =`).
        label: Column of the label.
        unlabelled: Splits whose label column says nothing.
        classes: Names of the classes; empty if there are none.
        documents: Number of documents in each split, as published.
        terms: Licence, or what is known of the terms.
        citation: Whom to cite.
        home: Where to read about it.
        original: The authors' release; None if there is a local copy only.
    """

    title: str
    splits: Mapping[str, tuple[str, ...]]
    text: tuple[str, ...] = ()
    label: str | None = None
    unlabelled: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    documents: Mapping[str, int] = field(default_factory=dict)
    terms: str = ""
    citation: str = ""
    home: str = ""
    original: Original | None = None
