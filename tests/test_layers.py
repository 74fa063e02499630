"""Imports go downwards only, and the heavy libraries are imported where they are needed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "textxfer"

# Which module or sub-package may import which. `training`, `models` and `text` do not know each other.
BASE = frozenset({"batch", "files", "locks", "display", "chance", "names", "non_finite", "_lazy", "upload"})
MIDDLE = BASE | {"kernels", "training", "models", "text"}
JOINED = MIDDLE | {"callbacks", "weights", "artifact", "artifact_check"}
PROGRAMS = frozenset(
    {
        *("recipe", "presets", "task", "ulmfit", "predict", "generation", "plots", "datasets", "evaluate"),
        *("options", "plan", "directions", "sizing", "variants", "learners", "pretrained"),
        *("importing", "distributed"),
    }
)
TOP = frozenset({"__init__", "__main__", "cli", "demo", "testing", "_tiny_training"})
ALLOWED: dict[str, frozenset[str]] = {
    "batch": frozenset(),
    "upload": frozenset(),
    "files": frozenset({"locks", "scratch", "non_finite"}),
    "non_finite": frozenset(),
    "scratch": frozenset({"locks"}),
    "locks": frozenset(),
    "display": frozenset(),
    "chance": frozenset(),
    "_lazy": frozenset(),
    "names": frozenset(),
    "kernels": frozenset({"chance"}),
    "training": BASE,
    "models": BASE | {"kernels"},
    "text": BASE,
    "callbacks": BASE | {"training", "kernels"},
    "weights": {"files"},
    "artifact_check": {"models", "text"},
    "artifact": MIDDLE | {"weights", "artifact_check"},
    **dict.fromkeys(PROGRAMS, JOINED | PROGRAMS),
    **dict.fromkeys(TOP, JOINED | PROGRAMS | TOP),
}
LAZY = {"spacy", "pandas", "matplotlib", "tqdm", "tokenizers", "pyarrow", "zstandard", "datasets"}
FILES = sorted(SOURCE.rglob("*.py"), key=lambda path: path.as_posix())


def unit_of(path: Path) -> str:
    """Name of the top-level module or sub-package that a file belongs to."""
    first = path.relative_to(SOURCE).parts[0]
    return first.removesuffix(".py")


def imported(tree: ast.AST, package: str) -> Iterator[tuple[str, int]]:
    """Yield the dotted names that are imported anywhere in a file, and their lines.

    `package` is the dotted name of the package that the file is in, for relative imports.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            yield from ((f"{base}.{alias.name}", node.lineno) for alias in node.names)


def upward(source: str, unit: str, package: str = "textxfer") -> list[str]:
    """Return the imports of a file that its layer does not allow."""
    wrong = []
    for name, line in imported(ast.parse(source), package):
        root, *rest = name.split(".")
        if root != "textxfer":
            continue
        # `from textxfer import Learner` asks for the package itself, which imports everything.
        target = rest[0] if rest and rest[0] in ALLOWED else "__init__"
        if target != unit and target not in ALLOWED.get(unit, frozenset()):
            wrong.append(f"line {line}: {unit} must not import {name}")
    return wrong


def at_module_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that run on import: all but the bodies of functions and of `if TYPE_CHECKING`."""
    for node in body:
        yield node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if not (isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")):
            yield from at_module_level(getattr(node, "body", []))
        for name in ("orelse", "finalbody"):
            yield from at_module_level(getattr(node, name, []))
        for handler in getattr(node, "handlers", []):
            yield from at_module_level(handler.body)


def eager(source: str, names: set[str]) -> list[str]:
    """Return those of the named libraries that importing the file imports."""
    statements = [
        node for node in at_module_level(ast.parse(source).body) if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    module = ast.Module(body=list(statements), type_ignores=[])
    return [f"line {line}: {name}" for name, line in imported(module, "textxfer") if name.split(".")[0] in names]


def test_every_unit_has_a_layer() -> None:
    units = {unit_of(path) for path in FILES}
    assert units <= ALLOWED.keys(), "give the new module a layer in ALLOWED"
    assert {"batch", "training", "text", "models", "callbacks"} <= units


def test_the_table_has_no_arrow_upwards() -> None:
    order = ["batch", "files", "kernels", "training", "models", "text", "callbacks", "artifact"]
    for low, unit in enumerate(order):
        assert not ALLOWED[unit] & {*order[low:], *PROGRAMS, *TOP}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_imports_go_downwards(path: Path) -> None:
    package = ".".join(("textxfer", *path.relative_to(SOURCE).parts[:-1]))
    assert upward(path.read_text(encoding="utf-8"), unit_of(path), package) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_heavy_libraries_are_imported_in_functions(path: Path) -> None:
    assert eager(path.read_text(encoding="utf-8"), LAZY) == []


@pytest.mark.parametrize(
    "path", [path for path in FILES if unit_of(path) == "text"], ids=lambda path: path.relative_to(SOURCE).as_posix()
)
def test_text_needs_torch_in_its_loaders_only(path: Path) -> None:
    if not path.stem.endswith("_batches"):
        names = [name for name, _ in imported(ast.parse(path.read_text(encoding="utf-8")), "textxfer.text")]
        assert not [name for name in names if name.split(".")[0] == "torch" or name.startswith("textxfer.batch")]


@pytest.mark.parametrize(
    ("unit", "package", "source"),
    [
        ("training", "textxfer.training", "from textxfer.callbacks import ClipGrad"),
        ("training", "textxfer.training", "from ..models import dropout"),
        ("models", "textxfer.models", "import textxfer.training.learner"),
        ("callbacks", "textxfer.callbacks", "def f():\n    from textxfer import models"),
        ("text", "textxfer.text", "from textxfer import Learner"),
        ("artifact", "textxfer", "from textxfer.predict import Predictor"),
        ("datasets", "textxfer.datasets", "from textxfer import cli"),
    ],
)
def test_an_import_upwards_is_found(unit: str, package: str, source: str) -> None:
    assert len(upward(source, unit, package)) == 1


@pytest.mark.parametrize(
    ("unit", "package", "source"),
    [
        ("training", "textxfer.training", "from textxfer.training.callback import Callback\nfrom . import groups"),
        ("callbacks", "textxfer.callbacks", "from textxfer.training import Callback\nimport torch"),
        ("cli", "textxfer", "from textxfer import ulmfit, Learner"),
    ],
)
def test_an_import_downwards_is_not_reported(unit: str, package: str, source: str) -> None:
    assert upward(source, unit, package) == []


def test_an_eager_import_is_found() -> None:
    assert eager("import pandas as pd", LAZY) == ["line 1: pandas"]
    assert eager("try:\n    from spacy import blank\nexcept ImportError:\n    import tqdm", LAZY) == [
        "line 2: spacy.blank",
        "line 4: tqdm",
    ]
    assert eager("class A:\n    import matplotlib.pyplot", LAZY) == ["line 2: matplotlib.pyplot"]
    assert eager("def f():\n    import pandas\nif TYPE_CHECKING:\n    import spacy", LAZY) == []
