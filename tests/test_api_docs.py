"""Every public name is documented in full: parameters, result, errors, shapes and, where there is one, the source.

Public are the names in `__all__` of the packages, the functions and classes of the modules below, and the methods and
properties of public classes. The rules are in `docstring_rules`.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import textxfer
from tests.docstring_rules import SOURCES, Item, members, ours, problems
from textxfer.training import Callback

PACKAGES = ("", "training", "callbacks", "models", "kernels", "text", "pretrained", "importing", "datasets")
MODULES = (
    *("ulmfit", "learners", "presets", "recipe", "variants", "task", "artifact", "directions", "predict", "generation"),
    *("evaluate", "plots", "batch", "testing", "weights", "files"),
)


def package(path: str) -> ModuleType:
    return importlib.import_module(f"textxfer.{path}".rstrip("."))


def subject(value: Any) -> Any:
    """Return whose docstring explains a value: its own if it is a function or class, else its class's."""
    value = inspect.unwrap(value)  # what is behind a cache
    return value if inspect.isfunction(value) or isinstance(value, type) else type(value)


def public() -> dict[str, Item]:
    """Return all public functions, classes and their members by where they are defined."""
    found: dict[str, Item] = {}
    for path in (*PACKAGES, *MODULES):
        module = package(path)
        for name in module.__all__ if path in PACKAGES else vars(module):
            value = subject(getattr(module, name))
            if ours(value) and (path in PACKAGES or (name[0] != "_" and value.__module__ == module.__name__)):
                found.update((item.path, item) for item in [Item(value), *members(value)])
    return found


def constants() -> Iterator[str]:
    """Yield the exported names that are no functions or classes."""
    for path in PACKAGES:
        module = package(path)
        yield from (name for name in module.__all__ if not ours(subject(getattr(module, name))))


def documented_assignments(source: str) -> Iterator[str]:
    """Yield the names that a module assigns, with a docstring under the assignment."""
    body = ast.parse(source).body
    for node, after in pairwise(body):
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(after, ast.Expr):
            yield ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target)


PUBLIC = public()


@pytest.mark.parametrize("path", PUBLIC)
def test_is_documented(path: str) -> None:
    assert problems(PUBLIC[path]) == []


Make = Callable[[str], ModuleType]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Return what makes a module of its source; `inspect` wants a file."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "made_up", raising=False)

    def write(source: str) -> ModuleType:
        (tmp_path / "made_up.py").write_text(f"from __future__ import annotations\n\n{source}", encoding="utf-8")
        return importlib.import_module("made_up")

    return write


def test_every_exported_name_is_looked_at() -> None:
    exported = {name: getattr(package(path), name) for path in PACKAGES for name in package(path).__all__}
    looked_at = {item.value for item in PUBLIC.values()}
    assert {name for name, value in exported.items() if subject(value) not in looked_at} == set(constants())
    assert {item.function.__name__ for item in PUBLIC.values()} >= SOURCES.keys()
    assert {"textxfer.ulmfit.save", "textxfer.training.learner.Learner.fit"} <= PUBLIC.keys()


def test_exported_constants_are_documented() -> None:
    folder = Path(str(textxfer.__file__)).parent
    documented = {name for path in folder.rglob("*.py") for name in documented_assignments(path.read_text("utf-8"))}
    assert {"BOS", "State", "KNOWN"} <= set(constants()) <= documented
    assert list(documented_assignments('A = 1\nB: int = 2\n"What B is."\n')) == ["B"]


def test_the_learner_of_events_is_explained_once() -> None:
    assert "`learn`" in str(Callback.__doc__)


@pytest.mark.parametrize(
    ("doc", "signature", "body", "expected"),
    [
        ("", "()", "...", ["no docstring"]),
        ("Make a thing", "()", "...", ["the summary is no sentence"]),
        ("Make it.", "(a, b)", "...", ["Args: a is missing", "Args: b is missing"]),
        ("Make it.\n\nArgs:\n    a: Its size.", "(a, *b)", "...", ["Args: b is missing"]),
        ("Make it.\n\nArgs:\n    a:", "(a)", "...", ["Args: a is missing"]),
        ("Make it.\n\nArgs:\n    a: Its size.\n    c: Its colour.", "(a)", "...", ["Args: there is no c"]),
        ("Make it.", "()", "if 1:\n        raise KeyError('a')", ["Raises: KeyError is missing"]),
        ("Make it.\n\nRaises:\n    OSError: It broke.", "()", "raise os.OSError from None", []),
        ("Make it.", "()", "def inner(): raise KeyError\n    raise", []),
        ("Make it.", "() -> int", "return 1", ["Returns: is missing"]),
        ("Return it.", "() -> int", "return 1", []),
        ("Return it (see Smith 2018, section 3).", "() -> Tensor", "...", ["the shape is missing"]),
        ("Return it, a scalar.", "() -> Tensor", "...", []),
        ("Return it, (..., 4H).", "() -> tuple[Tensor, int]", "...", []),
        ("Return them by name.", "() -> dict[str, Tensor]", "...", []),
        ("Do it.\n\nArgs and Raises: as `other`.", "(size)", "raise ValueError", []),
        ("Do it.\n\nArgs: as `other`.", "(size)", "raise ValueError", ["Raises: ValueError is missing"]),
    ],
)
def test_each_rule_can_fail(doc: str, signature: str, body: str, expected: list[str], make: Make) -> None:
    other = 'def other(size):\n    """Do it.\n\nArgs:\n    size: In m.\n\nRaises:\n    ValueError: Why.\n"""'
    module = make(f'{other}\n\ndef thing{signature}:\n    """{doc}"""\n    {body}\n')
    assert problems(Item(module.thing)) == expected


CLASSES = '''
from dataclasses import dataclass
from textxfer.training import Callback

@dataclass
class SlantedTriangular:
    """A schedule."""
    cut: float
    def __post_init__(self):
        raise ValueError

class Base:
    """Of a base."""
    def told(self, a):
        """Do it.

        Args:
            a: How often.
        """
    @property
    def shape(self) -> Tensor:
        """Its shape: large."""

class Child(Base):
    """Of a size."""
    def __init__(self, size):
        """Keep it."""
    def told(self, a):
        """Do it otherwise."""
    def untold(self, a):
        """Do it."""

class Event(Callback):
    """What happens."""
    def after_loss(self, learn):
        """Do it."""
    def extra(self, learn):
        """Do it."""
'''


def test_each_rule_can_fail_on_a_class(make: Make) -> None:
    classes = [getattr(make(CLASSES), name) for name in ("SlantedTriangular", "Child", "Event")]
    items = [item for cls in classes for item in (Item(cls), *members(cls))]
    found = {item.path.removeprefix("made_up."): problems(item) for item in items if item.path.startswith("made_up.")}
    assert found.pop("SlantedTriangular") == [
        "Args: cut is missing",
        "Raises: ValueError is missing",
        "the source is missing: Howard & Ruder 2018",
    ]
    assert found == {
        "Child": ["Args: size is missing"],
        "Child.told": [],
        "Child.untold": ["Args: a is missing"],
        "Base.told": [],
        "Base.shape": [
            "a colon: Sphinx takes what stands before it in a property for its type",
            "the shape is missing",
        ],
        "Event": [],
        "Event.after_loss": [],
        "Event.extra": ["Args: learn is missing"],
    }
