"""A real corpus that needs no download: the docstrings of the libraries that every installation has.

The task is to tell from which library a docstring comes. The sources are read, never imported, so nothing of the
libraries runs. The name of a library is masked in its own texts, because it would give the answer away; the names
of the other libraries stay.
"""

from __future__ import annotations

import ast
import gc
import importlib.metadata
import importlib.util
import inspect
import json
import os
import platform
import re
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from textxfer.files import write_json
from textxfer.text.document import DataError, Document
from textxfer.text.files import fingerprint

MASK = "thislib"
STDLIB = "stdlib"
LIBRARIES = ("numpy", "pandas", "torch", "matplotlib", "spacy", STDLIB)
MIN_WORDS = 12
MAX_WORDS = 2_000

_ALIASES = {"numpy": ("np",), "pandas": ("pd",), "matplotlib": ("plt", "mpl", "mpl_toolkits")}
# Tests say little in their docstrings; vendored code, site-packages and wheels are not the library's own text.
_SKIPPED_FOLDERS = frozenset(
    {"test", "tests", "testing", "idlelib", "lib2to3", "ensurepip", "_vendor", "_vendored"}
    | {"site-packages", "dist-packages", "__pycache__"}
)
_FORMAT = 1  # part of the cache's key: to be raised when the extraction changes


@dataclass(frozen=True)
class DocstringCorpus:
    """Docstrings as documents, labelled by library.

    Attributes:
        documents: In the order library, path, line; `row` counts them from 1.
        versions: Version of each library. Counts and scores are comparable between equal versions only.
    """

    documents: list[Document]
    versions: dict[str, str]

    def __len__(self) -> int:
        """Return the number of documents."""
        return len(self.documents)

    def __iter__(self) -> Iterator[Document]:
        """Iterate over the documents."""
        return iter(self.documents)

    def counts(self) -> dict[str, int]:
        """Return the number of documents of each label."""
        return dict(Counter(str(document.label) for document in self.documents))


def docstrings(cache: Path | str | None = None) -> DocstringCorpus:
    """Build the corpus from numpy, pandas, torch, matplotlib, spacy and the standard library as installed.

    Takes ten to twenty seconds on one core; under a second from the cache.

    Args:
        cache: Folder in which the corpus is kept, under a name that depends on the versions of the libraries.

    Returns:
        The documents and the versions of the libraries.

    Raises:
        DataError: A library is not installed, or the cached file is damaged.
    """
    versions = {name: _version(name) for name in LIBRARIES}
    if cache is None:
        return DocstringCorpus(collect_docstrings(_installed()), versions)
    key = fingerprint([_FORMAT, MIN_WORDS, MAX_WORDS, versions])
    path = Path(cache) / f"docstrings-{key[:16]}.json"
    if not path.is_file():
        documents = collect_docstrings(_installed())
        write_json(path, [[document.label, document.text] for document in documents])
    return DocstringCorpus(_read_cache(path), versions)


def collect_docstrings(
    sources: Mapping[str, Path], *, min_words: int = MIN_WORDS, max_words: int = MAX_WORDS
) -> list[Document]:
    """Extract, clean and label the docstrings of Python source folders.

    Taken are the docstrings of modules, classes and functions, and the texts given to `add_newdoc`, by which NumPy
    documents what is written in C. Files that are not valid Python are skipped. Of equal texts (white space apart)
    of one library the first is kept; a text that occurs in two libraries has no right label and is left out.

    Args:
        sources: Folder of the sources for each label. The label is masked in its own texts.
        min_words: Shorter texts are left out; white-space words, counted after masking.
        max_words: Longer texts are cut off here.

    Returns:
        The documents, library by library in the order of `sources`; `row` counts them from 1.

    Raises:
        DataError: A folder does not exist.
        ValueError: Not 1 <= `min_words` <= `max_words`.
    """
    if not 1 <= min_words <= max_words:
        raise ValueError(f"need 1 <= min_words <= max_words, not {min_words} and {max_words}")
    with _no_cycle_collection():
        found = [
            Document(text, label)
            for label, folder in sources.items()
            for text in _texts(folder, label, min_words, max_words)
        ]
    first: dict[str, Document] = {}
    ambiguous: set[str] = set()
    for document in found:
        key = " ".join(document.text.split())
        if first.setdefault(key, document).label != document.label:
            ambiguous.add(key)
    kept = [document for key, document in first.items() if key not in ambiguous]
    return [replace(document, row=row) for row, document in enumerate(kept, 1)]


