"""The texts of one task as ids: what the language model may read, what is labelled, what is held out."""

from __future__ import annotations

from collections import defaultdict
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
        """Rows of `train` that have a label: what the classifier learns from."""
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
        """Return further documents, such as a test set, in the task's vocabulary and classes."""
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
    )
    held_out = list(valid)
    return TaskData(store, TokenStore.build(None, held_out, like=store, n_workers=n_workers) if held_out else None)


def split_documents(
    documents: Sequence[Document], share: float, seed: int = 0
) -> tuple[list[Document], list[Document]]:
    """Hold out a share of each class at random.

    Args:
        documents: The documents; those without a label count as a class of their own.
        share: Share to hold out, between 0 and 1.
        seed: Seed of the choice.

    Returns:
        What is left and what is held out, each in the order given. Every class keeps at least one document, and
        gives at least one away if it has several.
    """
    if not 0 < share < 1:
        raise ValueError(f"the held-out share must lie between 0 and 1, not {share}")
    places: defaultdict[str | None, list[int]] = defaultdict(list)
    for place, document in enumerate(documents):
        places[document.label].append(place)
    generator, held = np.random.default_rng(seed), set()
    for label in sorted(places, key=str):
        members = places[label]
        n_held = min(max(round(share * len(members)), 1), len(members) - 1)
        held.update(int(place) for place in generator.permutation(members)[:n_held])
    kept = [document for place, document in enumerate(documents) if place not in held]
    return kept, [document for place, document in enumerate(documents) if place in held]
