"""The pages that are made from code: every public module has one, every name a place, every table its rows."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path

import pytest

import textxfer
from nbs._ext import commands, events, public, recipes, results
from nbs._ext.docstrings import summary, to_rest, untyped_results, whole
from nbs._ext.markdown import table
from textxfer.training.callback import EVENTS

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = (ROOT / "tests" / "golden" / "options.txt").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("module", ["textxfer", *public.MODULES])
def test_each_module_has_a_page_in_the_table_of_contents(module: str) -> None:
    name = module.removeprefix("textxfer.")
    page = ROOT / "nbs" / "api" / f"{name}.rst"
    assert f".. public-api:: {module}\n" in page.read_text(encoding="utf-8")
    assert f"\n{name}\n" in (page.parent / "index.md").read_text(encoding="utf-8")


def test_each_package_with_public_names_is_documented() -> None:
    packages = {
        f"textxfer.{path.parent.name}"
        for path in Path(inspect.getfile(textxfer)).parent.glob("*/__init__.py")
        if hasattr(import_module(f"textxfer.{path.parent.name}"), "__all__")
    }
    assert packages <= set(public.MODULES)


def test_each_name_has_one_place() -> None:
    names = public.names()
    for module in ("textxfer", *public.MODULES):
        for name in public.exported(module):
            place = names[module, name]
            assert place in public.documented(place.module)
            assert public.aliases()[f"{module}.{name}"] == place.path
    assert not public.documented("textxfer")


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("textxfer.Learner", "textxfer.training.Learner"),
        ("textxfer.training.learner.Learner", "textxfer.training.Learner"),
        ("textxfer.artifact.ArtifactError", "textxfer.weights.ArtifactError"),
        ("textxfer.models.token_loss", "textxfer.models.token_loss"),
        ("textxfer.token_loss", "textxfer.models.token_loss"),
    ],
)
def test_paths_lead_to_the_place(path: str, place: str) -> None:
    assert public.aliases()[path] == place


def test_the_table_of_events_is_what_a_fit_does() -> None:
    rows = {line.split("`")[1]: line for line in events.table_of_events().splitlines()[2:]}
    assert list(rows) == list(EVENTS)
    assert "| training |" in rows["before_backward"] and "`loss`" in rows["before_backward"]
    assert "| both |" in rows["after_forward"] and "`out`" in rows["after_forward"]
    assert "`loss`" not in rows["after_forward"] and "`out`" not in rows["before_batch"]
    assert "| validation |" in rows["before_valid"] and "| between passes |" in rows["before_fit"]


def test_the_commands_have_all_their_options() -> None:
    text = commands.reference()
    sections = {part.partition("\n")[0]: part for part in text.removeprefix("## ").split("\n\n## ")}
    named = [line.split(" ") for line in OPTIONS if not line.endswith("--help")]
    assert sections.keys() == {command for command, *_ in named}
    for command, *option in named:
        if option and option[0].startswith("--"):
            assert f"| `{option[0]}" in sections[command], f"{command} {option}"
    assert "with `--resume`" in text and "which --resume" not in text
    assert "75 after `--stop-minutes`" in commands.exit_codes().replace("\n", " ")


def test_the_commands_say_where_several_may_be_given_and_where_none_has_to() -> None:
    text = commands.reference()
    assert "textxfer predict MODEL [TEXTS ...] [options]" in text
    assert "textxfer release RUNS ... --out PATH --name NAME [options]" in text
    assert "| `--text NAME ...` |" in text and "| `--unlabelled PATH ...` |" in text
    assert "| `--label NAME` |" in text and "| `DATA` |" in text and "| `OTHERS ...` |" in text


def test_the_recipes_show_their_numbers() -> None:
    text = recipes.table_of_recipes()
    assert "| `hidden` | 512 | 1,150 | 1,150 | 512 |" in text
    assert "| `stages.2.freeze_to` |  |  | -2 |  |" in text


def test_the_results_are_those_of_the_experiments(tmp_path: Path) -> None:
    page = (ROOT / "experiments" / "README.md").read_text(encoding="utf-8")
    lines = results.table_of_results().splitlines()[2:]
    figures = [cell.strip(" *") for line in lines for cell in line.split("|")[2:-1] if cell.strip()]
    assert len(figures) >= 8 and all(figure in page for figure in figures)
    assert all(line.count("**") == 2 for line in lines)
    results.low_shot_picture("ag_news", tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 5_000


def test_markdown_in_docstrings_becomes_rest() -> None:
    rest = to_rest(["  | a | b |", "  | --- | --- |", "  | `c d` | e |"])
    assert rest == ["", "  .. list-table::", "     :header-rows: 1", "", *_cells("a", "b", "``c d``", "e"), ""]
    assert to_rest(["`Learner.fit` and `x = 1`, :py:obj:`a b`"]) == ["`Learner.fit` and ``x = 1``, :py:obj:`a b`"]


def test_blocks_of_code_stay_as_they_are() -> None:
    rest = to_rest(["Text:", "", "  ```python", "  a = `b c`", "", "  | d |", "  ```", "`e f`"])
    block = ["", "  .. code-block:: python", "", "     a = `b c`", "", "     | d |", ""]
    assert rest == ["Text:", "", *block, "``e f``"]


def _cells(*texts: str) -> list[str]:
    return [f"     {'*' if number % 2 == 0 else ' '} - {text}" for number, text in enumerate(texts)]


def test_colons_in_results_are_no_types() -> None:
    lines = ["Returns:", "    Counts: rows.", "", "a: b"]
    assert whole(untyped_results(lines)) == lines
    assert ":" not in untyped_results(lines)[1] and untyped_results(lines)[3] == "a: b"


@pytest.mark.parametrize(
    ("doc", "first"),
    [("One. Two.", "One."), ("From 2.5 to 3: all.\n\nMore.", "From 2.5 to 3: all."), (None, ""), ("No end", "No end")],
)
def test_summaries_are_first_sentences(doc: str | None, first: str) -> None:
    assert summary(doc) == first


@pytest.mark.site
def test_formulas_are_understood_or_refused() -> None:
    from nbs._ext.mathml import mathml

    text = mathml(r"\begin{aligned} a &= b \\ c &= \frac{d}{e} \end{aligned}", "block")
    assert text.count("<mtr>") == 2 and 'columnalign="right"' in text and "<mfrac>" in text
    assert mathml(r"a &= b \\ c &= d", "block").count("<mtr>") == 2
    with pytest.raises(ValueError, match="nosuch"):
        mathml(r"a \nosuch b", "inline")


def test_a_table_keeps_its_columns() -> None:
    assert table(("a", "b"), [("x | y", "1")], right=1).splitlines()[1:] == ["| --- | ---: |", r"| x \| y | 1 |"]
