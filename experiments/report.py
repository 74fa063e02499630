"""The page: every table with our figures beside the paper's, and the curves."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments import figures, published
from experiments.cells import RESULTS, Cell, Line, cell_of, read_lines
from experiments.summary import Row, compare, describe, rows_of, setting
from textxfer.files import write_text
from textxfer.text import DataError
from textxfer.variants import CLASSIFIER_TUNING, LM_QUALITY, LM_TUNING, PRETRAINING, Variant

_HEAD = """# Experiments

The tables of Howard & Ruder (2018), each from one command; our figures beside the published ones. All figures are error
rates in per cent: mean ± standard deviation over the seeds (number of seeds). A result stands here as it came out.

```
python -m experiments test-error --data trec --model en-small --seeds 3
python -m experiments low-shot --data ag_news imdb --model en-small --labels 100 1000 --texts 10000
python -m experiments classifier-tuning --data trec --model en-small --jobs 2
python -m experiments report      # writes this page from the results
```

Tables: `test-error` (2, 3), `low-shot` (figure 3), `pretraining` (4), `lm-quality` (5), `lm-tuning` (6),
`classifier-tuning` (7), `bidirectionality`. TEXTXFER_DATA, or `--data-root`, is the folder of the data sets. Each cell
is one line of `results/<data>.jsonl`, with its command, seed, numbers, checksums and versions; what is there is not run
again. Unless a table says *transductive*, no language model has read held-out texts. The numbers of the recipes were
chosen on training documents alone. The paper's figures are for a model of full size, pretrained on 103 M words.
"""
_EARLY = (
    " As in the paper, all rows but ULMFiT stop early: they show their best epoch on these same documents, which "
    "flatters them, and ULMFiT its last one."
)
_ABLATIONS: Mapping[str, Sequence[Variant]] = {
    "Pretraining (table 4)": PRETRAINING,
    "Quality of the language model (table 5)": LM_QUALITY,
    "Tuning of the language model (table 6)": LM_TUNING,
    "Tuning of the classifier (table 7)": CLASSIFIER_TUNING,
}


def page_of(folder: Path) -> Path:
    """Return where the page of a folder of results goes: beside it.

    Raises:
        DataError: There is a page of something else.
    """
    page = folder.parent / "README.md"
    if page.exists() and not page.read_text("utf-8", "replace").startswith(_HEAD.splitlines()[0]):
        raise DataError(f"{page} is there already, and is no page of experiments: give a folder elsewhere as --out")
    return page


def write(folder: Path = RESULTS) -> Path:
    """Write the figures beside the results, and the page beside their folder."""
    page = page_of(folder)
    parts = [_HEAD.strip()]
    for path in sorted(folder.glob("*.jsonl")):
        data = path.stem
        lines = read_lines(data, folder)
        parts += [
            f"## {data}",
            *_test_error(data, lines),
            *_low_shot(data, lines, folder),
            *_ablations(data, lines, folder),
        ]
        parts += _machines(lines)
    write_text(page, "\n\n".join(parts) + "\n")
    print(f"written to {page}")
    return page


def _test_error(data: str, lines: Sequence[Line]) -> list[str]:
    """Write the official test set with all labels: each direction, both, and TF-IDF."""
    whole = [line for line in lines if line["cell"]["split"] == "test" and line["cell"]["labels"] is None]
    ours = [line for line in whole if line["cell"]["method"] != "tf-idf"]
    if not ours:
        return []
    rows = []
    for shared, group in _by_setting(ours):
        paper = {"both": published.TEST.get(data), "forward": published.TEST_FORWARD.get(data)}
        for row in rows_of(group):
            name = {"both": "both directions", "forward": "forward", "backward": "backward"}[row.cell.reading]
            rows.append((f"{name}; {shared}", str(row), _number(paper.get(row.cell.reading)), _time(row)))
        both = [line for line in group if line["cell"]["reading"] == "both"]
        for direction in ("forward", "backward"):
            for row in rows_of(both, _of(direction)):
                name = f"{direction} alone, of these; {shared}"
                rows.append((name, str(row), _number(paper.get(direction)), ""))
    for row in rows_of(line for line in whole if line["cell"]["method"] == "tf-idf"):
        rows.append(("TF-IDF + logistic regression", str(row), "", _time(row)))
    first = ours[0]
    text = f"{first['labelled']:,} labelled documents, {first['held_out']:,} to test with."
    return ["### Test error (tables 2 and 3; directions)", text, _table(("", "error", "paper", "minutes a run"), rows)]


def _low_shot(data: str, lines: Sequence[Line], folder: Path) -> list[str]:
    """Write the errors by number of labels, as a table and as curves."""
    few = [line for line in lines if line["cell"]["labels"] is not None and line["cell"]["split"] == "test"]
    curves: defaultdict[str, dict[int, Row]] = defaultdict(dict)
    for row in rows_of(few):
        if row.cell.labels is not None:
            curves[_method(row)][row.cell.labels] = row
    if not curves:
        return []
    counts = sorted({n for curve in curves.values() for n in curve})
    table = [(name, *(str(curve[n]) if n in curve else "" for n in counts)) for name, curve in sorted(curves.items())]
    picture = folder / f"{data}-low-shot.png"
    figures.save(figures.low_shot(curves, data), picture)
    return [
        "### Few labels (figure 3)",
        "Error on the official test set by number of labelled documents; fewer ones are some of the more.",
        _table(("labels", *(f"{n:,}" for n in counts)), table),
        f"![Error by number of labels]({folder.name}/{picture.name})",
    ]


def _ablations(data: str, lines: Sequence[Line], folder: Path) -> list[str]:
    parts: list[str] = []
    valid = [line for line in lines if line["cell"]["split"] == "valid" and line["cell"]["variant"] is not None]
    for number, (title, variants) in enumerate(_ABLATIONS.items(), 4):
        for place, (shared, group) in enumerate(_by_setting(valid), 1):
            rows = {row.cell.variant: row for row in rows_of(group)}
            found = {each.name: rows[each.name] for each in variants if each.name in rows}
            if len(found) < 2:
                continue
            paper = _validation(data, cell_of(group[0]).reading)
            titles = {each.name: each.title for each in variants}
            table = [(titles[name], str(row), _number(paper.get(name)), _time(row)) for name, row in found.items()]
            text = f"{group[0]['held_out']:,} held-out training documents; {shared}."
            if any(not each.is_whole for each in variants if each.name in rows):
                text += _EARLY
            parts += [f"### {title}", text]
            parts.append(_table(("", "error", "paper", "minutes a run"), table))
            parts += _order(found, paper, titles)
            if len(found) > 2:
                picture = folder / f"{data}-table-{number}{'' if place == 1 else f'-{place}'}.png"
                figures.save(figures.ablation(found, paper, titles), picture)
                parts.append(f"![Errors of the rows, ours and the paper's]({folder.name}/{picture.name})")
    return parts


def _validation(data: str, reading: str) -> dict[str, float]:
    """Return the paper's validation errors by variant; they are for reading forward."""
    if reading != "forward":
        return {}
    return {name: errors[data] for name, errors in published.VALIDATION.items() if data in errors}


