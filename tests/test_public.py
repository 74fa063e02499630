"""The public surface: what `textxfer` exports, and what importing it costs.

`TEXTXFER_UPDATE_GOLDEN=1 make test` rewrites tests/golden/public.txt after a deliberate change.
"""

from __future__ import annotations

import builtins
import enum
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import textxfer
from textxfer.names import RECIPES
from textxfer.presets import PRESETS

NAMES: list[str] = getattr(textxfer, "__all__", [])
GOLDEN = Path(__file__).with_name("golden") / "public.txt"


def surface() -> list[str]:
    """One line for each public name: callables with the names of their parameters."""
    return [_line(name, getattr(textxfer, name)) for name in sorted(NAMES)]


def _line(name: str, value: object) -> str:
    # What the standard library gives to enumerations and exceptions differs between versions of Python.
    if not callable(value) or (isinstance(value, type) and issubclass(value, enum.Enum | BaseException)):
        return name
    signature = inspect.signature(value)
    plain = [
        p.replace(annotation=inspect.Parameter.empty, default=inspect.Parameter.empty)
        for p in signature.parameters.values()
    ]
    return name + str(signature.replace(parameters=plain, return_annotation=inspect.Signature.empty))


def _python(code: str) -> str:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_is_light() -> None:
    code = "import json, sys, textxfer; print(json.dumps(sorted(name for name in sys.modules if '.' not in name)))"
    modules = json.loads(_python(code))
    assert "textxfer" in modules
    assert not {"spacy", "pandas", "matplotlib", "sklearn"} & set(modules)  # tqdm: torch imports it where it is


def test_the_help_of_the_command_line_does_not_wait_for_torch() -> None:
    code = (
        "import sys; from textxfer.cli import main\n"
        "try: main(['classify', '--help'])\n"
        "except SystemExit: print('torch' in sys.modules, 'numpy' in sys.modules)\n"
    )
    assert _python(code).splitlines()[-1] == "False False"
    assert tuple(PRESETS) == RECIPES


def test_star_import_brings_what_all_says() -> None:
    code = (
        "import json; before = {*dir(), 'before'}; from textxfer import *; print(json.dumps(sorted({*dir()} - before)))"
    )
    names = json.loads(_python(code))
    assert sorted(names) == sorted(NAMES)
    assert 1 <= len(names) <= 40
    assert not [name for name in names if hasattr(builtins, name) or name.startswith("_")]


def test_every_public_name_is_documented() -> None:
    assert len(set(NAMES)) == len(NAMES)
    values = {name: getattr(textxfer, name) for name in NAMES}
    documented = {name: value for name, value in values.items() if callable(value) or inspect.ismodule(value)}
    assert not [name for name, value in documented.items() if not (value.__doc__ or "").strip()]


def test_surface_is_the_golden_one() -> None:
    if os.environ.get("TEXTXFER_UPDATE_GOLDEN") == "1":
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text("\n".join(surface()) + "\n", encoding="utf-8")
    assert surface() == GOLDEN.read_text(encoding="utf-8").splitlines(), (
        "the public names changed; if that is meant: TEXTXFER_UPDATE_GOLDEN=1 make test"
    )
