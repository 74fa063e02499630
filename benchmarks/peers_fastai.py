"""fastai 2.8 as it ships: language model, classifier, data loaders, on documents that are ids already.

Everything here runs without fastai's warnings, which are many and say nothing about the benchmark.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor

from benchmarks.driver import Work
from benchmarks.peers import optional
from benchmarks.steps import EPOCHS, LR, Closed, Gate
from textxfer.models import AWDLSTMConfig
from textxfer.text import TokenStore

SEQ_LEN = 72
P = ParamSpec("P")
R = TypeVar("R")


def quiet(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function run without warnings."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function(*args, **kwargs)

    return run


def fastai() -> Any:
    """Return `fastai.text.all`; `Skip` if it is not installed."""
    return optional("fastai.text.all")


def documents(source: TokenStore) -> list[Tensor]:
    """Return the documents of a store as fastai wants them: a tensor each."""
    text = fastai().TensorText
    return [text(torch.from_numpy(source[row].astype(np.int64))) for row in range(len(source))]


@quiet
def lm_loader(docs: Sequence[Tensor], batch_size: int, bptt: int, device: str) -> Any:
    """Return fastai's loader for language models, shuffled."""
    lens = [len(doc) for doc in docs]
    return fastai().LMDataLoader(
        docs, lens=lens, bs=batch_size, seq_len=bptt, shuffle=True, device=torch.device(device)
    )


def lm_learner(loader: Any, config: AWDLSTMConfig, clip: float, device: str, precision: str = "fp32") -> Any:
    """Return `language_model_learner` with our sizes, dropouts, regularizers and clipping, for an `lm_loader`."""
    return lm_of(_loaders(loader, config.vocab, device), config, clip, device, precision)


@quiet
def lm_of(loaders: Any, config: AWDLSTMConfig, clip: float, device: str, precision: str = "fp32") -> Any:
    """Return the same for `DataLoaders`.

    Args:
        loaders: The `DataLoaders`.
        config: Sizes and dropouts.
        clip: Largest norm of the gradients.
        device: Where to train.
        precision: `fp32`, `fp16` or `bf16`; the last two do nothing on a CPU, where fastai's autocast is not in force.
    """
    f = fastai()
    learn = f.language_model_learner(loaders, f.AWD_LSTM, pretrained=False, drop_mult=1.0, config=_lm_config(config))
    learn.add_cb(f.GradientClip(clip))
    return _prepared(learn, device, precision)


def classifier_learner(loader: Any, config: AWDLSTMConfig, classes: int, device: str) -> Any:
    """Return `text_classifier_learner` with our sizes and dropouts and fastai's head."""
    return classifier_of(_loaders(loader, config.vocab, device), config, classes, device)


@quiet
def classifier_of(loaders: Any, config: AWDLSTMConfig, classes: int, device: str) -> Any:
    """Return the same for `DataLoaders`."""
    f = fastai()
    dropouts = {f"{n}_p": getattr(config, f"dropout_{n}") for n in ("hidden", "input", "embed", "weight")}
    learn = f.text_classifier_learner(
        loaders,
        f.AWD_LSTM,
        pretrained=False,
        drop_mult=1.0,
        n_out=classes,
        seq_len=SEQ_LEN,
        config={**_sizes(config), **dropouts},
        loss_func=f.CrossEntropyLossFlat(),
    )
    return _prepared(learn, device, "fp32")


@quiet
def class_loader(docs: Sequence[Tensor], labels: Sequence[int], batch_size: int, device: str, shuffle: bool) -> Any:
    """Return fastai's loader of documents that are sorted by length and padded in front."""
    f = fastai()
    items = [(doc, f.TensorCategory(label)) for doc, label in zip(docs, labels)]
    lens = [len(doc) for doc in docs]
    pad = f.Pad_Chunk(seq_len=SEQ_LEN)
    return f.SortedDL(items, res=lens, bs=batch_size, shuffle=shuffle, before_batch=pad, device=torch.device(device))


