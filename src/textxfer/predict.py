"""From texts to labels and probabilities, with the model folder alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch

from textxfer.artifact import Artifact, ArtifactError, load_classifier
from textxfer.models import TextClassifier
from textxfer.models.precision import chosen_precision, computing_in, measure_spans
from textxfer.names import Precision
from textxfer.text import ClassBatches, Document, TokenStore
from textxfer.text.document import checked
from textxfer.training.pages import keep_pages
from textxfer.upload import upload

PAIR = "pair.json"
"""The file by which a folder says that it holds a model for each direction of reading."""
Direction = Literal["forward", "backward"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)


@dataclass(frozen=True)
class Prediction:
    """The most probable label of a text and the probability of each.

    Args:
        label: The most probable class.
        probabilities: Probability of each class by its name, the most probable first.
    """

    label: str
    probabilities: dict[str, float]

    @property
    def confidence(self) -> float:
        """Probability of the label, from 0 to 1."""
        return self.probabilities[self.label]


class Predictor:
    """Classifies texts with a loaded model.

    The probabilities of a text do not depend on what else is in the call, rounding aside. Of several threads one at a
    time may call it: the tokenizer remembers words, and spaCy is not made for several.

    Args:
        model: The classifier.
        artifact: Its text side.
        tokens_per_batch: Padded tokens in one batch; bounds the memory.
        dtype: In which numbers to compute: `fp32`, `fp16` (on a CPU: weights of the LSTM layers in float16, all else
            in float32), `bf16`, or `int8` (LSTM layers in 8 bits, on a CPU); `auto` is bf16 where the device
            multiplies it faster than fp32, else fp16 on a CPU and fp32 elsewhere.

    Raises:
        ValueError: The device cannot compute in `dtype`.
    """

    def __init__(
        self, model: TextClassifier, artifact: Artifact, tokens_per_batch: int = 65_536, dtype: Precision = "auto"
    ) -> None:
        self.model = model.eval()
        self.artifact = artifact
        self.tokens_per_batch = tokens_per_batch
        self.dtype: Precision = chosen_precision(dtype, next(model.parameters()).device)
        if self.dtype == "int8":
            measure_spans(model.encoder, artifact.vocab.counts)

    @classmethod
    def load(cls, folder: str | Path, device: str | torch.device = "cpu", dtype: Precision = "auto") -> Predictor:
        """Read a classifier's model folder, or one with a classifier for each direction of reading.

        Args:
            folder: The folder.
            device: Where to put the model.
            dtype: In which numbers to compute, see `Predictor`.

        Returns:
            The predictor; a `PairPredictor` for a folder with both directions.

        Raises:
            ArtifactError: The folder is missing or damaged.
        """
        if (Path(folder) / PAIR).is_file():
            parts = (Predictor(*load_classifier(Path(folder) / name, device), dtype=dtype) for name in DIRECTIONS)
            return PairPredictor(*parts)
        return Predictor(*load_classifier(folder, device), dtype=dtype)

    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes, in the order of the columns of `probabilities`."""
        return self.artifact.classes

    def __call__(self, texts: str | Iterable[str]) -> list[Prediction]:
        """Classify texts.

        Args:
            texts: One text or several.

        Returns:
            A prediction for each text, in their order; a list also for one text.

        Raises:
            DataError: A text is empty; the message names its place.
            TypeError: `texts` is a mapping, of which only the keys would be read.
        """
        rows = self.probabilities([texts] if isinstance(texts, str) else texts)
        return [self._prediction(row) for row in rows]

    def stream(self, texts: Iterable[str], chunk: int = 1024) -> Iterator[Prediction]:
        """Classify texts of any number, some at a time.

        Args:
            texts: The texts; read as they are needed.
            chunk: How many are classified together, >= 1.

        Yields:
            A prediction for each text, in their order.

        Raises:
            DataError: A text is empty; the message names its place among all texts.
            TypeError: `texts` is a single text or a mapping.
            ValueError: `chunk` is below 1.
        """
        _check_several(texts)
        if chunk < 1:
            raise ValueError(f"chunk must be at least 1, not {chunk}")
        source, first = iter(texts), 1
        while block := list(islice(source, chunk)):
            yield from map(self._prediction, self._probabilities(block, first))
            first += len(block)

    def probabilities(self, texts: Iterable[str]) -> np.ndarray:
        """Return the probabilities of texts, (N, C), float32: N texts by C classes, in the order of `classes`.

        Args:
            texts: The texts.

        Raises:
            DataError: If a text is empty; the message names its place.
            TypeError: `texts` is a single text, of which each letter would be one, or a mapping, of which only the
                keys would be read.
        """
        _check_several(texts)
        return self._probabilities(list(texts))

    def _probabilities(self, texts: list[str], first: int = 1) -> np.ndarray:
        """Return the probabilities of texts; messages count from `first`."""
        if not texts:
            return np.zeros((0, len(self.classes)), dtype=np.float32)
        documents = [_document(text, number) for number, text in enumerate(texts, first)]
        store = TokenStore.build(None, documents, self.artifact.tokenizer, vocab=self.artifact.vocab)
        return self.predict_store(store)

    def predict_store(self, store: TokenStore) -> np.ndarray:
        """Return the probabilities of a store's documents, (N, C), in the store's order.

        Args:
            store: Documents in the model's vocabulary.
        """
        device = next(self.model.parameters()).device
        batches = ClassBatches(
            store,
            batch_size=256,
            tokens_per_batch=self.tokens_per_batch,
            shuffle=False,
            backward=self.artifact.backward,
        )
        several = keep_pages(device) if len(batches) > 1 else nullcontext()
        with torch.inference_mode(), several, computing_in(self.model, self.dtype):
            # They stay on the device until all are there: to fetch each batch would be to wait for it.
            logits = [self.model(upload(ids, device), lengths).logits.float() for (ids, lengths), _, _ in batches]
            return torch.softmax(batches.unsort(torch.cat(logits).cpu()), dim=1).numpy()

    def _prediction(self, row: np.ndarray) -> Prediction:
        order: list[int] = np.argsort(-row, kind="stable").tolist()
        return Prediction(self.classes[order[0]], {self.classes[index]: float(row[index]) for index in order})


