"""The perplexity of texts that a released model has not seen, per token of its vocabulary and per word of the text.

What a token is depends on the tokenizer and what is unknown on the vocabulary, so the figure per token compares models
of one vocabulary only. Per word is e to the power of all negative log-likelihood over the number of words between
white space in the file, whatever the tokens.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from textxfer.artifact import Artifact
from textxfer.cli.config import ReleaseConfig
from textxfer.cli.reading import Words
from textxfer.models import LanguageModel, token_loss
from textxfer.text import DataError, Document, LMBatches, TokenStore, detokenize
from textxfer.training.metric import sum_dtype
from textxfer.training.pages import keep_pages

_LANES, _SPAN, _WINDOW = 8, 5_000, 70
"""Most lanes, the fewest tokens of one, and tokens per step. Only the first tokens of a lane lack what stood before."""
_UNKNOWN, _RARE = "<unk>", "qxunkq"
"""WikiText's mark for a rare word, and a word that no vocabulary has, to be scored as unknown."""
_SPLIT = re.compile(r" @([-,.])@ ")


@dataclass(frozen=True)
class Text:
    """A text to be measured on.

    Attributes:
        name: Name of the file and of the folder that it lies in: files of splits are often called alike.
        documents: Its documents.
        words: Number of words between white space in the file.
        detokenized: Whether WikiText's spaces and marks were taken back before the model read it.
    """

    name: str
    documents: list[Document]
    words: int
    detokenized: bool


def read_text(path: Path, config: ReleaseConfig, *, wikitext: bool) -> Text:
    """Read a text, up to `max_words` words.

    Args:
        path: The file.
        config: How it is read.
        wikitext: Whether it is tokenized in the manner of WikiText; it is detokenized then.

    Raises:
        DataError: It cannot be read, or is no such text.
    """
    name = "/".join(path.absolute().parts[-2:])
    documents = list(Words([path], config, config.max_words))
    words = sum(len(document.text.split()) for document in documents)
    if not wikitext:
        return Text(name, documents, words, False)
    if not any(" , " in document.text or " @-@ " in document.text for document in documents):
        raise DataError(f"{path}: has no spaces before commas, so it is not tokenized as WikiText; give it with --test")
    return Text(name, [replace(each, text=natural(each.text)) for each in documents], words, True)


def natural(text: str) -> str:
    """Return text of WikiText with the spaces of ordinary text; `<unk>` becomes a word that no vocabulary has."""
    lines = (_SPLIT.sub(r"\1", line).replace(_UNKNOWN, _RARE).split() for line in text.split("\n"))
    return "\n".join(f" {detokenize(words)} " if words[:1] == ["="] else detokenize(words) for words in lines)


def measure(artifact: Artifact, text: Text, device: str) -> dict[str, Any]:
    """Return the perplexity of a text under a language model, each token counted once, and what it was measured on."""
    if not isinstance(artifact.model, LanguageModel):
        raise TypeError(f"perplexity is of language models, not of {type(artifact.model).__name__}")
    store = TokenStore.build(None, text.documents, artifact.tokenizer, vocab=artifact.vocab)
    lanes = max(1, min(_LANES, store.n_tokens // _SPAN))
    batches = LMBatches(store, lanes, _WINDOW, shuffle=False, backward=artifact.backward, device=device)
    total = _negative_log_likelihood(artifact.model.to(device).eval(), batches)
    return {
        "file": text.name,
        "detokenized": text.detokenized,
        "words": text.words,
        "tokens": store.n_tokens,
        "unknown": store.oov_share(),
        "per_token": _exp(total / store.n_tokens),
        "per_word": _exp(total / text.words),
    }


def written(perplexity: float | None, digits: int) -> str:
    """Return a perplexity as people read it."""
    return "too large" if perplexity is None else f"{perplexity:.{digits}f}"


def _exp(nats: float) -> float | None:
    """Return e to a power; None if it is too large for a number: where no white space is, a line is a word."""
    try:
        return math.exp(nats)
    except OverflowError:
        return None


def _negative_log_likelihood(model: LanguageModel, batches: LMBatches) -> float:
    """Return the sum over all tokens, in nats; the state goes on from window to window."""
    total, state = torch.zeros((), dtype=sum_dtype(batches.device), device=batches.device), None
    forward: Callable[..., Any] = model
    with torch.no_grad(), keep_pages(batches.device):
        for (ids,), target, n in batches:
            out = forward(ids, state)
            state = out.hidden
            if target is not None:
                total += token_loss.of_output(out, target).to(total.dtype) * n
    return total.item()
