"""The table of the README: the jobs people wait for, on a CPU with bfloat16 and on one without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import results
from textxfer.files import write_text

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- written by python -m benchmarks.report -->\n", "<!-- end -->\n"
_KINDS = {"cpu": "CPU with bfloat16", "cpu-fp32": "CPU without"}

Line = Mapping[str, Any]


@dataclass(frozen=True)
class Job:
    """A row of the table.

    Attributes:
        text: What the job is.
        suite: The suite, and with `case` and `impls` the result lines.
        case: The case.
        figure: The field that is shown, a rate (`..._per_s`) or `median_ms`.
        impls: Our implementations; the first that was measured counts.
        workers: Number of processes, where the suite counts them.
    """

    text: str
    suite: str
    case: str
    figure: str
    impls: tuple[str, ...] = ("textxfer",)
    workers: int | None = None


_BEST = ("textxfer-bf16", "textxfer-fp16", "textxfer-fp32")
"""What `Predictor` and `generate` compute in by themselves: the first that the CPU has."""
JOBS = (
    Job("language model, training steps of 32 x 70 tokens, 30,000 words", "lm_step", "full", "tokens_per_s"),
    Job("the same, embedding 200, two layers of 512, 16,000 words", "lm_step", "small", "tokens_per_s"),
    Job("classifier, an epoch over documents of review length", "classify", "train", "documents_per_s"),
    Job("such documents classified", "classify", "predict", "documents_per_s", _BEST),
    Job("the same in 8 bits", "classify", "predict", "documents_per_s", ("textxfer-int8",)),
    Job("one text of 15 words classified", "classify", "one", "median_ms", _BEST),
    Job("the same in 8 bits", "classify", "one", "median_ms", ("textxfer-int8",)),
    Job("50 words written after a prompt", "generate", "words-50", "words_per_s", _BEST),
    Job("clipping and AdamW over 32 million weights", "optim", "adamw-clip", "median_ms"),
    Job("text to ids on disk, IMDb", "tokenize", "imdb-train-25000", "tokens_per_s", workers=1),
    Job("the same by two processes", "tokenize", "imdb-train-25000", "tokens_per_s", workers=2),
)


def table(folder: Path = results.RESULTS) -> str:
    """Return the table: for each job and kind of CPU our figure, and how many times as fast as fastai that is."""
    head = [cell for name in _KINDS.values() for cell in (name, "x fastai")]
    lines = [f"| job | {' | '.join(head)} |", "| --- " * (len(head) + 1) + "|"]
    for job in JOBS:
        cells = [cell for kind in _KINDS for cell in _cells(job, _find(job, folder / f"{job.suite}-{kind}.jsonl"))]
        lines.append(f"| {job.text} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _find(job: Job, path: Path) -> Line | None:
    lines = results.read(path) if path.exists() else []
    of_case = [line for line in lines if line["case"] == job.case and line.get("workers") == job.workers]
    return next((line for impl in job.impls for line in of_case if line["impl"] == impl), None)


def _cells(job: Job, line: Line | None) -> tuple[str, str]:
    if line is None:
        return "", ""
    value, unit = line[job.figure], job.figure.removesuffix("_per_s")
    shown = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    ratio = line.get("ratio_to_fastai")
    return f"{shown} ms" if job.figure == "median_ms" else f"{shown} {unit}/s", "" if ratio is None else f"{ratio:.1f}"


def put(text: str, page: str) -> str:
    """Return a page with `text` between the two marks.

    Raises:
        ValueError: The page does not have the marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page lacks the lines {BEGIN.strip()!r} and {END.strip()!r}")
    return before + begin + text + end + after


def write() -> None:
    """Write the table into the README."""
    write_text(README, put(table(), README.read_text(encoding="utf-8")))
