"""What several commands can be told: base classes of the configurations in `config`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from textxfer.names import RECIPES
from textxfer.options import ABOVE_0, AT_LEAST_1, SEED, option

VALID = 0.1
"""Share of the documents that are held out, unless something else is said."""
CHOSEN = {"language": "en", "tokenizer": "spacy"}
"""What is taken where these options count and are left out."""


@dataclass(kw_only=True)
class Reading:
    """How documents are read."""

    text: tuple[str, ...] = option(("text",), help="column of the text, or several, which become marked fields")
    delimiter: str | None = option(None, help="delimiter of a table; by default tab for .tsv, else comma")
    encoding: str = option("utf-8", help="encoding of the files")
    errors: Literal["strict", "replace"] = option(
        "strict", help="what to do with bytes that are no text: stop, or go on with U+FFFD"
    )
    breaks: Literal["wiki", "blank", "line"] = option("wiki", help="what parts the documents of a text file")
    skip_empty: bool = option(False, help="leave out rows with an empty text instead of stopping")


@dataclass(kw_only=True)
class Training(Reading):
    """What all commands that train can be told."""

    out: Path = option(help="folder for models and reports")
    replace: bool = option(False, help="replace an existing output folder that such a command wrote")
    recipe: str = option("small", help="preset of sizes, rates and dropouts", choices=RECIPES)
    batch_size: int | None = option(
        None, help="lanes or documents per batch, instead of the recipe's", within=AT_LEAST_1
    )
    direction: Literal["forward", "backward", "both"] | None = option(
        None,
        help="read texts from the start, from the end, or train a model for each and average their probabilities; "
        "those of the pretrained model if there is one, else forward",
    )
    precision: Literal["bf16", "fp16", "fp32"] = option(
        "bf16",
        help="numbers to compute in: bf16, which is fp32 on devices without it, fp16 for GPUs without bf16, or fp32",
    )
    device: str | None = option(None, help="cpu, cuda or cuda:N; the GPU if there is one")
    workers: int = option(1, help="processes that tokenize", within=AT_LEAST_1)
    seed: int = option(0, help="seed of weights, dropouts, splits and order", within=SEED)
    dry_run: bool = option(False, help="take every stage through two batches and print the plan, writing nothing")
    timeout_minutes: float = option(
        10.0,
        help="minutes after which another process of torchrun counts as lost if it does not answer",
        within=ABOVE_0,
    )


@dataclass(kw_only=True)
class Resumable(Training):
    """What commands can be told that save states from which they can go on."""

    save_minutes: float = option(10.0, help="minutes between two states from which --resume can go on", within=ABOVE_0)
    resume: bool = option(False, help="go on from the last state of an interrupted run with the same options")
    stop_minutes: float | None = option(
        None,
        help="stop at a saved state after about this many minutes, with exit code 75; then go on with --resume",
        within=ABOVE_0,
    )


@dataclass(kw_only=True)
class NewTokenizer(Training):
    """How a tokenizer is made where there is no pretrained model, which brings its own."""

    language: str | None = option(None, help="spaCy language code of a new tokenizer, en if left out")
    tokenizer: Literal["spacy", "rules", "bpe", "unigram"] | None = option(
        None,
        help="kind of a new tokenizer: words by spaCy (if left out) or by rules alone, or pieces of words learned from "
        "the text",
    )

    def new_tokenizer(self) -> None:
        """Choose what was left out."""
        for name, value in CHOSEN.items():
            setattr(self, name, getattr(self, name) or value)
