"""Names of a package that are imported when they are first used, so that a part does not cost the whole."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def lazy(package: str, modules: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """Return a module's `__getattr__` (PEP 562).

    Args:
        package: The package that has the names.
        modules: Names by the module that defines them.
    """
    where = {name: module for module, names in modules.items() for name in names}

    def __getattr__(name: str) -> Any:
        if name not in where:
            raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name, obj=sys.modules[package])
        value = getattr(import_module(where[name]), name)
        setattr(sys.modules[package], name, value)  # the next time it is found at once
        return value

    return __getattr__
