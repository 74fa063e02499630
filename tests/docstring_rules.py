"""What the docstring of a public name must have; see `problems`.

Exempt are special methods but `__call__`, what takes no parameters, and the events of callbacks, which all take
`learn`: `Callback` says what it is. What is said by a method of the same parameters in a base class, or by one that the
docstring names ("Args and Returns: as `other`."), need not be said again.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import Any

from textxfer.training import Callback
from textxfer.training.callback import EVENTS

MADE_UP = "made_up"
"""Name of the module in which tests make names up."""

SECTION = re.compile(r"(Args|Attributes|Returns|Raises|Yields):$")
ENTRY = re.compile(r" {4}(\w+)(?: \([^)]*\))?: +\S")
SAME_AS = re.compile(r"^((?:Args|Returns|Raises)(?: and (?:Returns|Raises))?): as `([\w.]+)`", re.MULTILINE)
RESULT = re.compile(r"(Return|Yield|Whether)\b")
TENSORS = re.compile(r"\b(Tensor|ndarray|EncoderOutput|LMOutput|ClassifierOutput|State|LayerState)\b")
STATE_DICT = re.compile(r"(dict|Mapping)\[str, Tensor\]")  # each tensor has its own shape
SHAPE = re.compile(r"\(\d*[A-Z]\b[^()]*,[^()]*\)|\([^()]*, ?\d*[A-Z]\b[^()]*\)|\bscalar\b")  # (T, B), (V,), (..., 4H)

# Ideas from the literature, and by which names and years it is known.
SOURCES = {
    **dict.fromkeys(["SlantedTriangular", "DiscriminativeLR", "GradualUnfreeze"], "Howard & Ruder 2018"),
    **dict.fromkeys(["TextClassifier", "ClassifierConfig", "AWDLSTMConfig", "Recipe"], "Howard & Ruder 2018"),
    **dict.fromkeys(["PairPredictor", "Bidirectional", "fit_slanted"], "Howard & Ruder 2018"),
    **dict.fromkeys(["AWDLSTM", "WeightDropLSTM", "ActivationReg", "TemporalReg"], "Merity.* 2017"),
    **dict.fromkeys(["WeightAverage", "WindowRate", "LMBatches"], "Merity.* 2018"),
    **dict.fromkeys(["OneCycle", "fit_one_cycle"], "Smith 2018"),
    **{"lr_find": "Smith 2017", "LanguageModel": "Press & Wolf 2017", "WeightDrop": "Wan et al. 2013"},
    **{"ClipGrad": "Pascanu.* 2013", "Cosine": "Loshchilov & Hutter 2017", "MixedPrecision": "Micikevicius.* 2018"},
    **{"Optimizer": "Loshchilov & Hutter 2019", "lstm_reference": "Hochreiter & Schmidhuber 1997"},
}


@dataclass(frozen=True)
class Item:
    """A public function or class, or a member of a public class; `owner` is the class that defines it."""

    value: Any
    owner: type | None = None

    @cached_property
    def function(self) -> Any:
        """The class, or the function without class method, property or decorators around it."""
        value = self.value
        for wrapper in ("__func__", "fget", "func"):  # of class and static methods, properties, cached properties
            value = getattr(value, wrapper, value)
        return inspect.unwrap(value)

    @property
    def path(self) -> str:
        return f"{self.function.__module__}.{self.function.__qualname__}"

    @property
    def is_property(self) -> bool:
        return isinstance(self.value, property | cached_property)

    @property
    def is_event(self) -> bool:
        return self.owner is not None and issubclass(self.owner, Callback) and self.function.__name__ in EVENTS

    @cached_property
    def docs(self) -> list[str]:
        """The docstring and those that complete it."""
        own, name = inspect.cleandoc(self.value.__doc__ or ""), self.function.__name__
        overridden = (cls for cls in (self.owner.__mro__[1:] if self.owner else ()) if name in vars(cls))
        bases = [Item(vars(cls)[name], cls) for cls in overridden]
        docs = [own, *(doc for base in bases if [*base.parameters] == [*self.parameters] for doc in base.docs)]
        for parts, other in SAME_AS.findall(own):
            module = inspect.getmodule(self.function)
            package = sys.modules.get(getattr(module, "__package__", None) or "")
            first = other.partition(".")[0]
            place = next(each for each in (self.owner, module, package) if hasattr(each, first))
            blocks = "\n\n".join(Item(attrgetter(other)(place)).docs).split("\n\n")
            docs += [block for block in blocks if block.partition(":\n")[0] in parts.split(" and ")]
        return [doc for doc in docs if doc]

    @cached_property
    def parameters(self) -> dict[str, str]:
        """Names and annotations of the parameters."""
        if isinstance(self.value, type) and not has_constructor(self.value):
            return {}
        parameters = list(inspect.signature(self.function).parameters.values())
        bound = self.owner is not None and not isinstance(self.value, staticmethod)
        return {each.name: str(each.annotation) for each in parameters[bound:]}

    @cached_property
    def result(self) -> str:
        """Annotation of what is returned; empty where it says nothing."""
        result = "" if isinstance(self.value, type) else str(self.function.__annotations__.get("return"))
        return "" if result in ("None", "NoReturn", "Iterator[None]") else result

    @cached_property
    def raised(self) -> set[str]:
        """Names of the errors that the function itself, or the constructor of the class, raises."""
        bodies = [self.function]
        if isinstance(self.value, type):
            bodies = [vars(self.value).get(name) for name in ("__init__", "__post_init__")]
        # Neither what a dataclass makes nor what `typing` gives to protocols.
        bodies = [
            each for each in bodies if inspect.isfunction(each) and each.__code__.co_filename[0] != "<" and ours(each)
        ]
        trees = [ast.parse(textwrap.dedent(inspect.getsource(body))) for body in bodies]
        return {name for tree in trees for name in raises(tree.body[0])}


def has_constructor(cls: type) -> bool:
    """Whether a class has a constructor of this package, rather than one of Enum, Exception, Protocol or Module."""
    if issubclass(cls, tuple) or getattr(cls, "_is_protocol", False):
        return hasattr(cls, "_fields")
    return any("__init__" in vars(base) for base in cls.__mro__ if ours(base))


def ours(value: Any) -> bool:
    return str(getattr(value, "__module__", "")).startswith(("textxfer.", MADE_UP))


def raises(node: ast.AST) -> Iterator[str]:
    """Yield the errors raised in a body; functions within it answer for themselves."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Raise) and child.exc is not None:
            name = ast.unparse(child.exc.func if isinstance(child.exc, ast.Call) else child.exc).split(".")[-1]
            if name[0].isupper() and name != "NotImplementedError":
                yield name
        if not isinstance(child, ast.FunctionDef | ast.Lambda | ast.ClassDef):
            yield from raises(child)


