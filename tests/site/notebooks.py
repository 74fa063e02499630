"""What a committed notebook has to be: each check returns what is wrong. Plain JSON, no extra package."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from nbs._ext.public import MODULES, exported

NBS = Path(__file__).resolve().parents[2] / "nbs"
MOST_BYTES = 600_000
FROM_OUTSIDE = re.compile(r"(?<![\w.:/])/(?:home|root|work|tmp|Users|usr|opt|var)/")
LINK = re.compile(r"\]\(([^)\s]+)\)")
# A line of IPython, such as `%matplotlib inline` or `!ls`.
MAGIC = re.compile(r"^\s*[%!]")


def cells(path: Path, kind: str) -> list[dict[str, Any]]:
    """Return the cells of a notebook of one kind, their sources as one string each."""
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [{**cell, "source": "".join(cell["source"])} for cell in found if cell["cell_type"] == kind]


def volatile(path: Path) -> list[str]:
    """Name what differs from run to run or from machine to machine."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    found = []
    if notebook["metadata"].get("kernelspec", {}).get("name") != "python3":
        found.append("the kernel is not python3")
    if "version" in notebook["metadata"].get("language_info", {}):
        found.append("the version of Python")
    for number, cell in enumerate(notebook["cells"]):
        counts = [cell.get("execution_count"), *(out.get("execution_count") for out in cell.get("outputs", []))]
        if any(count is not None for count in counts):
            found.append(f"cell {number}: an execution count")
        if extra := cell["metadata"].keys() - {"tags"}:
            found.append(f"cell {number}: metadata {sorted(extra)}")
        if cell["cell_type"] == "code" and not "".join(cell["source"]).strip():
            found.append(f"cell {number}: nothing in it")
    if path.stat().st_size > MOST_BYTES:
        found.append(f"{path.stat().st_size:,} bytes, more than {MOST_BYTES:,}")
    return found


def not_run(path: Path) -> list[str]:
    """Name outputs that are errors or warnings, and cells that print and show nothing."""
    found = []
    for number, cell in enumerate(cells(path, "code")):
        for output in cell["outputs"]:
            if output["output_type"] == "error":
                found.append(f"code cell {number}: {output['ename']}: {output['evalue']}")
            if output.get("name") == "stderr":
                found.append(f"code cell {number}: standard error: {''.join(output['text'])[:200]}")
        if _prints(cell["source"]) and not cell["outputs"]:
            found.append(f"code cell {number}: it prints, but shows nothing")
    return found


def _prints(source: str) -> bool:
    return any(
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Name)
        and node.value.func.id == "print"
        for node in parsed(source).body
    )


def paths(path: Path) -> list[str]:
    """Name the absolute paths in texts, code and outputs; pictures do not count."""
    found = []
    for number, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
        texts = ["".join(cell["source"]), *_shown(cell.get("outputs", []))]
        found += [f"cell {number}: {match.group()}" for text in texts for match in FROM_OUTSIDE.finditer(text)]
    return found


def _shown(outputs: list[dict[str, Any]]) -> Iterator[str]:
    for output in outputs:
        yield "".join(output.get("text", ""))
        yield from ("".join(text) for kind, text in output.get("data", {}).items() if kind.startswith("text/"))


def parsed(source: str) -> ast.Module:
    """Parse a cell; lines of IPython are left out."""
    return ast.parse("\n".join("pass" if MAGIC.match(line) else line for line in source.splitlines()))


def private_imports(source: str) -> list[str]:
    """Name the imports of a cell that are not public names of textxfer, and star imports."""
    found = []
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if _inside(alias.name) and not _is_module(alias.name)]
        elif isinstance(node, ast.ImportFrom):
            names = [alias.name for alias in node.names]
            module = node.module or ""
            found += [f"from {module} import *"] if "*" in names else []
            if _inside(module):
                found += [f"{module}.{name}" for name in names if name != "*" and not _is_public(module, name)]
    return found


def _inside(module: str) -> bool:
    return module.partition(".")[0] == "textxfer"


def _is_module(name: str) -> bool:
    return name == "textxfer" or name in MODULES


@cache
def _is_public(module: str, name: str) -> bool:
    if _is_module(f"{module}.{name}"):
        return True
    return _is_module(module) and (name in exported(module) or (name == "__version__" and module == "textxfer"))


def broken_links(path: Path) -> list[str]:
    """Name the relative links of a notebook or a Markdown page that lead nowhere."""
    text = (
        "\n".join(cell["source"] for cell in cells(path, "markdown")) if path.suffix == ".ipynb" else path.read_text()
    )
    text = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    targets = [target.partition("#")[0] for target in LINK.findall(text) if "://" not in target]
    return [target for target in targets if target and not (path.parent / target).exists()]


def title(path: Path) -> str:
    """Return the title in the first cell; nothing if there is none."""
    first = json.loads(path.read_text(encoding="utf-8"))["cells"][0]
    text = "".join(first["source"])
    return text.splitlines()[0] if first["cell_type"] == "markdown" and text.startswith("# ") else ""
