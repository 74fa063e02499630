"""The commands that are ended, at sizes at which each takes a second or a few, and all that they read."""

from __future__ import annotations

import pickle
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from tests.crash.checks import Digest, Outcome, outcome, states_below
from tests.crash.processes import Command, Server, finish
from tests.programs.old_nets import FASTAI, Plain

NAMES = ("pretrain", "prepare", "classify", "release", "import")
"""The commands: pretraining, the ids alone, a classifier of two seeds and directions, a release, old weights."""
WORDS = {"animal": "cat dog bird fish horse", "colour": "red green blue yellow", "number": "one two three four five"}
FILLERS = ["the", "a", "of", "and", "was", "with", "under", "over", "near"]
TEXT = ["--breaks", "line", "--tokenizer", "rules", "--device", "cpu"]
SIZES = [*("--embed", "8", "--hidden", "12", "--layers", "2", "--batch-size", "8"), *("--epochs", "2", "--lr", "1e-2")]


@dataclass(frozen=True)
class Job:
    """A command that can be ended.

    Attributes:
        name: Its name in reports.
        arguments: Returns its arguments, given the folder of a round.
        out: Name of its output in that folder.
        resumes: Whether it keeps states to go on from.
    """

    name: str
    arguments: Callable[[Path], list[str]]
    out: str = "out"
    resumes: bool = False


@dataclass
class Whole:
    """What a command gives that nobody ends.

    Attributes:
        folder: Its output.
        outcome: What is in it.
        states: The digests of the states behind each batch and epoch, by their moment.
        seconds: How long it takes.
    """

    folder: Path
    outcome: Outcome
    states: dict[str, Digest] = field(default_factory=dict)
    seconds: float = 0.0


def jobs(inputs: Path, whole: Path) -> list[Job]:
    """Return the commands.

    Args:
        inputs: The folder that `write_inputs` made.
        whole: The folder of the unbroken runs; that of the pretraining is what others start from.
    """
    corpus, table, trained = str(inputs / "corpus.txt"), str(inputs / "task.csv"), whole / "pretrain"

    def prepare(folder: Path) -> list[str]:
        return [
            "pretrain",
            corpus,
            "--store",
            str(folder / "ids"),
            "--prepare-only",
            "--out",
            str(folder / "out"),
            *TEXT,
        ]

    def pretrain(folder: Path) -> list[str]:
        return ["pretrain", corpus, "--out", str(folder / "out"), "--direction", "both", *TEXT, *SIZES]

    def classify(folder: Path) -> list[str]:
        numbers = ["--repeat", "2", "--lm-epochs", "1", "--epochs", "2", "--batch-size", "16"]
        places = ["--base", str(trained / "model"), "--out", str(folder / "out"), "--device", "cpu"]
        return ["classify", table, *places, *numbers]

    def release(folder: Path) -> list[str]:
        return ["release", str(trained), "--name", "toy", "--out", str(folder / "out"), "--shard-mb", "0.005"]

    def old(folder: Path) -> list[str]:
        return ["import", str(inputs / "old.pth"), str(inputs / "itos.pkl"), "--out", str(folder / "out")]

    return [
        Job("pretrain", pretrain, resumes=True),
        Job("prepare", prepare, out="ids"),
        Job("classify", classify, resumes=True),
        Job("release", release),
        Job("import", old),
    ]


def write_inputs(folder: Path, seed: int) -> None:
    """Write a corpus, a table of labelled texts, and the weights of an old library."""
    folder.mkdir(parents=True)
    generator = random.Random(seed)

    def text(label: str) -> str:
        words = WORDS[label].split()
        return " ".join(generator.choice(FILLERS + 3 * words) for _ in range(generator.randint(5, 15)))

    labels = list(WORDS)
    (folder / "corpus.txt").write_text("\n".join(text(generator.choice(labels)) for _ in range(300)))
    rows = [f"{text(label)},{label}" for label in labels * 16]
    (folder / "task.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    tokens = [*FASTAI, *(f"word{number}" for number in range(5_000))]
    torch.save(Plain(len(tokens), seed=seed).fastai(), folder / "old.pth")
    (folder / "itos.pkl").write_bytes(pickle.dumps(tokens))


def run_whole(server: Server, job: Job, folder: Path, log: Path) -> Whole:
    """Run a command to its end; if it keeps states, it keeps all of them.

    Raises:
        RuntimeError: It fails.
    """
    place, began = folder / f".{job.name}.making", time.monotonic()
    more = ["--save-minutes", "1e9"] if job.resumes else []
    if code := finish(server.start(Command([*job.arguments(place), *more], log, keep_all=job.resumes))):
        raise RuntimeError(f"{job.name} ends with code {code} where nobody ends it:\n{log.read_text()}")
    seconds = time.monotonic() - began
    states = states_below(place / f"{job.out}.unfinished") if job.resumes else {}
    (place / job.out).rename(folder / job.name)
    shutil.rmtree(place)
    return Whole(folder / job.name, outcome(folder / job.name), states, seconds)
