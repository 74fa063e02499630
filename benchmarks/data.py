"""Batches of language models, whether their cost depends on the length of the text, and dropout masks."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks import peers_fastai, synthetic
from benchmarks.driver import Case, Impl, Options, Work
from textxfer.kernels import keep_mask
from textxfer.text import LMBatches

_LANES, _BPTT, _VOCAB = 64, 70, 30_000
_DROPOUT, _MILLION = 0.5, 1_000_000


def cases(options: Options) -> Iterable[Case]:
    """Return loaders, lengths of text and masks."""
    yield _loaders(options)
    yield from _lengths_of_text(options)
    yield _masks(options)


def _loaders(options: Options) -> Case:
    """An epoch of a text that both loaders hold in memory."""
    tokens = options.size(_LANES * _BPTT * 100, _LANES * _BPTT * 2)
    return Case(
        name="lm-loader",
        impls=[
            Impl("textxfer", partial(_our_epoch, tokens, options), "int64"),
            Impl("fastai", partial(_their_epoch, tokens, options), "int64"),
        ],
        count=tokens,
        check=partial(_check_loader, options),
        limit=0.0,
        figures={"batch": _LANES, "bptt": _BPTT},
    )


def _our_epoch(tokens: int, options: Options) -> Work:
    source = synthetic.store(synthetic.filling(tokens), _VOCAB)
    return Work(_Epochs(LMBatches(source, _LANES, _BPTT, device=options.device)).run)


def _their_epoch(tokens: int, options: Options) -> Work:
    peers_fastai.fastai()
    docs = peers_fastai.documents(synthetic.store(synthetic.filling(tokens + 1), _VOCAB))
    loader = peers_fastai.lm_loader(docs, _LANES, _BPTT, options.device)
    return Work(peers_fastai.quiet(lambda: sum(len(batch) for batch in loader)))


class _Epochs:
    """Runs through a loader, in a new order each time."""

    def __init__(self, loader: LMBatches) -> None:
        self._loader, self._epoch = loader, 0

    def run(self) -> int:
        self._loader.set_epoch(self._epoch)
        self._epoch += 1
        return sum(batch.n for batch in self._loader)


def _check_loader(options: Options) -> dict[str, dict[str, float]]:
    """Count the tokens of an epoch that are not there exactly once."""
    tokens = _LANES * _BPTT * 2
    source = synthetic.store(synthetic.filling(tokens), _VOCAB)
    targets = [batch.target for batch in LMBatches(source, _LANES, _BPTT, device=options.device)]
    seen = torch.cat([target.flatten().cpu() for target in targets if target is not None]).numpy()
    found = np.bincount(seen, minlength=_VOCAB) - np.bincount(source.ids, minlength=_VOCAB)
    return {"textxfer": {"tokens_wrong": float(np.abs(found).sum())}}


def _lengths_of_text(options: Options) -> Iterable[Case]:
    """Whole epochs of texts on disk; all times are per million tokens, and are to be the same for all lengths."""
    millions = options.size((1, 10, 100), (1, 2))
    with tempfile.TemporaryDirectory(prefix="bench-data-") as folder:
        path = _write(Path(folder) / "ids.bin", millions[-1])
        impls = [Impl(f"textxfer-{m}m", partial(_from_disk, path, m, options), "int64", repeats=m) for m in millions]
        yield Case("lm-length", impls, count=_MILLION, peers=("textxfer-1m",), figures={"batch": _LANES, "bptt": _BPTT})


def _write(path: Path, millions: int) -> Path:
    block = synthetic.zipf(_MILLION, _VOCAB).astype("<u2").tobytes()
    with path.open("wb") as file:
        for _ in range(millions):
            file.write(block)
    return path


def _from_disk(path: Path, millions: int, options: Options) -> Work:
    ids = np.memmap(path, "<u2", "r", shape=(millions * _MILLION,))
    source = synthetic.store_of(ids, synthetic.filling(len(ids)), _VOCAB)
    return Work(_Epochs(LMBatches(source, _LANES, _BPTT, device=options.device)).run)


def _masks(options: Options) -> Case:
    """A mask for the recurrent weights of one layer."""
    shape = options.size((4608, 1152), (64, 32))
    like = torch.ones(shape, device=options.device)
    kept = 1 - _DROPOUT
    return Case(
        name="mask",
        impls=[
            Impl("textxfer", lambda: Work(lambda: keep_mask(shape, _DROPOUT, like))),
            Impl("torch-dropout", lambda: Work(lambda: F.dropout(like, _DROPOUT))),
            Impl("torch-bernoulli", lambda: Work(lambda: torch.empty_like(like).bernoulli_(kept).div_(kept))),
        ],
        count=like.numel(),
        unit="elements",
        peers=("torch",),
        check=lambda: {"textxfer": {"rate_err": abs(float(keep_mask(shape, _DROPOUT, like).mean()) - 1)}},
        limit=0.1,
        memory=False,
    )
