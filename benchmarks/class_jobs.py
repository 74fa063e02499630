"""Whole jobs: a text through fastai's pipeline, loading a model, TF-IDF with logistic regression."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import class_models, peers_fastai, synthetic
from benchmarks.class_models import Sizes
from benchmarks.driver import Case, Impl, Options, Work
from benchmarks.peers import optional
from textxfer import Predictor, save_artifact
from textxfer.text import TokenStore

_TRAIN, _TEST = 2000, 500


def fastai_text(source: TokenStore, text: str, sizes: Sizes, options: Options) -> Work:
    """fastai's `learn.predict`: the text through its tokenizer and loader."""
    learn = _fastai_learner(source, text, sizes, options.device)
    return Work(peers_fastai.quiet(lambda: learn.predict(text)))


@peers_fastai.quiet
def _fastai_learner(source: TokenStore, text: str, sizes: Sizes, device: str) -> Any:
    f = peers_fastai.fastai()
    optional("spacy")  # fastai's tokenizer
    frame = pd.DataFrame({"text": [text] * 4, "label": list(source.classes) * 2})
    words = f.TextBlock.from_df("text", vocab=list(source.vocab.tokens), seq_len=peers_fastai.SEQ_LEN, n_workers=0)
    block = f.DataBlock((words, f.CategoryBlock), get_x=f.ColReader("text"), get_y=f.ColReader("label"))
    loaders = block.dataloaders(frame, bs=2, device=device)
    return peers_fastai.classifier_of(loaders, class_models.config(sizes), synthetic.N_CLASSES, device)


def load(sizes: Sizes, options: Options) -> Case:
    """From a folder on disk, whose pages are in memory, to a model that answers."""
    source = synthetic.store(np.array([16]), sizes["vocab"])
    text = synthetic.texts(source)[0]
    impls = [
        Impl("textxfer", partial(_our_folder, source, sizes, options)),
        Impl("fastai", partial(_their_file, source, text, sizes, options)),
    ]
    return Case("load", impls, count=1, unit="models", memory=False, figures={"vocab": sizes["vocab"]})


def _our_folder(source: TokenStore, sizes: Sizes, options: Options) -> Work:
    scratch = tempfile.TemporaryDirectory(prefix="bench-classify-")
    folder = save_artifact(Path(scratch.name) / "model", class_models.model(sizes), source)
    return Work(lambda: Predictor.load(folder, options.device), scratch.cleanup)


def _their_file(source: TokenStore, text: str, sizes: Sizes, options: Options) -> Work:
    learn = _fastai_learner(source, text, sizes, "cpu")
    scratch = tempfile.TemporaryDirectory(prefix="bench-classify-")
    learn.path = Path(scratch.name)
    peers_fastai.quiet(learn.export)("learner.pkl")
    path = learn.path / "learner.pkl"
    read = peers_fastai.quiet(peers_fastai.fastai().load_learner)
    return Work(lambda: read(path, cpu=options.device == "cpu"), scratch.cleanup)


def whole() -> Case:
    """TF-IDF and logistic regression: training on 2,000 texts and answering 500, for the order of magnitude."""
    return Case(
        "whole", [Impl("scikit-learn", _regression)], count=_TRAIN + _TEST, unit="documents", peers=(), warmups=1
    )


def _regression() -> Work:
    linear = optional("sklearn.linear_model")
    words = optional("sklearn.feature_extraction.text")
    pipeline = optional("sklearn.pipeline")
    source = synthetic.store(synthetic.lengths(_TRAIN + _TEST), class_models.FULL["vocab"])
    texts, labels = synthetic.texts(source), source.labels

    def run() -> None:
        model = pipeline.make_pipeline(words.TfidfVectorizer(ngram_range=(1, 2)), linear.LogisticRegression())
        model.fit(texts[:_TRAIN], labels[:_TRAIN]).predict(texts[_TRAIN:])

    return Work(run)
