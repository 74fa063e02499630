"""The texts of one task as ids: what the language model may read, what is labelled, what is held out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from textxfer.artifact import Artifact
from textxfer.presets import SMALL
from textxfer.recipe import Recipe
from textxfer.text import Document, SpacyTokenizer, Tokenizer, TokenStore, Vocab


@dataclass(frozen=True, eq=False)
class TaskData:
    """Training and held-out documents with one vocabulary.

    Attributes:
        train: All documents that training may see, labelled or not: the language model reads them all.
        valid: Held-out documents: neither the language model nor the classifier learns from them.
    """

    train: TokenStore
    valid: TokenStore | None = None

    @property
    def labelled(self) -> np.ndarray:
        """Rows of `train` that have a label, from which the classifier learns, (N,)."""
        return np.flatnonzero(self.train.labels >= 0)

    @property
    def vocab(self) -> Vocab:
        """The vocabulary."""
        return self.train.vocab

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer."""
        return self.train.tokenizer

    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes."""
        return self.train.classes

    def encode(self, documents: Iterable[Document]) -> TokenStore:
        """Return further documents in the task's vocabulary and classes.

        Args:
            documents: Such as a test set; their labels must be among the task's classes.
        """
        return TokenStore.build(None, documents, like=self.train)


def prepare(
    train: Iterable[Document],
    valid: Iterable[Document] = (),
    *,
    unlabelled: Iterable[Document] = (),
    base: Artifact | None = None,
    recipe: Recipe = SMALL,
    tokenizer: Tokenizer | None = None,
    n_workers: int = 1,
    progress: bool = False,
) -> TaskData:
    """Tokenize a task's documents and choose its vocabulary.

    Args:
        train: Labelled training documents; for a general language model, documents without labels.
        valid: Held-out documents; neither vocabulary nor models see them.
        unlabelled: Further documents for the language model; their labels, if any, are dropped.
        base: The pretrained language model that training starts from: its tokenizer is used and, if the recipe says
            so, the vocabulary is extended by its tokens.
        recipe: Text rules and size of the vocabulary.
        tokenizer: The tokenizer of a model from scratch; spaCy's for English with the recipe's rules if None.
        n_workers: Number of processes that tokenize.
        progress: Show how far the tokenizing has come.

    Returns:
        Both parts as ids, with one vocabulary.

    Raises:
        DataError: If there are no documents, or a held-out label that training does not have.
    """
    if base is not None:
        tokenizer = base.tokenizer
    tokenizer = tokenizer or SpacyTokenizer(rules=recipe.rules)
    documents = chain(train, (Document(document.text, None, document.row) for document in unlabelled))
    store = TokenStore.build(
        None,
        documents,
        tokenizer,
        max_vocab=recipe.max_vocab,
        min_count=recipe.min_count,
        extend=base.vocab if base is not None and recipe.extend_vocab else None,
        n_workers=n_workers,
        progress=progress,
    )
    held_out = list(valid)
    return TaskData(store, TokenStore.build(None, held_out, like=store, n_workers=n_workers) if held_out else None)
