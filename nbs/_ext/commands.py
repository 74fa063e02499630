"""The commands and their options, from the dataclasses that the command line itself is made of."""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Iterator
from typing import Any

from nbs._ext.markdown import table
from textxfer.cli import config, main
from textxfer.options import add_options

_SUFFIX = "Config"
_OPTION = re.compile(r"(?<!\S)--[a-z-]+")


def commands() -> dict[str, type[Any]]:
    """Return the configuration of each command, in the order of the file."""
    return {
        name.removesuffix(_SUFFIX).lower(): value
        for name, value in vars(config).items()
        if isinstance(value, type) and name.endswith(_SUFFIX)
    }


def reference() -> str:
    """Return a section for each command: what it does, how it is called, its arguments and options."""
    return "\n\n".join(part for name, cls in commands().items() for part in _section(name, cls))


def exit_codes() -> str:
    """Return what the function behind all commands says of its exit codes: the paragraph that begins with a 0."""
    paragraphs = inspect.cleandoc(main.__doc__ or "").split("\n\n")
    return _OPTION.sub(r"`\g<0>`", next(each for each in paragraphs if each.startswith("0")))


def _section(name: str, cls: type[Any]) -> Iterator[str]:
    parser = argparse.ArgumentParser(prog=f"textxfer {name}", add_help=False)
    add_options(parser, cls)
    given = [_places(action) for action in parser._actions if not action.option_strings]
    needed = [
        f"{action.option_strings[0]} {action.metavar}"
        for action in parser._actions
        if action.required and action.option_strings
    ]
    yield f"## {name}"
    yield inspect.cleandoc(cls.__doc__ or "")
    yield f"```text\ntextxfer {' '.join([name, *given, *needed])} [options]\n```"
    own = [field.replace("_", "-") for field in vars(cls)["__annotations__"]]
    actions = sorted(parser._actions, key=lambda each: (bool(each.option_strings), _long_name(each) not in own))
    yield table(("argument or option", "what it does"), map(_row, actions))


def _places(action: argparse.Action) -> str:
    """Name what is given by place as `--help` does: dots if there may be several, brackets if none is needed."""
    name = f"{action.dest.upper()}{_several(action)}"
    return f"[{name}]" if action.nargs == "*" else name


def _several(action: argparse.Action) -> str:
    return " ..." if action.nargs in ("*", "+") else ""


def _long_name(action: argparse.Action) -> str:
    return action.option_strings[0].removeprefix("--") if action.option_strings else action.dest


def _row(action: argparse.Action) -> tuple[str, str]:
    name = action.option_strings[0] if action.option_strings else action.dest.upper()
    choices = f" {{{','.join(action.choices)}}}" if action.choices else f" {action.metavar}" if action.metavar else ""
    text = _OPTION.sub(r"`\g<0>`", (action.help or "").replace("%%", "%"))
    required = " (required)" if action.required and action.option_strings else ""
    return f"`{name}{choices if action.option_strings else ''}{_several(action)}`", f"{text}{required}"
