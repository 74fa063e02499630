"""Writing text: so many words after a short prompt, with a model of full size and random weights.

`textxfer` is `textxfer.generate`; `fastai` is `LMLearner.predict`, which reads the whole text again for each word.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks import class_models, peers_fastai, synthetic
from benchmarks.class_models import DTYPES, Dtype, Sizes
from benchmarks.driver import Case, Impl, Options, Work, relative_error
from benchmarks.peers import checking, optional
from textxfer import generate
from textxfer.models import AWDLSTMConfig, LanguageModel
from textxfer.models.precision import computing_in, measure_spans
from textxfer.text import TokenStore

_PROMPT = 8
_LIMIT = 0.15
"""Largest relative error of logits; in 8 bits it is some hundredths."""


def cases(options: Options) -> Iterable[Case]:
    """Return texts of two lengths: the time of a word is to be the same in both."""
    sizes = options.size(class_models.FULL, class_models.QUICK)
    source = synthetic.store(np.array([_PROMPT]), sizes["vocab"], seed=1)
    check = cache(partial(_check, source, sizes, options))  # one for both
    for n_words in options.size((50, 150), (4,)):
        impls = [
            Impl(f"textxfer-{dtype}", partial(_ours, source, n_words, sizes, dtype, options), DTYPES[dtype])
            for dtype in DTYPES
        ]
        impls.append(Impl("fastai", partial(_theirs, source, n_words, sizes, options)))
        name = f"words-{n_words}"
        yield Case(name, impls, count=n_words, unit="words", check=check, limit=_LIMIT, memory=False, warmups=1)


def _model(sizes: Sizes, device: str) -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(AWDLSTMConfig(**sizes)).to(device).eval()


def _ours(source: TokenStore, n_words: int, sizes: Sizes, dtype: Dtype, options: Options) -> Work:
    write = partial(generate, _model(sizes, options.device), source.vocab, source.tokenizer, stop=None, dtype=dtype)
    (prompt,) = synthetic.texts(source)
    return Work(lambda: write(prompt, n_words))


def _theirs(source: TokenStore, n_words: int, sizes: Sizes, options: Options) -> Work:
    learn = _fastai(source, sizes, options)
    (prompt,) = synthetic.texts(source)
    return Work(peers_fastai.quiet(lambda: learn.predict(prompt, n_words, no_bar=True)))


@peers_fastai.quiet
def _fastai(source: TokenStore, sizes: Sizes, options: Options) -> Any:
    f = peers_fastai.fastai()
    optional("spacy")  # fastai's tokenizer
    frame = pd.DataFrame({"text": synthetic.texts(source) * 8})
    words = f.TextBlock.from_df("text", is_lm=True, vocab=list(source.vocab.tokens), seq_len=4, n_workers=0)
    loaders = f.DataBlock(words, get_x=f.ColReader("text")).dataloaders(frame, bs=2, device=options.device)
    return peers_fastai.lm_of(loaders, AWDLSTMConfig(**sizes), 1.0, options.device)


@torch.no_grad()
def _check(source: TokenStore, sizes: Sizes, options: Options) -> dict[str, dict[str, float]]:
    """Return relative errors of the logits after the prompt, against float64."""
    model = _model(sizes, options.device)
    ids = torch.from_numpy(source[0].astype(np.int64)).to(options.device)
    exact = deepcopy(model).double()(ids[:, None]).logits[-1, 0]
    measure_spans(model.encoder)
    found: dict[str, dict[str, float]] = {}
    for dtype in DTYPES:
        if options.has(DTYPES[dtype]):
            with computing_in(model.encoder, dtype):
                found[f"textxfer-{dtype}"] = {"rel_err": relative_error(model(ids[:, None]).logits[-1, 0], exact)}
    with checking("fastai", found):
        learn = _fastai(source, sizes, options)
        peers_fastai.load_lm(learn, model.state_dict())
        found["fastai"] = {"rel_err": relative_error(learn.model.eval()(ids[None])[0][0, -1], exact)}
    return found