def _order(rows: Mapping[str, Row], paper: Mapping[str, float], titles: Mapping[str, str]) -> list[str]:
    """Say how far the rows stand in the paper's order."""
    order = compare(rows, paper)
    if not order.n_pairs:
        return []
    text = f"Order: {order.agree} of {order.n_pairs} pairs of rows stand as in the paper."
    if order.equal:
        text += f" Equal here, and not there: {'; '.join(f'{titles[a]} and {titles[b]}' for a, b in order.equal)}."
    if order.disagree:
        text += " The others, ours better than the second here and worse there:\n"
    for better, worse, by, error in sorted(order.disagree, key=lambda each: -each[2]):
        spread = "" if math.isnan(error) else f", standard error {error:.2f}"
        text += f"\n- {titles[better]} before {titles[worse]}, by {by:.2f} points{spread}"
    return [text]


def _by_setting(lines: Iterable[Line]) -> list[tuple[str, list[Line]]]:
    """Gather the lines that belong side by side: with the same model, recipe and texts."""
    groups: defaultdict[str, list[Line]] = defaultdict(list)
    for line in lines:
        groups[json.dumps(setting(cell_of(line)), sort_keys=True)].append(line)
    return [(describe(json.loads(key)), group) for key, group in sorted(groups.items())]


def _method(row: Row) -> str:
    """Name the curve that a row is a point of: all that it may differ by from a row of another curve."""
    cell = row.cell
    if cell.method == "tf-idf":
        return "TF-IDF + logistic regression"
    recipe = "" if cell.recipe == "small" else f", recipe `{cell.recipe}`"
    if cell.method == "scratch":
        reading = "" if cell.reading == "forward" else f", {cell.reading}"
        return "from scratch" + ("" if cell.epochs is None else f", {cell.epochs} epochs") + reading + recipe
    epochs = [f"{name} {value}" for name, value in (("LM", cell.lm_epochs), ("classifier", cell.epochs)) if value]
    more = f", epochs {' and '.join(epochs)}" if epochs else ""
    more += f", LM dropouts x {cell.lm_dropout:g}" if cell.lm_dropout is not None else ""
    start = "without pretraining" if cell.model is None else f"from {cell.model}"
    return f"ULMFiT {start}, {_texts(cell)}, {cell.reading}{more}{recipe}"


def _texts(cell: Cell) -> str:
    """Say what a language model has read."""
    texts = "labelled texts only" if cell.texts == 0 else f"{'all' if cell.texts is None else f'{cell.texts:,}'} texts"
    return f"{texts} and the held-out ones (*transductive*)" if cell.transductive else texts


def _of(direction: str) -> Callable[[Line], float]:
    return lambda line: line["errors"][direction]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _time(row: Row) -> str:
    return f"{row.minutes:.1f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    align = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, align, *rows))


def _machines(lines: Sequence[Line]) -> list[str]:
    """Name the machines and versions that the lines come from."""
    names: dict[str, Any] = {}
    for line in lines:
        names[", ".join(f"{name} {value}" for name, value in line["versions"].items())] = None
    return ["\n".join(f"- {name}" for name in names)]
