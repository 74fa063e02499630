"""The documentation site: `make docs` builds it from this folder."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # nbs._ext, and the experiments and benchmarks whose results the pages show

import textxfer  # noqa: E402

project = "textxfer"
author = "the textxfer developers"
release = version = textxfer.__version__
html_title = f"textxfer {version}"
html_last_updated_fmt = None
smartquotes_action = "D"  # dashes; quotation marks stay as they are
html_show_copyright = html_show_sphinx = False

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "nbs._ext.api",
    "nbs._ext.mathml",
    "nbs._ext.generated",
]
exclude_patterns = ["_ext", "_tools", "_static"]
nitpicky = True
# Other libraries are not linked: that would need their inventories from the network.
nitpick_ignore_regex = [("py:.*", r"(torch|numpy|np|nn|matplotlib|pandas|pathlib|collections|typing|argparse)\..*")]
nitpick_ignore = [("py:exc", "MissingPackageError"), ("py:exc", "PeerError")]  # no package exports them

# What is shown was run by `make notebooks-update`, and is checked by `make notebooks`.
nb_execution_mode = "off"
nb_ipywidgets_js = {}  # no notebook has widgets, and theirs come from the network
nb_merge_streams = True
myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath"]
myst_heading_anchors = 3

default_role = "code"
highlight_language = "none"  # of blocks that name none: commands, layouts of folders
autodoc_default_options = {"members": True, "member-order": "bysource", "special-members": "__call__"}
autodoc_inherit_docstrings = False  # else each callback would repeat what the base class says of its events
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_custom_sections = [(name, "params_style") for name in ("Attributes", "Class attributes", "Keys")]
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 90
toc_object_entries_show_parents = "hide"

html_theme = "furo"
pygments_dark_style = "github-dark"
html_favicon = "_static/favicon.svg"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_copy_source = False
html_show_sourcelink = False
templates_path: list[str] = []
