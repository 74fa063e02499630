"""The texts of one task as ids: what the language model may read, what is labelled, what is held out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from textxfer.artifact import Artifact
from textxfer.recipe import SMALL, Recipe
from textxfer.text import Document, SpacyTokenizer, Tokenizer, TokenStore, Vocab, check_classes, read_csv


@dataclass(frozen=True, eq=False)
class TaskData:
    """Training and held-out documents with one vocabulary.

    Attributes:
        train: All documents that training may see, labelled or not: the language model reads them all.
        valid: Held-out documents: neither language model nor classifier learns from them.
    """

    train: TokenStore
    valid: TokenStore | None = None

    @property
    def labelled(self) -> np.ndarray:
        """Rows of `train` that have a label: what the classifier learns from."""
        return np.flatnonzero(np.asarray(self.train.labels) >= 0)

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
        """Return further documents, such as a test set, in the task's vocabulary and classes."""
        return TokenStore.build(None, documents, like=self.train)
