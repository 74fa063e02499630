"""Which cells make up which table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from experiments.cells import RESULTS, Cell, Reading
from textxfer.options import option
from textxfer.variants import CLASSIFIER_TUNING, LM_QUALITY, LM_TUNING, PRETRAINING, Variant


@dataclass(kw_only=True)
class Options:
    """Run the cells of a table that have no result yet, and write the page."""

    table: str = option(help="the table", positional=True)
    data: tuple[str, ...] = option(("trec",), help="data sets")
    model: str | None = option(None, help="pretrained model: a name or a folder")
    seeds: int = option(3, help="number of runs of each row, with seeds 0, 1, ...")
    rows: tuple[str, ...] = option((), help="only these rows of an ablation table; empty: all")
    labels: tuple[int, ...] = option((100, 200, 500, 1000), help="numbers of labels of a low-shot curve")
    texts: int | None = option(None, help="texts that the language model reads, labelled ones included; default all")
    transductive: bool = option(False, help="let the language model read the held-out texts too")
    reading: Reading | None = option(None, help="direction of reading instead of the table's own")
    recipe: str = option("small", help="preset of sizes, rates and dropouts")
    lm_epochs: int | None = option(None, help="epochs of the language model, instead of the recipe's")
    epochs: int | None = option(None, help="epochs of the classifier, instead of the recipe's")
    data_root: Path | None = option(None, help="folder of the data sets; else TEXTXFER_DATA says which")
    out: Path = option(RESULTS, help="folder of the results; the page is written beside it")
    cache: Path = option(Path("runs/experiments"), help="folder of the tasks' language models, which cells share")
    jobs: int = option(1, help="cells that run side by side, each with its share of the cores")
    dry_run: bool = option(False, help="print the cells and whether they are done; train nothing")


def test_error(options: Options, plain: Cell) -> Iterator[Cell]:
    """Tables 2 and 3: the official test set, both directions; the paper's headline figures."""
    yield replace(plain, reading=plain_reading(options, "both"))
    yield tf_idf(plain)


def bidirectionality(options: Options, plain: Cell) -> Iterator[Cell]:
    """Section 5.2: each direction alone, and both: the cells of `test-error`."""
    yield replace(plain, reading="both")


def low_shot(options: Options, plain: Cell) -> Iterator[Cell]:
    """Figure 3: few labels, with and without further texts, against no language model at all."""
    for labels in options.labels:
        few = replace(plain, labels=labels, reading=plain_reading(options, "forward"))
        yield few
        yield replace(few, texts=0)
        yield replace(few, method="scratch", model=None, texts=0, lm_epochs=None, transductive=False)
        yield tf_idf(few)


def ablation(*rows: Variant) -> Callable[[Options, Cell], Iterator[Cell]]:
    """Tables 4 to 7: a tenth of the training set, one direction."""

    def cells(options: Options, plain: Cell) -> Iterator[Cell]:
        for row in rows:
            if not options.rows or row.name in options.rows:
                yield replace(plain, split="valid", reading=plain_reading(options, "forward"), variant=row.name)

    return cells


def tf_idf(cell: Cell) -> Cell:
    """Return the baseline of a cell: it knows nothing of language models."""
    return Cell(data=cell.data, method="tf-idf", split=cell.split, labels=cell.labels, texts=0, seed=cell.seed)


def plain_reading(options: Options, default: Reading) -> Reading:
    """Return the direction asked for, or the table's own."""
    return default if options.reading is None else options.reading


TABLES: Mapping[str, Callable[[Options, Cell], Iterator[Cell]]] = {
    "test-error": test_error,
    "low-shot": low_shot,
    "pretraining": ablation(*PRETRAINING),
    "lm-quality": ablation(*LM_QUALITY),
    "lm-tuning": ablation(*LM_TUNING),
    "classifier-tuning": ablation(*CLASSIFIER_TUNING),
    "bidirectionality": bidirectionality,
}


def cells_of(options: Options) -> list[Cell]:
    """Return all cells of a table, those of one seed after those of the other, each once."""
    wanted: dict[Cell, None] = {}
    for data in options.data:
        for seed in range(options.seeds):
            plain = Cell(
                data=data,
                texts=options.texts,
                transductive=options.transductive,
                model=options.model,
                recipe=options.recipe,
                lm_epochs=options.lm_epochs,
                epochs=options.epochs,
                seed=seed,
            )
            wanted |= dict.fromkeys(TABLES[options.table](options, plain))
    return list(wanted)
