"""What `classify` trains on and what it reports on."""

from __future__ import annotations

from itertools import islice
from typing import Any

from textxfer import distributed
from textxfer.artifact import Artifact
from textxfer.cli.common import VALID
from textxfer.cli.config import ClassifyConfig
from textxfer.cli.prepared import describe_files, describe_text
from textxfer.cli.reading import Words, read_documents
from textxfer.cli.training import new_tokenizer
from textxfer.recipe import Recipe
from textxfer.task import TaskData, prepare
from textxfer.text import DataError, Document, TokenStore, check_classes, split_documents


def read_task(config: ClassifyConfig, recipe: Recipe, base: Artifact | None) -> tuple[TaskData, TokenStore]:
    """Read and tokenize.

    Args:
        config: The options of the command.
        recipe: The recipe, for the size of a new vocabulary.
        base: The pretrained language model, whose tokenizer is used; None makes one.

    Returns:
        The training data, and the held-out documents for the report.

    Raises:
        DataError: A file cannot be read, or there are fewer than two classes.
    """
    train, held_out = _labelled(config)
    unlabelled = list(islice(Words(config.unlabelled, config, max_words=None), config.max_unlabelled))
    tokenizer = new_tokenizer(config, recipe, [*train, *unlabelled]) if base is None else None
    data = prepare(
        train,
        unlabelled=unlabelled,
        base=base,
        recipe=recipe,
        tokenizer=tokenizer,
        n_workers=config.workers,
        progress=distributed.is_main(),
    )
    return data, data.encode(held_out)


def _labelled(config: ClassifyConfig) -> tuple[list[Document], list[Document]]:
    """Read the labelled documents: those to train on and those to report on."""
    if config.split_column is not None:
        if config.test is not None:
            raise DataError("--split-column and --test both say what is held out; give one of them")
        train, held_out = (
            read_documents(config.data, config, config.label, limit, only=(config.split_column, part))
            for part, limit in (("train", config.max_rows), ("test", config.max_test))
        )
        check_classes(train)
        return train, held_out
    documents = read_documents(config.data, config, config.label, config.max_rows)
    check_classes(documents)
    if config.test is not None:
        return documents, read_documents(config.test, config, config.label, config.max_test)
    return split_documents(documents, config.valid or VALID, config.seed)


def source_of(config: ClassifyConfig, data: TaskData, test: TokenStore) -> dict[str, Any]:
    """Return what the run card says of the text: how much there is, and the files that it comes from."""
    paths = [config.data, *([] if config.test is None else [config.test]), *config.unlabelled]
    return describe_text({"train": data.train, "test": test}, describe_files(list(dict.fromkeys(paths))))
