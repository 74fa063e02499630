"""The directive `generated`: what a page takes from code or from results when the site is built, so that none is typed.

`generated` with `events`, `loop`, `recipes`, `commands`, `exit-codes` or `results` is what the function of that name
below returns; with `low-shot` and a data set the curve of its errors; with `docstring` and a module what that says of
itself.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from nbs._ext import commands, events, recipes, results

_TABLES: Mapping[str, Callable[[], str]] = {
    "events": events.table_of_events,
    "loop": events.loop,
    "recipes": recipes.table_of_recipes,
    "commands": commands.reference,
    "exit-codes": commands.exit_codes,
    "results": results.table_of_results,
}


class Generated(SphinxDirective):
    """Markdown that is made when the page is read."""

    required_arguments = 1
    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Make it and have it parsed."""
        what = self.arguments[0]
        if what in _TABLES:
            text = _TABLES[what]()
        elif what == "docstring":
            text = inspect.getdoc(import_module(self.arguments[1])) or ""
        elif what == "low-shot":
            text = f"![Error by number of labels]({self._picture(self.arguments[1])})"
        else:
            raise self.error(f"there is nothing generated called {what!r}")
        self.env.note_reread()
        return self.parse_text_to_nodes(text, allow_section_headings=True)

    def _picture(self, data: str) -> str:
        """Draw beside the pages' cache, and return the path from the page."""
        path = Path(self.env.doctreedir) / "generated" / f"{data}-low-shot.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        results.low_shot_picture(data, path)
        return os.path.relpath(path, Path(self.env.doc2path(self.env.docname)).parent)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("generated", Generated)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
