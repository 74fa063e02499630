"""A tiny task whose classes differ by their words, made from a seed."""

from __future__ import annotations

import csv
import random
from dataclasses import replace
from pathlib import Path

from textxfer.presets import SMALL
from textxfer.recipe import Recipe, Stage
from textxfer.task import TaskData, prepare
from textxfer.text import Document, RulesTokenizer

WORDS = {
    "animal": ["cat", "dog", "bird", "fish", "horse", "sheep"],
    "colour": ["red", "green", "blue", "yellow", "violet", "white"],
    "number": ["one", "two", "three", "four", "five", "six"],
}
FILLERS = ["the", "a", "of", "and", "was", "with", "under", "over", "near"]

TINY: Recipe = replace(
    SMALL,
    embed=12,
    hidden=16,
    min_count=1,
    pretrain=replace(SMALL.pretrain, batch_size=8, bptt=10),
    finetune=replace(SMALL.finetune, batch_size=8, bptt=10, stages=(Stage(1, 4e-3, schedule="one-cycle"),)),
    classify=replace(SMALL.classify, stages=(Stage(8, 5e-2, schedule="one-cycle"),), unfreeze=None),
)


def documents(n: int = 90, seed: int = 0, labelled: bool = True) -> list[Document]:
    generator = random.Random(seed)
    made = []
    for row in range(1, n + 1):
        label = list(WORDS)[row % len(WORDS)]
        words = [generator.choice(FILLERS + 3 * WORDS[label]) for _ in range(generator.randint(4, 12))]
        made.append(Document(" ".join([*words, generator.choice(WORDS[label])]), label if labelled else None, row))
    return made


def task(n: int = 90, **options) -> TaskData:
    return prepare(documents(n), documents(20, seed=1), recipe=TINY, tokenizer=RulesTokenizer(), **options)


def write_csv(path: Path, rows: list[Document]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["text", "label"])
        table.writerows([document.text, document.label] for document in rows)
    return path
