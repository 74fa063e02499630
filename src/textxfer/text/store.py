"""The token store: a corpus as ids, memory-mapped, together with all that gives the ids their meaning."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from textxfer.text.card import StoreCard, card
from textxfer.text.document import Document
from textxfer.text.gather import gather
from textxfer.text.specials import BOS
from textxfer.text.store_build import Recipe, Work, build
from textxfer.text.store_files import Built, read_store
from textxfer.text.tokenizer import Tokenizer
from textxfer.text.vocab import Vocab


class TokenStore:
    """Documents as token ids, with their labels and rows; made by `build`, `open` and `subset`.

    Args:
        built: A store as `store_build` made it or `store_files` read it.
        docs: Indices of the documents to have, (D,); None for all.

    Attributes:
        path: The folder; None if the store is in memory.
        vocab: What the ids mean.
        tokenizer: How the documents were tokenized.
        classes: Class names, sorted; labels are positions in it. Empty if no document has a class.
        label_kind: `single` (one class), `multi` (any number of classes) or `number` (a number to predict).
        labels: Class of each document (int64, (D,)); its number of classes if there may be several, 0 for a number;
            always -1 for a document without label. D stands for the number of documents.
        rows: Row of each document in its source (int64, (D,)).
        starts: Where each document begins among the ids (int64, (D,)).
        lengths: Number of tokens of each document (int64, (D,)); at least 1.
        meta: Format, fingerprints and counts as stored.
    """

    def __init__(self, built: Built, docs: np.ndarray | None = None) -> None:
        self.path = built.path
        self.vocab = built.vocab
        self.tokenizer = built.tokenizer
        self.classes = built.classes
        self.label_kind = built.label_kind
        self.meta = built.meta
        self._built = built
        self._docs = docs
        offsets, labels, rows = (built.arrays[name] for name in ("offsets", "labels", "rows"))
        chosen = slice(None) if docs is None else docs
        self.starts: np.ndarray = offsets[:-1][chosen]
        self.lengths: np.ndarray = np.diff(offsets)[chosen]
        self.labels: np.ndarray = labels[chosen]
        self.rows: np.ndarray = rows[chosen]

    @classmethod
    def build(
        cls,
        path: str | Path | None,
        documents: Iterable[Document | str],
        tokenizer: Tokenizer | None = None,
        *,
        vocab: Vocab | None = None,
        extend: Vocab | None = None,
        max_vocab: int = 60_000,
        min_count: int = 2,
        classes: Sequence[str] = (),
        like: TokenStore | None = None,
        n_workers: int = 1,
        overwrite: bool = False,
        progress: bool = False,
    ) -> TokenStore:
        """Tokenize documents, choose a vocabulary unless one is given, and store the ids.

        A folder that already holds a store of the same documents, built the same way, is opened instead. The new one
        is written under a temporary name and then renamed, so it is complete or not there.

        Args:
            path: The folder to write; None keeps the store in memory.
            documents: Documents, or plain texts. What can be iterated over twice (a list, a `Corpus`) is compared
                with an existing store without tokenizing it.
            tokenizer: The tokenizer; may be left out with `like`.
            vocab: Use this vocabulary instead of counting one. A tokenizer that knows all its tokens, as subword
                tokenizers do in `pieces`, brings its own.
            extend: Let the counted vocabulary also have the tokens of this one, such as a pretrained model's.
            max_vocab: Largest size of a counted vocabulary, special tokens included.
            min_count: Leave out tokens seen less often; at least 1.
            classes: The class names that labels must belong to, such as a model's; empty: those of the documents.
            like: Use tokenizer, vocabulary and, if it has labels, their kind and classes: for validation and test.
            n_workers: Number of processes that tokenize; the result does not depend on it.
            overwrite: Replace a folder that holds a different store.
            progress: Show on the standard error stream how far it has come, and at the end MB/s and tokens/s.

        Returns:
            The store, new or opened.

        Raises:
            DataError: No documents, a label that `like` cannot have, or a different store in the folder.
            ValueError: Arguments that contradict each other.
        """
        if like is not None:
            if vocab is not None and vocab != like.vocab:
                raise ValueError("vocab and like.vocab differ; give one of them")
            vocab = like.vocab
        classes, kind = (classes, None) if like is None else (like.classes, like._built.known_kind)
        tokenizer = _tokenizer_for(tokenizer, like)
        if vocab is not None and (missing := [token for token in tokenizer.specials if token not in vocab]):
            raise ValueError(f"the vocabulary lacks special tokens of {tokenizer}: {', '.join(missing)}")
        if vocab is None and extend is None and (pieces := getattr(tokenizer, "pieces", None)):
            vocab = Vocab(pieces)  # all that a tokenizer of pieces can return: nothing is unknown
        recipe = Recipe(tokenizer, vocab, extend, max_vocab, min_count, tuple(classes), kind)
        target = None if path is None else Path(path)
        return cls(build(target, documents, recipe, Work(n_workers, overwrite, progress)))

    @classmethod
    def open(cls, path: str | Path, vocab: Vocab | None = None, *, verify: bool = True) -> TokenStore:
        """Open a store; its ids stay on disk until they are read.

        Args:
            path: The folder.
            vocab: The vocabulary that the store must have, such as a model's.
            verify: Whether to read all ids once and compare their checksum.

        Returns:
            The store.

        Raises:
            FileNotFoundError: No such folder, or it holds no store.
            DataError: A file is missing or damaged, or the vocabulary is another one.
        """
        return cls(read_store(Path(path), vocab, verify=verify))

    @cached_property
    def ids(self) -> np.ndarray:
        """All ids, documents one after the other (uint16 or uint32); a view gathers its documents at first use."""
        return self._built.ids if self._docs is None else self.gather()

    @cached_property
    def offsets(self) -> np.ndarray:
        """Bounds of the documents in `ids`, (D + 1,) int64; document i begins at `offsets[i]`."""
        return np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int64)

    @property
    def base_ids(self) -> np.ndarray:
        """The ids that `starts` points into; a view shares those of its store."""
        return self._built.ids

    @cached_property
    def label_ids(self) -> np.ndarray:
        """Classes of all documents that may have several, one document after the other; `labels` says how many each."""
        ids, counts = self._built.arrays["label_ids"], self._built.arrays["labels"].clip(min=0)
        if self._docs is None:
            return ids
        chosen = self._docs[counts[self._docs] > 0]
        return gather(ids, (np.cumsum(counts) - counts)[chosen], counts[chosen])

    @property
    def values(self) -> np.ndarray:
        """The number to predict for each document (float64, (D,)), NaN without label."""
        values = self._built.arrays["values"]
        return values if self._docs is None else values[self._docs]

    @property
    def n_tokens(self) -> int:
        """Number of tokens in all documents."""
        return int(self.lengths.sum())

    def gather(self, docs: np.ndarray | None = None, *, backward: bool = False) -> np.ndarray:
        """Return the ids of documents, one document after the other.

        Args:
            docs: Which documents, in which order; None: all.
            backward: Whether to reverse each document behind its `xxbos`.
        """
        starts, lengths = self.starts, self.lengths
        if docs is not None:
            starts, lengths = starts[docs], lengths[docs]
        return gather(self._built.ids, starts, lengths, backward=backward)

    def subset(self, indices: Sequence[int] | np.ndarray) -> TokenStore:
        """Return a view of some documents; ids are shared, not copied.

        Args:
            indices: Which documents, in which order, negative ones counted from the end; or a mask over all.
        """
        picked = np.asarray(indices)
        chosen = np.arange(len(self))[picked if picked.size else picked.astype(np.int64)]
        return TokenStore(self._built, chosen if self._docs is None else self._docs[chosen])

    def split(self, valid: float = 0.1, seed: int = 0, stratify: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """Divide the documents at random into training and validation.

        Args:
            valid: Share of the documents for validation, between 0 and 1.
            seed: Seed of the choice.
            stratify: Whether to take that share of each class; every class keeps a document for training.

        Returns:
            Indices of the training and of the validation documents, each ascending.

        Raises:
            ValueError: `valid` is not between 0 and 1, or leaves no document for validation.
        """
        if not 0 < valid < 1:
            raise ValueError(f"valid={valid} must be a share between 0 and 1")
        rng = np.random.default_rng(seed)
        groups = self.labels if stratify else np.zeros(len(self), np.int64)
        chosen = np.zeros(len(self), bool)
        for group in np.unique(groups):
            members = np.flatnonzero(groups == group)
            n_valid = min(round(valid * len(members)), len(members) - 1)
            chosen[rng.permutation(members)[:n_valid]] = True
        if not chosen.any():
            raise ValueError(f"valid={valid} of {len(self)} documents leaves none for validation; take a larger share")
        return np.flatnonzero(~chosen), np.flatnonzero(chosen)

    def oov_share(self) -> float:
        """Return the share of tokens that are not in the vocabulary, 0 to 1; `xxbos` does not count."""
        tokens = self.n_tokens - len(self)
        return float(np.count_nonzero(self.ids == self.vocab.unk_id)) / tokens if tokens else 0.0

    def card(self, others: Mapping[str, TokenStore] | None = None, *, duplicates: bool = False) -> StoreCard:
        """Return the figures that describe the store; printed, they are a readable text.

        Args:
            others: Further stores by name, such as the other parts of a split: duplicates between them are counted.
            duplicates: Whether to look for duplicates within the store; a second for some thousand documents.
        """
        return card(self, others, duplicates=duplicates)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> np.ndarray:
        """Return the ids of one document."""
        start = self.starts[index]
        return self._built.ids[start : start + self.lengths[index]]

    def __repr__(self) -> str:
        where = "in memory" if self.path is None else f"at {self.path}"
        return f"<TokenStore {where}: {len(self):,} documents, {self.n_tokens:,} tokens, {len(self.vocab):,} types>"


def _tokenizer_for(tokenizer: Tokenizer | None, like: TokenStore | None) -> Tokenizer:
    if like is None:
        if tokenizer is None:
            raise ValueError("a tokenizer is needed, or a store to take it from: like=")
        if BOS not in tokenizer.specials:
            raise ValueError(f"the tokenizer has no {BOS!r} among its special tokens")
        return tokenizer
    if tokenizer is not None and tokenizer.fingerprint != like.tokenizer.fingerprint:
        raise ValueError(f"{tokenizer} and the tokenizer of the store given as like= ({like.tokenizer}) differ")
    return like.tokenizer