class PairPredictor(Predictor):
    """Classifies texts by the mean of the probabilities of two classifiers (Howard & Ruder 2018, section 3.3).

    Args:
        forward: The classifier that reads forward.
        backward: The one that reads backward, with the same vocabulary, tokenizer and classes.

    Raises:
        ArtifactError: The two do not belong together.
    """

    def __init__(self, forward: Predictor, backward: Predictor) -> None:
        super().__init__(forward.model, forward.artifact, forward.tokens_per_batch, forward.dtype)
        self.parts = (forward, backward)
        one, other = forward.artifact, backward.artifact
        if one.backward or not other.backward:
            raise ArtifactError(
                "a pair needs a classifier that reads forward and one that reads backward, in this order"
            )
        for what, same in (
            ("vocabulary", one.vocab == other.vocab),
            ("tokenizer", one.tokenizer.fingerprint == other.tokenizer.fingerprint),
            ("list of classes", tuple(one.classes) == tuple(other.classes)),
        ):
            if not same:
                raise ArtifactError(f"the two classifiers of a pair must have the same {what}")

    def predict_store(self, store: TokenStore) -> np.ndarray:
        """Return the mean probabilities of a store's documents, (N, C), in the store's order."""
        return np.mean([part.predict_store(store) for part in self.parts], axis=0)


def _check_several(texts: object) -> None:
    if isinstance(texts, str):
        raise TypeError("texts must be a list of texts, not a single one, of which each letter would be a text")
    if isinstance(texts, Mapping):
        raise TypeError("texts must be a list of texts; of a dict take the values that are texts")


def _document(text: object, number: int) -> Document:
    if not isinstance(text, str):
        raise TypeError(f"text {number} is of type {type(text).__name__}, and should be a string")
    document = Document(text, None, number)
    checked(document, f"text {number}", "error")
    return document
