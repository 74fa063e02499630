"""Which cells make up which table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from experiments.cells import RESULTS, Cell, Reading
from textxfer.options import AT_LEAST_0, AT_LEAST_1, option
from textxfer.presets import PRESETS
from textxfer.text import DataError
from textxfer.variants import CLASSIFIER_TUNING, LM_QUALITY, LM_TUNING, PRETRAINING, Variant


@dataclass(kw_only=True)
class Options:
    """Run the cells of a table that have no result yet, and write the page."""

    table: str = option(help="the table", positional=True)
    data: tuple[str, ...] = option(("trec",), help="data sets")
    model: str | None = option(None, help="pretrained model: a name or a folder")
    seeds: int = option(3, help="number of runs of each row, with seeds 0, 1, ...", within=AT_LEAST_1)
    rows: tuple[str, ...] = option((), help="only these rows of the table; empty: all")
    labels: tuple[int, ...] = option(
        (100, 200, 500, 1000), help="numbers of labels of a low-shot curve", within=AT_LEAST_1
    )
    texts: int | None = option(
        None, help="texts that the language model reads, labelled ones included; default all", within=AT_LEAST_1
    )
    transductive: bool = option(False, help="let the language model read the held-out texts too")
    reading: Reading | None = option(None, help="direction of reading instead of the table's own")
    recipe: str = option("small", help="preset of sizes, rates and dropouts", choices=tuple(PRESETS))
    lm_epochs: int | None = option(
        None, help="epochs of the language model, instead of the recipe's", within=AT_LEAST_1
    )
    lm_dropout: float | None = option(
        None, help="factor on the dropouts of the language model's training", within=AT_LEAST_0
    )
    epochs: int | None = option(None, help="epochs of the classifier, instead of the recipe's", within=AT_LEAST_1)
    scratch_epochs: int = option(
        30, help="epochs of the classifier from random weights in a low-shot table", within=AT_LEAST_1
    )
    data_root: Path | None = option(None, help="folder of the data sets; else TEXTXFER_DATA says which")
    out: Path = option(RESULTS, help="folder of the results; the page is written beside it")
    cache: Path = option(Path("runs/experiments"), help="folder of the tasks' language models, which cells share")
    jobs: int = option(1, help="cells that run side by side, each with its share of the cores", within=AT_LEAST_1)
    dry_run: bool = option(False, help="print the cells and whether they are done; train nothing")


Row = tuple[str, Cell]
"""The name of a row and its cell."""
Table = Callable[[Options, Cell], Iterator[Row]]


def test_error(options: Options, plain: Cell) -> Iterator[Row]:
    """Tables 2 and 3: the official test set, both directions; the paper's headline figures."""
    yield "ulmfit", replace(plain, reading=reading(options, "both"))
    yield "tf-idf", tf_idf(plain)


def bidirectionality(options: Options, plain: Cell) -> Iterator[Row]:
    """Section 5.2: each direction alone, and both: the cells of `test-error`."""
    yield "ulmfit", replace(plain, reading="both")


def low_shot(options: Options, plain: Cell) -> Iterator[Row]:
    """Figure 3: few labels, with and without further texts, against no language model at all.

    Random weights need more epochs than trained ones: with as few they have hardly begun to learn.
    """
    for labels in options.labels:
        few = replace(plain, labels=labels, reading=reading(options, "forward"))
        yield "ulmfit", few
        yield "labelled-only", replace(few, texts=0)
        without = replace(few, model=None, texts=0, lm_epochs=None, lm_dropout=None, transductive=False)
        yield "scratch", replace(without, method="scratch", epochs=options.scratch_epochs)
        yield "tf-idf", tf_idf(few)


def ablation(*variants: Variant) -> Table:
    """Tables 4 to 7: a tenth of the training set, one direction."""

    def rows(options: Options, plain: Cell) -> Iterator[Row]:
        for variant in variants:
            yield variant.name, replace(plain, split="valid", reading=reading(options, "forward"), variant=variant.name)

    return rows


def tf_idf(cell: Cell) -> Cell:
    """Return the baseline of a cell: it knows nothing of language models."""
    return Cell(data=cell.data, method="tf-idf", split=cell.split, labels=cell.labels, texts=0, seed=cell.seed)


def reading(options: Options, default: Reading) -> Reading:
    """Return the direction asked for, or the table's own."""
    return default if options.reading is None else options.reading


TABLES: Mapping[str, Table] = {
    "test-error": test_error,
    "low-shot": low_shot,
    "pretraining": ablation(*PRETRAINING),
    "lm-quality": ablation(*LM_QUALITY),
    "lm-tuning": ablation(*LM_TUNING),
    "classifier-tuning": ablation(*CLASSIFIER_TUNING),
    "bidirectionality": bidirectionality,
}


def cells_of(options: Options) -> list[Cell]:
    """Return the cells of a table, each once: row by row, so that cells with one language model are far apart.

    Raises:
        DataError: The table has no row of a name that is asked for.
    """
    by_seed = [_rows(options, data, seed) for data in options.data for seed in range(options.seeds)]
    rows = [row for side_by_side in zip(*by_seed) for row in side_by_side]
    names = dict.fromkeys(name for name, _ in rows)
    if unknown := [name for name in options.rows if name not in names]:
        raise DataError(f"--rows {unknown[0]}: the table {options.table} has no such row; it has {', '.join(names)}")
    return list(dict.fromkeys(cell for name, cell in rows if not options.rows or name in options.rows))


def _rows(options: Options, data: str, seed: int) -> Iterator[Row]:
    plain = Cell(
        data=data,
        texts=options.texts,
        transductive=options.transductive,
        model=options.model,
        recipe=options.recipe,
        lm_epochs=options.lm_epochs,
        lm_dropout=options.lm_dropout,
        epochs=options.epochs,
        seed=seed,
    )
    return TABLES[options.table](options, plain)
