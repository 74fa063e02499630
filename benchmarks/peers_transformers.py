"""DistilBERT with random weights from its default configuration: no download, for its speed alone."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.driver import Options, Work
from benchmarks.peers import optional
from textxfer.text import TokenStore

MAX_TOKENS = 512
_BATCH = 32
_SIZES = {"dim": 768, "hidden_dim": 3072, "n_layers": 6, "n_heads": 12}
"""Those of its default configuration."""
_TINY = {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 2}


def distilbert(source: TokenStore, dtype: torch.dtype, options: Options) -> Work:
    """Return rounds that classify all documents, sorted by length, each cut to 512 tokens."""
    batches = _batches(source, options.device)
    model = _model(len(source.vocab), dtype, options)

    @torch.inference_mode()
    def run() -> None:
        for ids, mask in batches:
            model(input_ids=ids, attention_mask=mask).logits.float().softmax(-1).cpu()

    return Work(run)


def flops(source: TokenStore, options: Options) -> float:
    """Return the operations of a round, by the sizes of its layers' matrix products; padding does not count."""
    sizes, tokens = options.size(_SIZES, _TINY), source.lengths.clip(max=MAX_TOKENS).astype(float)
    dim, inner = sizes["dim"], sizes["hidden_dim"]
    weights = 4 * dim * dim + 2 * dim * inner  # query, key, value, output; then up and down
    attention = 2 * dim * tokens  # each word looks at all, and takes from all
    return 2.0 * sizes["n_layers"] * float((tokens * (weights + attention)).sum())


def _model(vocab: int, dtype: torch.dtype, options: Options) -> Any:
    transformers = optional("transformers")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = transformers.DistilBertConfig(vocab_size=vocab, num_labels=2, **options.size(_SIZES, _TINY))
        model = transformers.DistilBertForSequenceClassification(config)
    return model.to(options.device, dtype).eval()


def _batches(source: TokenStore, device: str) -> list[tuple[Tensor, Tensor]]:
    """Return ids and masks (B, T) of documents of similar length."""
    sizes = source.lengths.clip(max=MAX_TOKENS)
    order = np.argsort(-sizes, kind="stable")
    found = []
    for start in range(0, len(order), _BATCH):
        rows = order[start : start + _BATCH]
        inside = torch.arange(int(sizes[rows].max())) < torch.from_numpy(sizes[rows])[:, None]
        ids = torch.zeros(inside.shape, dtype=torch.int64)
        ids[inside] = torch.from_numpy(np.concatenate([source[row][:MAX_TOKENS] for row in rows]).astype(np.int64))
        found.append((ids.to(device), inside.to(device, torch.int64)))
    return found