def _texts(folder: Path, label: str, min_words: int, max_words: int) -> Iterator[str]:
    """Yield the cleaned and masked texts of one library that are long enough."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; it should hold the sources of {label}")
    mask = _mask(label)
    for path in _python_files(folder):
        for raw in _docstrings_of(path):
            words = list(re.finditer(r"\S+", text := mask.sub(MASK, _clean(raw))))
            if len(words) >= min_words:
                yield text[: words[min(len(words), max_words) - 1].end()]


def _mask(label: str) -> re.Pattern[str]:
    """Match every word that holds the library's name, and its usual abbreviations."""
    names = [rf"\w*{re.escape(label)}\w*", *(rf"\b{alias}\b" for alias in _ALIASES.get(label, ()))]
    return re.compile("|".join(names), re.IGNORECASE)


def _clean(raw: str) -> str:
    """Remove indentation, and the two things that no text file can hold: NUL and unpaired surrogates."""
    return inspect.cleandoc(raw).replace("\0", " ").encode("utf-8", "replace").decode("utf-8")


def _python_files(folder: Path) -> list[Path]:
    """Return the source files below a folder, tests and vendored code apart, sorted by path."""
    files: list[Path] = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in _SKIPPED_FOLDERS and not name.startswith("test_")]
        files += [Path(parent, name) for name in names if name.endswith(".py") and not name.startswith("test_")]
    return sorted(files, key=lambda path: path.relative_to(folder).as_posix())


def _docstrings_of(path: Path) -> list[str]:
    """Return the docstrings of one file by line; none if it is not valid Python (templates, other versions)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's sources
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError):
        return []
    return [text for node in _statements(tree) if (text := _docstring(node))]


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield a module and its statements at all depths in source order, without descending into expressions."""
    yield node
    for name in ("body", "handlers", "orelse", "finalbody", "cases"):
        for child in getattr(node, name, ()):
            yield from _statements(child)


def _docstring(node: ast.AST) -> str | None:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return ast.get_docstring(node, clean=False)
    match node:
        case ast.Expr(value=ast.Call(func=ast.Name(id="add_newdoc"), args=[_, _, ast.Constant(value=str(text))])):
            return text
        case ast.Expr(
            value=ast.Call(
                func=ast.Name(id="add_newdoc"), args=[_, _, ast.Tuple(elts=[_, ast.Constant(value=str(text))])]
            )
        ):
            return text
    return None


@contextmanager
def _no_cycle_collection() -> Iterator[None]:
    """Suspend the search for reference cycles: syntax trees have none, and it takes a third of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _installed() -> dict[str, Path]:
    return {name: _folder(name) for name in LIBRARIES}


def _folder(name: str) -> Path:
    if name == STDLIB:
        return Path(sysconfig.get_path("stdlib"))
    spec = importlib.util.find_spec(name)  # finds a top-level package without importing it
    if spec is None or not spec.submodule_search_locations:
        raise DataError(f"{name} is not installed, and the docstring corpus needs its sources: pip install {name}")
    return Path(spec.submodule_search_locations[0])


def _version(name: str) -> str:
    if name == STDLIB:
        return platform.python_version()
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        raise DataError(f"{name} is not installed, and the docstring corpus needs it: pip install {name}") from None


def _read_cache(path: Path) -> list[Document]:
    try:
        pairs = json.loads(path.read_text(encoding="utf-8"))
        return [Document(text, label, row) for row, (label, text) in enumerate(pairs, 1)]
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: not the cached docstrings ({error}); delete the file to build it again") from None
