"""Classifiers on documents as long as reviews: an epoch of training, prediction, one text, loading, long documents.

`textxfer` is what `textxfer.ulmfit.classifier` and `textxfer.Predictor` give; `fastai` is `text_classifier_learner`
with the same sizes and dropouts and its own loaders; `distilbert` has random weights and batches sorted by length, and
sees the first 512 tokens only; `model` is our model alone, on ids that lie ready.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import class_jobs, class_models, peers_fastai, peers_transformers, synthetic
from benchmarks.class_models import DTYPES, Dtype, Sizes
from benchmarks.driver import Case, Impl, Options, Work
from benchmarks.peers import checking
from textxfer.models.precision import computing_in
from textxfer.text import ClassBatches, TokenStore

_BATCH = 32
_CHECKED, _CHECKED_LENGTH = 16, 300
_LIMIT = 0.15
"""Largest relative error: with random weights the two logits differ by little, and int8 shows."""
_LONG = (100, 500, 1000, 5000, 20_000)
_LONGEST_OF_PEER = 1000
_TRAINED: tuple[Dtype, ...] = ("fp32", "bf16")


def cases(options: Options) -> Iterable[Case]:
    """Return all cases."""
    sizes = options.size(class_models.FULL, class_models.QUICK)
    yield _train(sizes, options)
    yield _predict(sizes, options)
    yield _one(sizes, options)
    yield class_jobs.load(options.size(class_models.SMALL, class_models.QUICK), options)
    for length in options.size(_LONG, (30,)):
        yield _long(sizes, length, options)
    if not options.quick and options.device == "cpu":
        yield class_jobs.whole()


def _documents(number: dict[str, int], options: Options, vocab: int) -> TokenStore:
    """Return documents, so many by kind of device; in a quick run a few short ones."""
    lengths = synthetic.lengths(number.get(options.kind, number[options.device]))
    return synthetic.store(options.size(lengths, lengths[:12] // 10 + 2), vocab)


def _train(sizes: Sizes, options: Options) -> Case:
    source = _documents({"cpu": 400, "cpu-fp32": 100, "cuda": 3200}, options, sizes["vocab"])
    batch = options.size({"cpu": _BATCH, "cuda": 64}, {"cpu": 4, "cuda": 4})[options.device]
    half = "bfloat16" if options.half else "float32"  # as the Learner chooses, too
    return Case(
        name="train",
        impls=[
            Impl("textxfer", partial(_our_epoch, source, sizes, batch, options), half),
            Impl("fastai", partial(_their_epoch, source, sizes, batch, options)),
        ],
        count=len(source),
        unit="documents",
        flops=3 * class_models.forward_flops(sizes) * source.n_tokens,
        check=partial(_check, sizes, options, _TRAINED),
        limit=_LIMIT,
        warmups=1,
        figures={"tokens": source.n_tokens, "batch": batch},
    )


def _our_epoch(source: TokenStore, sizes: Sizes, batch: int, options: Options) -> Work:
    learn = class_models.learner(source, sizes, batch, options)
    return Work(lambda: learn.fit(1, 1e-3))


def _their_epoch(source: TokenStore, sizes: Sizes, batch: int, options: Options) -> Work:
    learn = _fastai(source, sizes, batch, options, shuffle=True)
    return Work(peers_fastai.quiet(lambda: learn.fit(1, 1e-3)))


def _fastai(source: TokenStore, sizes: Sizes, batch: int, options: Options, shuffle: bool) -> Any:
    peers_fastai.fastai()
    docs, labels = peers_fastai.documents(source), source.labels.tolist()
    loader = peers_fastai.class_loader(docs, labels, batch, options.device, shuffle)
    return peers_fastai.classifier_learner(loader, class_models.config(sizes), synthetic.N_CLASSES, options.device)


def _predict(sizes: Sizes, options: Options) -> Case:
    source = _documents({"cpu": 500, "cpu-fp32": 125, "cuda": 5000}, options, sizes["vocab"])
    impls = [_our_predictions(source, sizes, dtype, options) for dtype in DTYPES]
    impls.append(Impl("fastai", partial(_their_predictions, source, sizes, options)))
    bert = partial(peers_transformers.distilbert, source)
    cut = {"max_tokens": peers_transformers.MAX_TOKENS}
    # In its best dtype on this machine.
    dtype, name = (torch.bfloat16, "bfloat16") if options.half else (torch.float32, "float32")
    flops = peers_transformers.flops(source, options)
    impls.append(Impl("distilbert", partial(bert, dtype, options), name, figures=cut, flops=flops))
    return Case(
        name="predict",
        impls=impls,
        count=len(source),
        unit="documents",
        peers=("fastai", "distilbert"),
        flops=class_models.forward_flops(sizes) * source.n_tokens,
        check=partial(_check, sizes, options),
        limit=_LIMIT,
        warmups=1,
        figures={"tokens": source.n_tokens},
    )


def _our_predictions(source: TokenStore, sizes: Sizes, dtype: Dtype, options: Options) -> Impl:
    def build() -> Work:
        predictor = class_models.predictor(sizes, source, dtype, options.device)
        return Work(lambda: predictor.predict_store(source))

    return Impl(f"textxfer-{dtype}", build, DTYPES[dtype])


def _their_predictions(source: TokenStore, sizes: Sizes, options: Options) -> Work:
    learn = _fastai(source, sizes, 64, options, shuffle=False)
    return Work(peers_fastai.quiet(lambda: learn.get_preds(dl=learn.dls.train)))


def _one(sizes: Sizes, options: Options) -> Case:
    """One text of fifteen words."""
    source = synthetic.store(np.array([16]), sizes["vocab"], seed=1)
    text = synthetic.texts(source)[0]
    impls = []
    for dtype in DTYPES:
        impls.append(Impl(f"textxfer-{dtype}", partial(_one_text, source, text, sizes, dtype, options), DTYPES[dtype]))
        build = partial(_model_alone, source, sizes, dtype, options)
        impls.append(Impl(f"model-{dtype}", build, DTYPES[dtype]))
    impls.append(Impl("fastai", partial(class_jobs.fastai_text, source, text, sizes, options)))
    return Case(
        name="one",
        impls=impls,
        count=1,
        unit="documents",
        peers=("fastai", "model"),
        warmups=3,
        memory=False,
        figures={"tokens": source.n_tokens},
    )


def _one_text(source: TokenStore, text: str, sizes: Sizes, dtype: Dtype, options: Options) -> Work:
    predictor = class_models.predictor(sizes, source, dtype, options.device)
    return Work(lambda: predictor(text))


def _model_alone(source: TokenStore, sizes: Sizes, dtype: Dtype, options: Options) -> Work:
    predictor = class_models.predictor(sizes, source, dtype, options.device)
    (ids, lengths), _, _ = next(iter(ClassBatches(source, shuffle=False, device=options.device)))

    @torch.inference_mode()
    def run() -> Tensor:
        with computing_in(predictor.model, predictor.dtype):
            return predictor.model(ids, lengths).logits.cpu()

    return Work(run)


def _long(sizes: Sizes, length: int, options: Options) -> Case:
    """One long document: time and memory are to grow with its length, memory hardly."""
    source = synthetic.store(np.array([length]), sizes["vocab"])
    dtypes: tuple[Dtype, ...] = ("bf16" if options.half else "fp32", "fp16", "int8")
    impls = [_our_predictions(source, sizes, dtype, options) for dtype in dtypes]
    if length <= _LONGEST_OF_PEER:
        impls.append(Impl("fastai", partial(_their_predictions, source, sizes, options)))
    flops = class_models.forward_flops(sizes) * length
    return Case(f"long-{length}", impls, count=length, flops=flops, warmups=1)


def _check(sizes: Sizes, options: Options, dtypes: Sequence[Dtype] = tuple(DTYPES)) -> dict[str, dict[str, float]]:
    """Return relative errors of the difference of the two logits, on short documents, against float64."""
    lengths = synthetic.lengths(10 * _CHECKED)
    source = synthetic.store(lengths[lengths <= _CHECKED_LENGTH][:_CHECKED], sizes["vocab"])
    docs = [torch.from_numpy(source[row].astype(np.int64)) for row in range(len(source))]
    weights = class_models.model(sizes).state_dict()
    exact = class_models.reference(weights, sizes, docs)
    found: dict[str, dict[str, float]] = {}
    for dtype in dtypes:
        if not options.has(DTYPES[dtype]):
            continue
        predictor = class_models.predictor(sizes, source, dtype, options.device)
        found[f"textxfer-{dtype}"] = {"rel_err": _error(torch.from_numpy(predictor.predict_store(source)), exact)}
    with checking("fastai", found):
        # One by one: of a document shorter than a window, padded beside a longer one, fastai pools another state than
        # the last: it counts padding in front as padding behind.
        learn = _fastai(source, sizes, 1, options, shuffle=False)
        peers_fastai.load_classifier(learn, weights)
        probabilities = peers_fastai.quiet(learn.get_preds)(dl=learn.dls.train)[0]
        found["fastai"] = {"rel_err": _error(probabilities, exact)}
    return found


def _error(probabilities: Tensor, exact: Tensor) -> float:
    logs = probabilities.double().log()
    return ((logs[:, 0] - logs[:, 1] - exact).norm() / exact.norm()).item()
