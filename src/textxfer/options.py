"""Command-line options from the fields of a dataclass: name, type, default and help stand in one place."""

from __future__ import annotations

import argparse
import dataclasses
import types
from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

Config = TypeVar("Config")


class Range(NamedTuple):
    """The numbers that an option takes.

    Attributes:
        words: Which ones, as help and errors say it.
        holds: Whether a number is one of them.
    """

    words: str
    holds: Callable[[float], bool]


AT_LEAST_0 = Range("0 or more", lambda number: 0 <= number < inf)
AT_LEAST_1 = Range("1 or more", lambda number: 1 <= number < inf)
SEED = Range("0 or more, below 2 to the 62", lambda number: 0 <= number < 2**62)
ABOVE_0 = Range("above 0", lambda number: 0 < number < inf)
SHARE = Range("between 0 and 1", lambda number: 0 < number < 1)
SHARE_OR_ALL = Range("above 0 and at most 1", lambda number: 0 < number <= 1)
"""NaN lies in none of them."""


def option(
    default: Any = dataclasses.MISSING,
    *,
    help: str,
    positional: bool = False,
    choices: Sequence[str] | None = None,
    within: Range | None = None,
) -> Any:
    """Describe one field of a configuration.

    Args:
        default: Default value; none makes the option required.
        help: What it does, with unit.
        positional: Whether it is given by place instead of by name.
        choices: Allowed values, where the type is no `Literal`.
        within: Allowed numbers; the help says them, too.
    """
    metadata = {"help": help, "positional": positional, "choices": choices, "within": within}
    return dataclasses.field(default=default, metadata=metadata)


def add_options(parser: argparse.ArgumentParser, config: type[Any]) -> None:
    """Add an option for each field of a configuration class; unknown options stay errors."""
    hints = get_type_hints(config)
    for item in dataclasses.fields(config):
        kind, many, choices = _kind(hints[item.name])
        arguments: dict[str, Any] = {"help": _help(item)}
        if kind is bool:
            arguments["action"] = "store_true"
        else:
            parser_of = _number(kind, item.metadata["within"]) if item.metadata["within"] else kind
            arguments |= {"type": parser_of, "choices": choices or item.metadata["choices"]}
            if many:
                arguments["nargs"] = "+" if item.default is dataclasses.MISSING or item.default else "*"
        if item.metadata["positional"]:
            parser.add_argument(item.name, **arguments)
            continue
        required = item.default is dataclasses.MISSING
        if not required:
            arguments["default"] = item.default
        if kind is not bool:
            arguments["metavar"] = None if arguments["choices"] else _metavar(kind)
        parser.add_argument(f"--{item.name.replace('_', '-')}", required=required, **arguments)


def parse(config: type[Config], namespace: argparse.Namespace) -> Config:
    """Build the configuration from the parsed arguments."""
    names = {item.name for item in dataclasses.fields(config)}  # type: ignore[arg-type]
    values = {name: value for name, value in vars(namespace).items() if name in names}
    return config(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def to_json(config: Any) -> dict[str, Any]:
    """Return the values of a configuration as JSON values."""
    return {name: _plain(value) for name, value in dataclasses.asdict(config).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _kind(hint: Any) -> tuple[type, bool, Sequence[str] | None]:
    """Take `X`, `X | None`, `tuple[X, ...]` or a `Literal` apart: type of a value, whether there are many, choices."""
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(part for part in get_args(hint) if part is not type(None))
    if get_origin(hint) is Literal:
        return str, False, get_args(hint)
    if get_origin(hint) is tuple:
        return get_args(hint)[0], True, None
    return hint, False, None


def _number(kind: type, within: Range) -> Callable[[str], float]:
    """Return what makes a number of an argument, or says which numbers it must be one of."""

    def parsed(text: str) -> float:
        number = kind(text)
        if not within.holds(number):
            finite = " and finite" if number in (inf, -inf) else ""
            raise argparse.ArgumentTypeError(f"must be {within.words}{finite}, not {text}")
        return number

    parsed.__name__ = kind.__name__  # argparse names it where the text is no number
    return parsed


def _metavar(kind: type) -> str:
    return {int: "N", float: "X", Path: "PATH"}.get(kind, "NAME")


def _help(item: dataclasses.Field[Any]) -> str:
    text = item.metadata["help"].replace("%", "%%")
    if item.metadata["within"]:
        text += f", {item.metadata['within'].words}"
    nothing = item.default is False or item.default in (dataclasses.MISSING, None, (), "")  # 0, a seed, is something
    silent = nothing or item.metadata["positional"]
    default = " ".join(map(str, item.default)) if isinstance(item.default, tuple) else item.default
    return text if silent else f"{text} (default: {default})"
