"""The output folder of a command: models, history, plots, and a run card from which it can be repeated."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from textxfer import __version__, distributed, plots, ulmfit
from textxfer.cli.common import Training
from textxfer.cli.states import run_id
from textxfer.directions import Direction, mark_pair
from textxfer.evaluate import Evaluation
from textxfer.files import new_folder, remove_if_empty, write_json
from textxfer.options import to_json
from textxfer.task import TaskData
from textxfer.text import DataError, TokenStore
from textxfer.training import Learner

RUN = "run.json"


def model_of(folder: Path, *, language: bool = False) -> Path:
    """Return the model folder within the output folder of a command; any other folder as it is.

    Args:
        folder: What a user names as a model.
        language: Whether a language model is wanted: `classify` writes one beside its classifier.
    """
    if not (folder / RUN).is_file():
        return folder
    tuned = folder / "language-model"
    return tuned if language and tuned.is_dir() else folder / "model"


def check_out(config: Training) -> None:
    """Refuse an output folder that holds something, before any work is done.

    Raises:
        DataError: If the folder exists and may not be replaced.
    """
    out = config.out
    if config.dry_run or not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / RUN).is_file():
        raise DataError(f"{out} exists and no textxfer command wrote it; name another folder with --out")
    if not config.replace:
        raise DataError(f"{out} holds the output of an earlier run; name another folder, or pass --replace")


def describe(data: TaskData, test: TokenStore | None = None) -> None:
    """Print how much text there is."""
    parts = [("train", data.train), ("held out", test if test is not None else data.valid)]
    for name, store in parts:
        if store is not None:
            labelled = int((store.labels >= 0).sum())
            print(
                f"{name}: {len(store):,} documents ({labelled:,} labelled), {store.n_tokens:,} tokens, "
                f"{store.oov_share():.1%} unknown"
            )
    print(f"vocabulary: {len(data.vocab):,} tokens", flush=True)


def write_run(
    config: Training,
    trained: Mapping[str, Mapping[Direction, Learner]],
    data: TaskData,
    results: dict[str, Any],
    *,
    report: Evaluation | None = None,
    source: dict[str, Any] | None = None,
) -> None:
    """Write the output folder: it appears complete or not at all. Of several processes one writes it.

    Args:
        config: The command's options.
        trained: Trained learners by the names of their model folders and the direction in which they read.
        data: Their text side.
        results: Figures for the run card.
        report: Figures on held-out documents, for the confusion matrix.
        source: What is known of the text, for the run card.
    """
    if not distributed.is_main():
        return
    remove_if_empty(config.out)
    with new_folder(config.out, replace=config.replace) as scratch:
        for name, learners in trained.items():
            for direction, learn in learners.items():
                _write_model(scratch, name, direction, learn, data, several=len(learners) > 1)
            if len(learners) > 1:
                mark_pair(scratch / name)
        if report is not None:
            plots.save_figure(plots.plot_confusion(report.confusion, report.classes), scratch / "confusion.png")
        card = {"command": type(config).__name__.removesuffix("Config").lower(), "config": to_json(config)}
        card |= {} if source is None else {"source": source}
        card |= {} if (name := run_id(config.out)) is None else {"run": name}
        write_json(scratch / RUN, card | {"versions": versions(), "results": results})
    print(f"\nwritten to {config.out}: {', '.join(sorted(path.name for path in config.out.iterdir()))}")


def _write_model(
    folder: Path, name: str, direction: Direction, learn: Learner, data: TaskData, *, several: bool
) -> None:
    """Write a model folder, and history and plots beside it."""
    place, title = (folder / name / direction, f"{name}-{direction}") if several else (folder / name, name)
    ulmfit.save(place, learn, data, backward=direction == "backward")
    learn.history.save(folder / f"{title}-history.json")
    if find_spec("matplotlib") is None:  # a lent machine need not have it: the model must not be lost for that
        print("matplotlib is not installed: no plots are written")
        return
    plots.save_figure(plots.plot_losses(learn.history), folder / f"{title}-losses.png")
    plots.save_figure(plots.plot_group_rates(learn.history), folder / f"{title}-rates.png")


def versions() -> dict[str, str]:
    """Return the versions that results depend on."""
    return {
        "textxfer": __version__,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
    }