def sections(doc: str) -> dict[str, set[str]]:
    """Return the sections of a docstring, and the names that have a text in them."""
    found: dict[str, set[str]] = {}
    names: set[str] | None = None
    for line in doc.splitlines():
        if head := SECTION.match(line):
            names = found.setdefault(head[1], set())
        elif line and not line.startswith(" "):
            names = None
        elif names is not None and (entry := ENTRY.match(line)):
            names.add(entry[1])
    return found


def problems(item: Item) -> list[str]:
    """Return what a docstring lacks."""
    if not item.docs:
        return ["no docstring"]
    parts = [sections(doc) for doc in item.docs]
    told = {key: {name for part in parts for name in part.get(key, ())} for key in ("Args", "Attributes", "Raises")}
    described = told["Args"] | (told["Attributes"] if isinstance(item.value, type) else set())
    wanted = {} if item.is_property or item.is_event else item.parameters
    found = [] if re.search(r"[.:]$", item.docs[0].split("\n\n")[0]) else ["the summary is no sentence"]
    if item.is_property and ":" in item.docs[0].split("\n")[0]:
        found.append("a colon: Sphinx takes what stands before it in a property for its type")
    found += [f"Args: {name} is missing" for name in wanted if name not in described]
    found += [f"Args: there is no {name}" for name in sorted(parts[0].get("Args", set()) - item.parameters.keys())]
    found += [f"Raises: {name} is missing" for name in sorted(item.raised - told["Raises"])]
    returns = any(RESULT.match(doc) or re.search("^(Returns|Yields):$", doc, re.MULTILINE) for doc in item.docs)
    if item.result and not item.is_property and not returns:
        found.append("Returns: is missing")
    around = "\n".join([*item.docs, *(getattr(item.owner, "__doc__", None) or "",)])
    if TENSORS.search(STATE_DICT.sub("", " ".join([*wanted.values(), item.result]))) and not SHAPE.search(around):
        found.append("the shape is missing")
    source = SOURCES.get(item.function.__name__)
    if source and not re.search(source, " ".join(item.docs[0].split())):
        found.append(f"the source is missing: {source}")
    return found


def members(cls: Any) -> Iterator[Item]:
    """Yield the methods and properties of a class, those of its bases in this package included."""
    kinds = property | cached_property | classmethod | staticmethod
    for base in filter(ours, cls.__mro__) if isinstance(cls, type) else ():
        for name, value in vars(base).items():
            if (name[0] != "_" or name == "__call__") and (inspect.isfunction(value) or isinstance(value, kinds)):
                yield Item(value, base)