def trained(learn: Any, steps: int, device: str) -> Work:
    """Return rounds of `steps` batches, as `benchmarks.steps.trained` does for ours."""
    if device == "cpu":
        return Work(quiet(lambda: learn.fit(1, LR)))
    gate = Gate(lambda gate: quiet(learn.fit)(EPOCHS, LR, cbs=[_hold(gate)]))
    return Work(lambda: gate.steps(steps), gate.close)


def _hold(gate: Gate) -> Any:
    """Return a callback that stops at a gate before each batch."""
    f = fastai()

    class Hold(f.Callback):
        order = -100

        def before_batch(self) -> None:
            try:
                gate.wait()
            except Closed:
                raise f.CancelFitException from None

    return Hold()


def load_lm(learn: Any, weights: Mapping[str, Tensor]) -> None:
    """Put the weights of our language model into fastai's."""
    own = {theirs: weights[ours] for ours, theirs in names(learn.model[0].rnns).items() if ours in weights}
    for name, parameter in learn.model.named_parameters():
        parameter.data.copy_(own[name])
    learn.model.reset()


def load_classifier(learn: Any, weights: Mapping[str, Tensor]) -> None:
    """Put the weights of our classifier into fastai's; its linear layers have no bias, ours must be zero."""
    encoder = {
        ours: f"0.module.{theirs.partition('.')[2]}" for ours, theirs in names(learn.model[0].module.rnns).items()
    }
    head = {"norm_pooled": "0.0", "hidden": "0.2", "norm_hidden": "1.0", "output": "1.2"}
    own = {theirs: weights[ours] for ours, theirs in encoder.items() if ours in weights}
    for ours, theirs in head.items():
        own |= {f"1.layers.{theirs}.{p}": weights[f"head.{ours}.{p}"] for p in ("weight", "bias")}
    for name, parameter in learn.model.named_parameters():
        parameter.data.copy_(own[name])


def names(layers: Sequence[Any]) -> dict[str, str]:
    """Return the names of the parameters of fastai's language model by those of ours, for so many layers."""
    found = {"encoder.embedding.weight": "0.encoder.weight", "decoder_bias": "1.decoder.bias"}
    for layer in range(len(layers)):
        prefix = f"0.rnns.{layer}"
        found[f"encoder.layers.{layer}.weight_hh"] = f"{prefix}.weight_hh_l0_raw"
        for part in ("weight_ih", "bias_ih", "bias_hh"):
            found[f"encoder.layers.{layer}.{part}"] = f"{prefix}.module.{part}_l0"
    return found


def _loaders(loader: Any, vocab: int, device: str) -> Any:
    loaders = fastai().DataLoaders(loader, loader, device=torch.device(device))
    loaders.vocab = range(vocab)
    return loaders


def _sizes(config: AWDLSTMConfig) -> dict[str, int]:
    return {"emb_sz": config.embed, "n_hid": config.hidden, "n_layers": config.layers}


def _lm_config(config: AWDLSTMConfig) -> dict[str, Any]:
    dropouts = {f"{n}_p": getattr(config, f"dropout_{n}") for n in ("output", "hidden", "input", "embed", "weight")}
    return {**_sizes(config), "pad_token": 1, "bidir": False, "tie_weights": True, "out_bias": True, **dropouts}


def _prepared(learn: Any, device: str, precision: str) -> Any:
    """Put the model on its device; no progress bar, no table and no validation: neither is timed for others."""
    f = fastai()

    class TrainOnly(f.Callback):
        def before_validate(self) -> None:
            if self.learn.opt is not None and self.learn.dl is self.learn.dls.train:
                raise f.CancelValidException

    learn.add_cb(TrainOnly())
    learn.remove_cb(f.ProgressCallback)
    learn.logger = lambda *_: None
    learn.model.to(device)
    return {"fp16": learn.to_fp16, "bf16": learn.to_bf16, "fp32": lambda: learn}[precision]()
