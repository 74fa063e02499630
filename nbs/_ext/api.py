"""The API pages: `.. public-api:: MODULE` documents every public name of a module, and references find these places.

A name is documented once, in the package that exports it. Type hints name the module that defines a thing, and prose
the shortest way to import it: both lead to that one place. Text in single backticks is a link where it names something
public, and plain code otherwise.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from enum import Enum
from functools import cache
from importlib import import_module
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.roles import XRefRole
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

from nbs._ext import public
from nbs._ext.docstrings import COLON, summary, to_rest, untyped_results, whole
from textxfer.training import Callback
from textxfer.training.callback import EVENTS

_TITLES = {"class": "Classes", "function": "Functions", "exception": "Errors", "data": "Values and types"}
_LONGEST_VALUE = 100


class PublicApi(SphinxDirective):
    """Everything on a module's page: its docstring, an overview, and each name."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Write it as reStructuredText and have that parsed."""
        module = self.arguments[0]
        doc = to_rest(inspect.cleandoc(import_module(module).__doc__ or "").splitlines())
        lines = [f".. py:module:: {module}", "", *doc, ""]
        lines += _shortcuts() if module == "textxfer" else _documented(module)
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


def _documented(module: str) -> Iterator[str]:
    """Write the names whose place is here, and below them those that are documented elsewhere."""
    own = public.documented(module)
    if "| --- |" not in (import_module(module).__doc__ or ""):  # a table by subject says more than one by alphabet
        yield from _overview([name.path for name in own], {name.path: name for name in own})
    for kind, title in _TITLES.items():
        if of_kind := [name for name in own if name.kind == kind]:
            yield from (title, "-" * len(title), "")
            for name in of_kind:
                yield from _data(name) if kind == "data" else _auto(name)
    elsewhere = [name for name in public.exported(module) if public.names()[module, name].module != module]
    if elsewhere:
        links = ", ".join(f":py:obj:`~{public.names()[module, name].path}`" for name in sorted(elsewhere))
        yield from (f"It also exports {links}.", "")


def _shortcuts() -> Iterator[str]:
    """Write the table of the names that `textxfer` itself has."""
    names = {f"textxfer.{name}": public.names()["textxfer", name] for name in public.exported("textxfer")}
    yield from _overview(sorted(names, key=str.lower), names)


def _overview(paths: list[str], names: dict[str, public.Name]) -> Iterator[str]:
    yield from (".. list-table::", "   :widths: 30 70", "   :class: overview", "")
    for path in paths:
        name = names[path]
        text = summary(name.doc if name.kind == "data" else name.value.__doc__)
        yield from (f"   * - :py:obj:`~{name.path}`", f"     - {text}".rstrip())
    yield ""


def _auto(name: public.Name) -> Iterator[str]:
    """Have autodoc write it; the members of an enumeration have no docstrings, and their names say enough."""
    yield f".. auto{name.kind}:: {name.path}"
    if isinstance(name.value, type) and issubclass(name.value, Enum):
        yield "   :undoc-members:"
    yield ""


def _data(name: public.Name) -> Iterator[str]:
    """Write a value or a type; autodoc would show the docstring of the value's class."""
    value = repr(name.value).replace("typing.", "").replace("collections.abc.", "")
    yield f".. py:data:: {name.name}"
    if len(value) <= _LONGEST_VALUE and " at 0x" not in value:
        yield f"   :value: {value}"
    yield from ("", *(f"   {line}".rstrip() for line in to_rest(name.doc.splitlines())), "")


def _before_napoleon(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Convert the Markdown of a docstring; say of a callback what can be read off its class."""
    lines[:] = untyped_results(to_rest(lines))
    if what in ("property", "attribute") and lines:  # napoleon would take what stands before a colon for a type
        lines[0] = lines[0].replace(":", COLON)
    if what == "class" and isinstance(value, type) and issubclass(value, Callback) and value is not Callback:
        lines += ["", *_facts(value)]


def _after_napoleon(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    lines[:] = whole(lines)


def _facts(callback: type[Callback]) -> Iterator[str]:
    events = [event for event in EVENTS if getattr(callback, event) is not getattr(Callback, event)]
    when = "in training only" if callback.train_only else "in training and validation"
    more = "; several of them can be in one fit" if callback.repeatable else ""
    yield f"Acts in phase ``{callback.order.name}``, {when}{more}. Events: {', '.join(f'`{each}`' for each in events)}."


def _source(app: Sphinx, module: str, attribute: str) -> str | None:
    """Tell viewcode in which file the source of a documented thing is; that of a member is where its class is."""
    found = getattr(getattr(import_module(module), attribute.partition(".")[0], None), "__module__", None) or ""
    return found if found.startswith("textxfer.") else module


def _skip(app: Sphinx, what: str, name: str, value: Any, skip: bool, options: Any) -> bool | None:
    """Leave out the fields of named tuples, whose docstrings say that they are field number so and so."""
    return True if type(value).__name__ == "_tuplegetter" else None


@cache
def _places() -> dict[str, str]:
    """Return what short names in prose stand for; a name that two things have stands for neither."""
    found: dict[str, set[str]] = {}
    for name in public.names().values():
        if isinstance(name.value, type) or (name.kind == "function" and "_" in name.name):
            found.setdefault(name.name, set()).add(name.path)
    for event in EVENTS:
        found.setdefault(event, set()).add(f"textxfer.training.Callback.{event}")
    return {short: paths.pop() for short, paths in found.items() if len(paths) == 1}


def _canonical(target: str) -> str | None:
    """Return the place of what a dotted path names, or None."""
    head, tail = target, ""
    while head:
        place = public.aliases().get(head) or _places().get(head)
        if place is not None:
            return place + tail
        head, dot, last = head.rpartition(".")
        tail = f"{dot}{last}{tail}"
    return None


def _resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Node) -> nodes.Node | None:
    """Lead a reference that Sphinx did not find to the place of the name; leave code in backticks as code."""
    if node.get("refdomain") not in ("py", None, ""):
        return None
    target = node["reftarget"]
    objects = env.domains.python_domain.objects
    module = node.get("py:module") or ""
    for path in (target, f"{module}.{target}"):
        place = _canonical(path)
        if place in objects:
            entry = objects[place]
            return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, [content], place)
    # A type hint, which no role wrote, may name what is not public: a type variable, a type that nobody has to write.
    is_hint = "refwarn" not in node and target.startswith("textxfer.")
    return content if node["reftype"] == "code" or is_hint else None


class _Code(XRefRole):
    """Text in single backticks: a link where it names something public, else code."""

    def __init__(self) -> None:
        super().__init__(innernodeclass=nodes.literal)

    def process_link(
        self, env: BuildEnvironment, refnode: nodes.Element, has_explicit_title: bool, title: str, target: str
    ) -> tuple[str, str]:
        """Drop the parentheses of a call."""
        refnode["py:module"] = env.ref_context.get("py:module")
        return title, target.removesuffix("()")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register all of it."""
    app.add_directive("public-api", PublicApi)
    app.add_role("code", _Code(), override=True)
    public.evaluate_hints()
    app.connect("autodoc-process-docstring", _before_napoleon, priority=400)
    app.connect("autodoc-process-docstring", _after_napoleon, priority=600)
    app.connect("autodoc-skip-member", _skip)
    app.connect("viewcode-follow-imported", _source)
    app.connect("missing-reference", _resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
