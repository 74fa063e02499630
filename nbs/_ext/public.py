"""What is public: the documented modules, the names of each, and the one place where a name is documented.

Needs no Sphinx, so that the tests can ask it too.
"""

from __future__ import annotations

import ast
import inspect
import sys
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, get_type_hints

MODULES = (
    "textxfer.training",
    "textxfer.training.figures",
    "textxfer.callbacks",
    "textxfer.models",
    "textxfer.kernels",
    "textxfer.text",
    "textxfer.batch",
    "textxfer.weights",
    "textxfer.artifact",
    "textxfer.recipe",
    "textxfer.presets",
    "textxfer.variants",
    "textxfer.task",
    "textxfer.ulmfit",
    "textxfer.sizing",
    "textxfer.predict",
    "textxfer.directions",
    "textxfer.generation",
    "textxfer.evaluate",
    "textxfer.plots",
    "textxfer.pretrained",
    "textxfer.importing",
    "textxfer.datasets",
    "textxfer.testing",
    "textxfer.distributed",
    "textxfer.files",
)
"""The documented modules, low layers first: a name that several export is documented in the first of them.

`textxfer` itself is documented too; its names belong to these modules.
"""


@dataclass(frozen=True)
class Name:
    """A public name and its one place.

    Attributes:
        module: The module on whose page it is.
        name: Its name there.
        value: What it stands for.
        doc: The string below its assignment, if it is a value.
    """

    module: str
    name: str
    value: Any
    doc: str

    @property
    def path(self) -> str:
        """The dotted path under which it is documented."""
        return f"{self.module}.{self.name}"

    @property
    def kind(self) -> str:
        """What it is: class, exception, function, or data for every other value, type aliases among them."""
        if isinstance(self.value, type):
            return "exception" if issubclass(self.value, BaseException) else "class"
        return "function" if inspect.isroutine(self.value) else "data"


@cache
def exported(module: str) -> tuple[str, ...]:
    """Return the public names of a module: its `__all__`, or what it defines without an underscore."""
    loaded = import_module(module)
    if hasattr(loaded, "__all__"):
        return tuple(loaded.__all__)
    defined = [
        name
        for name, value in vars(loaded).items()
        if getattr(value, "__module__", None) == module and (inspect.isroutine(value) or isinstance(value, type))
    ]
    return tuple(name for name in [*defined, *_assigned(module)] if not name.startswith("_"))


@cache
def names() -> dict[tuple[str, str], Name]:
    """Return the public names of all modules by module and name: each leads to its one place."""
    found: dict[tuple[str, str], Name] = {}
    places: dict[object, Name] = {}
    for module in (*MODULES, "textxfer"):
        for name in exported(module):
            value = getattr(import_module(module), name)
            home = Name(module, name, value, _assigned(module).get(name, ""))
            key = _identity(home)
            found[module, name] = places.setdefault(key, home)
    return found


def documented(module: str) -> list[Name]:
    """Return the names whose place is the page of this module, in alphabetical order."""
    own = {place.name: place for (_, _), place in names().items() if place.module == module}
    return [own[name] for name in sorted(own, key=str.lower)]


@cache
def aliases() -> dict[str, str]:
    """Return every dotted path of this package that leads to a public name, with the path of its place."""
    found: dict[str, str] = {}
    for (module, name), place in names().items():
        found[f"{module}.{name}"] = place.path
        if place.kind != "data":
            found[f"{place.value.__module__}.{place.value.__qualname__}"] = place.path
    by_value = {_identity(place): place.path for place in names().values()}
    for module, loaded in list(sys.modules.items()):
        if module.partition(".")[0] == "textxfer":
            for name, value in list(vars(loaded).items()):
                path = by_value.get(_identity(Name(module, name, value, "")))
                if path is not None:
                    found.setdefault(f"{module}.{name}", path)
    return found


def evaluate_hints() -> None:
    """Make values of the type hints, which are strings: autodoc does it itself, but not for constructors.

    What the modules import for type checkers only is imported first.
    """
    for module in MODULES:
        import_module(module)
    for name, loaded in list(sys.modules.items()):
        if name.partition(".")[0] == "textxfer" and getattr(loaded, "__file__", None):
            for node in ast.parse(inspect.getsource(loaded)).body:
                if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                    exec(compile(ast.Module(node.body, []), name, "exec"), vars(loaded))
    classes = {cls for place in names().values() if place.kind == "class" for cls in place.value.__mro__}
    for cls in classes:
        if cls.__module__.partition(".")[0] == "textxfer":
            for method in (vars(cls).get("__init__"), vars(cls).get("__new__")):
                if inspect.isfunction(method):
                    scope = vars(sys.modules[cls.__module__])
                    method.__annotations__ = get_type_hints(method, scope, include_extras=True)


def _identity(name: Name) -> object:
    """Return what tells two names apart: the object; of a value, its name and what it is equal to."""
    return (name.name, repr(name.value)) if name.kind == "data" else id(name.value)


@cache
def _assigned(module: str) -> dict[str, str]:
    """Return the names that a module assigns at its top, each with the string below it."""
    found: dict[str, str] = {}
    body = ast.parse(inspect.getsource(import_module(module))).body
    for node, after in zip(body, [*body[1:], None]):
        for target in _targets(node):
            for each in target.elts if isinstance(target, ast.Tuple) else [target]:
                if isinstance(each, ast.Name) and not each.id.startswith("_"):
                    found[each.id] = _string(after)
    return found


def _targets(node: ast.stmt) -> list[ast.expr]:
    if isinstance(node, ast.AnnAssign) and node.value is not None:
        return [node.target]
    return node.targets if isinstance(node, ast.Assign) else []


def _string(node: ast.stmt | None) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return inspect.cleandoc(node.value.value)
    return ""
