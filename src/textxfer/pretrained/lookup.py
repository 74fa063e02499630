"""Where a pretrained model is: in the package, in a folder of this machine, in the cache, or on a server.

Nothing is asked of the network unless an address is given, as an argument or in TEXTXFER_MODELS_URL.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from textxfer.datasets import cache_folder
from textxfer.predict import PAIR
from textxfer.pretrained.entries import KNOWN
from textxfer.pretrained.remote import fetch
from textxfer.text.document import DataError

FOLDER_ENVIRONMENT = "TEXTXFER_MODELS"
URL_ENVIRONMENT = "TEXTXFER_MODELS_URL"
_PACKAGE = Path(__file__).parent
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*")


def find(name: str, *, url: str | None = None, progress: bool = True) -> Path:
    """Return the folder of a pretrained model; the first of `places(name)` that holds one.

    If none does and an address is known, the model is downloaded to the cache: its folder appears there complete or
    not at all.

    Args:
        name: Name of the model, such as `en-small`.
        url: Address of a folder with an `index.json`, see `write_index`; None: TEXTXFER_MODELS_URL, if that is set.
        progress: Whether to show how far a download is, on standard error.

    Raises:
        DataError: It is nowhere, cannot be downloaded, or is not what the index says.
    """
    check_name(name)
    looked = places(name)
    if (found := next(filter(is_model, looked.values()), None)) is not None:
        return found
    address = url or os.environ.get(URL_ENVIRONMENT)
    if not address:
        raise DataError(_nowhere(name, looked))
    return fetch(name, address, looked["cache"], progress=progress)


def places(name: str) -> dict[str, Path]:
    """Return the folders where a model may lie, in the order of the search: `package`, `local`, `cache`.

    Args:
        name: Name of the model.
    """
    return {
        "package": _PACKAGE / name,
        "local": Path(os.environ.get(FOLDER_ENVIRONMENT) or "models") / name,
        "cache": cache_folder() / "models" / name,
    }


def resolve(folder: str | Path, *, url: str | None = None) -> Path:
    """Return a folder as it is, or that of the pretrained model of this name; an existing folder wins.

    Args:
        folder: A folder, or a name.
        url: As in `find`.

    Raises:
        DataError: There is neither such a folder nor such a model.
    """
    path = Path(folder)
    if path.is_dir() or not _NAME.fullmatch(str(folder)):
        return path
    return find(str(folder), url=url)


def names() -> list[str]:
    """Return the names of all models that are written down or lie in one of the places, sorted."""
    found = set(KNOWN)
    for place in places("name").values():
        folder = place.parent
        if folder.is_dir():
            found |= {path.name for path in folder.iterdir() if _NAME.fullmatch(path.name) and is_model(path)}
    return sorted(found)


def describe(name: str) -> str:
    """Say what a model is and where.

    Args:
        name: One of `names()`.

    Returns:
        A line with its name and title, and one for each place where it lies.

    Raises:
        DataError: There is no such model.
    """
    if name not in names():
        raise DataError(f"no pretrained model is called {name!r}; {_known()}")
    lines = [f"{name}: {KNOWN[name].title}" if name in KNOWN else name]
    found = [(place, path) for place, path in places(name).items() if is_model(path)]
    lines += [f"  in the {place} folder: {path}" for place, path in found]
    if not found:
        lines.append(f"  not on this machine; made by: {KNOWN[name].made_by}")
    return "\n".join(lines)


def check_name(name: str) -> None:
    """Refuse what is no name of a pretrained model.

    Args:
        name: Letters, digits and `-_.`, no path.

    Raises:
        DataError: It has other characters.
    """
    if not _NAME.fullmatch(name):
        raise DataError(
            f"{name!r} cannot be the name of a pretrained model: letters, digits, -, _ and . make one; {_known()}"
        )


def is_model(folder: Path) -> bool:
    """Whether a folder holds a model, or one for each direction of reading.

    Args:
        folder: The folder, which need not exist.
    """
    return (folder / PAIR).is_file() or (folder / "config.json").is_file()


def _known() -> str:
    here = [name for name in names() if any(map(is_model, places(name).values()))]
    return f"there are {', '.join(here)}" if here else "there are none on this machine"


def _nowhere(name: str, looked: Mapping[str, Path]) -> str:
    where = ", ".join(str(path) for path in looked.values())
    made = f", make it with `{KNOWN[name].made_by}`" if name in KNOWN else ""
    return (
        f"there is no folder and no pretrained model {name!r}: looked for {where}. Put its folder at one of these "
        f"places{made}, or set {URL_ENVIRONMENT} to the address of a folder that has it; {_known()}"
    )
