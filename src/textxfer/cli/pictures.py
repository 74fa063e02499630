"""What `show --plot` draws of a folder: each kind of folder holds what some pictures need."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from textxfer import plots
from textxfer.cli.output import RUN
from textxfer.directions import DIRECTIONS
from textxfer.text import DataError, TokenStore
from textxfer.text.card import card
from textxfer.text.document import MissingPackageError
from textxfer.text.files import read_json
from textxfer.training import History, checkpoints
from textxfer.training.figures import entitle, new_panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HISTORY = "-history.json"
_SUFFIXES = (".png", ".svg", ".pdf")
_LANGUAGE_MODEL = "language-model"


@dataclass(frozen=True)
class Picture:
    """One picture of a folder.

    Args:
        name: For the name of its file.
        title: What stands over it.
        draw: Draws it into axes, or into new ones for None.
        height: Of its part of a figure of several, in units of 100 pixels.
        wide: Whether it takes the whole width of such a figure.
    """

    name: str
    title: str
    draw: Callable[[Axes | None], Axes]
    height: float = 4.2
    wide: bool = False


def check_target(target: Path) -> None:
    """Refuse a place for pictures that cannot be written, before any is drawn.

    Raises:
        DataError: It ends like a file of no known format.
        MissingPackageError: There is no matplotlib.
    """
    if target.suffix and target.suffix.lower() not in _SUFFIXES and not target.is_dir():
        raise DataError(f"--plot {target}: name a file that ends in .png, .svg or .pdf, or a folder")
    if find_spec("matplotlib") is None:
        raise MissingPackageError("--plot needs matplotlib: pip install matplotlib")


def write(pictures: Sequence[Picture], target: Path) -> list[Path]:
    """Write pictures: all into one file, or each into a file of its own in a folder.

    Args:
        pictures: One or more.
        target: A file that ends in .png, .svg or .pdf, or a folder, which is made if it is not there.

    Returns:
        The files.
    """
    pictures = _told_apart(pictures)
    if target.is_dir() or not target.suffix:
        return [plots.save_figure(_alone(each), target / f"{each.name}.png") for each in pictures]
    if len(pictures) == 1:
        return [plots.save_figure(_alone(pictures[0]), target)]
    panels = new_panels([each.height for each in pictures], [each.wide for each in pictures])
    for picture, ax in zip(pictures, panels):
        entitle(picture.draw(ax), picture.title)
    return [plots.save_figure(panels[0], target)]


def of_model(folder: Path) -> list[Picture]:
    """Return the losses by epoch from the card of a model folder.

    Raises:
        DataError: It has no history.
    """
    config = read_json(folder / "config.json", "the card of a model")
    epochs = config.get("card", {}).get("history")
    if not epochs:
        raise DataError(f"nothing to draw: {folder / 'config.json'} has no history of the training")
    history = History()
    for row in epochs:
        history.add_epoch(row)
    direction = folder.name if folder.name in DIRECTIONS else None
    name = f"{folder.resolve().parent.name}-{direction}" if direction else folder.resolve().name
    return _of_history(history, name, config["kind"], direction)


def of_run(folder: Path) -> list[Picture]:
    """Return losses and rates of all models of a run, and the confusion matrix of a classifier.

    A run that is not finished has the histories of its last states.

    Raises:
        DataError: It has neither.
    """
    run = read_json(folder / RUN, "the card of a run")
    kind = "classifier" if run.get("command") == "classify" else "language model"
    pictures = []
    names = [path.name.removesuffix(_HISTORY) for path in folder.glob(f"*{_HISTORY}")]
    for name in sorted(
        names, key=lambda name: (not name.startswith(_LANGUAGE_MODEL), name.endswith("-backward"), name)
    ):
        model, direction = _split(name)
        path = folder / f"{name}{_HISTORY}"
        history = _history(read_json(path, "the history of a training"), path)
        pictures += _of_history(history, name, "language model" if model == _LANGUAGE_MODEL else kind, direction)
    for direction in DIRECTIONS:
        if states := checkpoints(folder / direction):
            pictures += _of_state(states[-1], direction, direction)
    pictures += _confusions(run)
    if not pictures:
        raise DataError(f"nothing to draw: {folder} has no *{_HISTORY}, and its {RUN} no confusion matrix")
    return pictures


def of_states(folder: Path) -> list[Picture]:
    """Return losses and rates of the last training state of a folder."""
    return _of_state(checkpoints(folder)[-1], folder.resolve().name, None)


def of_store(folder: Path) -> list[Picture]:
    """Return the lengths of the documents of a token store, and how many each class has, or the numbers to predict."""
    store, name = TokenStore.open(folder), folder.resolve().name
    figures = card(store, duplicates=False)
    pictures = [_numbers(f"{name}-lengths", f"{name}: lengths", store.lengths, "tokens per document")]
    if figures.classes:
        counts, unlabelled = figures.classes, figures.unlabelled
        pictures.append(
            Picture(f"{name}-classes", f"{name}: classes", lambda ax: plots.plot_classes(counts, unlabelled, ax))
        )
    elif figures.values:
        pictures.append(_numbers(f"{name}-labels", f"{name}: labels", store.values[store.labels >= 0], "label"))
    return pictures


def _told_apart(pictures: Sequence[Picture]) -> list[Picture]:
    """Number the pictures of folders that are called alike, such as `new/train` and `old/train`."""
    found: dict[str, Picture] = {}
    for picture in pictures:
        name, number = picture.name, 1
        while name in found:
            number += 1
            name = f"{picture.name}-{number}"
        found[name] = picture if number == 1 else replace(picture, name=name, title=f"{picture.title} ({number})")
    return list(found.values())


def _alone(picture: Picture) -> Axes:
    ax = picture.draw(None)
    entitle(ax, picture.title)
    return ax


def _split(name: str) -> tuple[str, str | None]:
    """Split `model-forward` into model and direction, where it has one."""
    for direction in DIRECTIONS:
        if name.endswith(f"-{direction}"):
            return name.removesuffix(f"-{direction}"), direction
    return name, None


def _history(data: dict[str, Any], path: Path) -> History:
    try:
        return History.from_json(data)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(f"{path}: the history is damaged or of another version ({error})") from error


def _of_state(state: Path, name: str, direction: str | None) -> list[Picture]:
    values = read_json(state / "trainer.json", "a training state")
    history = _history(values.get("history", {}), state / "trainer.json")
    return _of_history(history, name, state.name, direction)


def _of_history(history: History, name: str, kind: str, direction: str | None) -> list[Picture]:
    title = f"{kind}, {direction}" if direction else kind
    pictures = [Picture(f"{name}-losses", f"{title}: losses", lambda ax: history.plot("loss", ax))]
    if history.n_steps:
        pictures.append(Picture(f"{name}-rates", f"{title}: learning rates", lambda ax: history.plot("rates", ax)))
    return pictures


def _numbers(name: str, title: str, values: np.ndarray, what: str) -> Picture:
    return Picture(name, title, lambda ax: plots.plot_histogram(values, what, ax))


def _confusions(run: dict[str, Any]) -> Iterator[Picture]:
    """Yield the confusion matrix of a run's first seed, whose models are in the folder."""
    reports = run.get("results", {}).get("runs")
    if not reports or "confusion" not in reports[0]:
        return
    report = reports[0]
    matrix, classes = np.array(report["confusion"]), [row["class"] for row in report["per_class"]]
    title = f"{report['n']:,} held-out documents, error {report['error_rate']:.2%}"
    wide = len(classes) > plots.MAX_ANNOTATED
    height = plots.confusion_side(len(classes)) - (0 if wide else 0.7)  # the width of a panel is what there is
    yield Picture("confusion", title, lambda ax: plots.plot_confusion(matrix, classes, ax), height, wide)
