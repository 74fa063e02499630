r"""Formulas as MathML, written when the site is built.

Browsers draw MathML themselves. So a page with formulas loads no script and no font, from nowhere, and needs no
TeX where it is built.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

# What a display holds within itself is laid out as a display of its own is.
_ALIGNED = re.compile(r"(\\begin|\\end)\{(?:aligned|split)\}")


def mathml(formula: str, display: Literal["inline", "block"]) -> str:
    """Return a formula as MathML.

    Raises:
        ValueError: Something in it is not understood; it would stand there as text.
    """
    source = formula.strip()
    if r"\\" in source and r"\begin{" not in source:
        source = rf"\begin{{align*}}{source}\end{{align*}}"
    text = convert(_ALIGNED.sub(r"\1{align*}", source), display=display)
    if wrong := re.search(r"<m[iot][^>]*>(&|\\\w+)</", text):
        raise ValueError(f"latex2mathml does not know {wrong.group(1)!r} of the formula {formula!r}")
    return text


def _inline(translator: HTML5Translator, node: nodes.math) -> None:
    translator.body.append(mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def _display(translator: HTML5Translator, node: nodes.math_block) -> None:
    formula = mathml(node.astext(), "block")
    translator.body.append(translator.starttag(node, "div", CLASS="math notranslate nohighlight"))
    translator.body.append(f"{formula}</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer; conf.py chooses it."""
    app.add_html_math_renderer("mathml", (_inline, None), (_display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
