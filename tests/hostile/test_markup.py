"""Names and texts are shown as they are: in a notebook they are no HTML, in a picture no formula and no script."""

from __future__ import annotations

import importlib
import pkgutil
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import textxfer
from textxfer import plots
from textxfer.evaluate import Evaluation
from textxfer.predict import Prediction
from textxfer.training import History

EVIL = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "&lt;b&gt;", "</td></table>"]
EVIL += ["$\\frac{$", "a$b$c"]  # formulas of matplotlib, the first of them a wrong one


class Tags(HTMLParser):
    """Collects the tags, their attributes and the texts."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not attrs
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture
def history() -> History:
    made = History()
    for epoch in range(2):
        made.add_step(0, epoch, 0, epoch, 1.0, 3, dict.fromkeys(EVIL, 0.1), 0.9)
        made.add_epoch({"fit": 0, "epoch": epoch, "train_loss": 1.0, "note": EVIL[0], **dict.fromkeys(EVIL, 0.5)})
    return made


def test_a_history_in_a_notebook(history: History) -> None:
    parser = Tags()
    parser.feed(history._repr_html_())
    assert set(parser.tags) == {"table", "thead", "tbody", "tr", "th", "td"}
    assert set(EVIL) <= set(parser.texts)
    assert parser.texts.count(EVIL[0]) == 3  # a name and two values


def classes() -> list[type]:
    """Return all classes of the package."""
    found = []
    for module in pkgutil.walk_packages(textxfer.__path__, "textxfer."):
        if not module.name.endswith(("__main__", "_triton")):
            found += [value for value in vars(importlib.import_module(module.name)).values() if isinstance(value, type)]
    return [each for each in set(found) if each.__module__.startswith("textxfer")]


def test_nothing_else_shows_itself_as_html() -> None:
    """A new class that does has to be tested here."""
    shown = {
        (cls.__name__, name) for cls in classes() for name in vars(cls) if name.startswith(("_repr_", "_ipython_"))
    }
    assert {(cls, name) for cls, name in shown if name != "_repr_png_"} == {("History", "_repr_html_")}


def test_what_is_printed_is_plain_text() -> None:
    names = EVIL[:3]
    evaluation = Evaluation(names, np.ones((3, 3), np.int64), 1.0)
    prediction = Prediction(names[0], dict.fromkeys(names, 1 / 3))
    for value in (evaluation, prediction):
        assert names[0] in f"{value}"
        assert not hasattr(value, "_repr_html_")


def test_pictures(history: History, tmp_path: Path) -> None:
    figures = [
        plots.plot_confusion(np.ones((len(EVIL), len(EVIL)), np.int64), EVIL),
        plots.plot_classes(dict.fromkeys(EVIL, 3)),
        history.plot("loss"),
        history.plot("rates"),
        *(history.plot(name) for name in EVIL),
    ]
    for number, ax in enumerate(figures):
        path = plots.save_figure(ax, tmp_path / f"{number}.svg")
        tags = {element.tag.rpartition("}")[2] for element in ElementTree.parse(path).iter()}
        assert "svg" in tags
        assert not tags & {"script", "img", "image", "foreignObject", "a"} - {"image"}
        ax.figure.clear()
