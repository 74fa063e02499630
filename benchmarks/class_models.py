"""The classifiers that are measured, as `textxfer.ulmfit` and `textxfer.Predictor` make them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from benchmarks import synthetic
from benchmarks.driver import Options
from textxfer import Predictor, ulmfit
from textxfer.artifact import Artifact
from textxfer.callbacks import Report
from textxfer.models import AWDLSTMConfig, TextClassifier
from textxfer.task import TaskData
from textxfer.text import TokenStore
from textxfer.training import Learner

Dtype = Literal["fp32", "fp16", "bf16", "int8"]
DTYPES: Mapping[Dtype, str] = {"fp32": "float32", "fp16": "float16 weights", "bf16": "bfloat16", "int8": "int8"}
"""Names for `Predictor`, and what they are called in the tables."""

Sizes = Mapping[str, Any]
"""Vocabulary, embedding, hidden size and layers, as `AWDLSTMConfig` has them."""
SMALL = {"vocab": 15_000, "embed": 200, "hidden": 512, "layers": 2}
FULL = {"vocab": 30_000, "embed": 400, "hidden": 1152, "layers": 3}
QUICK = {"vocab": 400, "embed": 16, "hidden": 32, "layers": 2}


def config(sizes: Sizes, dropout: float = 1.0) -> AWDLSTMConfig:
    """Return the encoder's config with the dropouts of the paper's classifier times a factor."""
    return synthetic.training(1, dropout, classifier=True).dropouts.apply(AWDLSTMConfig(**sizes))


def forward_flops(sizes: Sizes) -> float:
    """Return the operations of the encoder per token; the head's are few."""
    return 2.0 * sum(4 * out * (size + out) for size, out in config(sizes).sizes)


def learner(
    source: TokenStore, sizes: Sizes, batch: int, options: Options, precision: ulmfit.Precision = "bf16"
) -> Learner[TextClassifier]:
    """Return the Learner of `ulmfit.classifier`; it prints nothing."""
    training = synthetic.training(batch, classifier=True)
    learn = ulmfit.classifier(
        TaskData(source),
        recipe=synthetic.recipe(sizes["embed"], sizes["hidden"], sizes["layers"], training),
        training=training,
        precision=precision,
        device=options.device,
    )
    learn.callbacks = [callback for callback in learn.callbacks if not isinstance(callback, Report)]
    return learn


def model(sizes: Sizes, device: str = "cpu") -> TextClassifier:
    """Return a classifier with random weights from a fixed seed, the biases of its head zero as fastai has none."""
    torch.manual_seed(0)
    recipe = synthetic.recipe(sizes["embed"], sizes["hidden"], sizes["layers"], synthetic.training(1, classifier=True))
    made = TextClassifier(config(sizes), recipe.head(synthetic.N_CLASSES))
    nn.init.zeros_(made.head.hidden.bias)
    nn.init.zeros_(made.head.output.bias)
    return made.to(device).eval()


def predictor(sizes: Sizes, source: TokenStore, dtype: Dtype, device: str = "cpu") -> Predictor:
    """Return a predictor that computes in `dtype`; `Skip` if this version cannot."""
    made = model(sizes, device)
    artifact = Artifact(made, source.vocab, source.tokenizer, tuple(source.classes))
    return Predictor(made, artifact, dtype=dtype)


def reference(weights: Mapping[str, Tensor], sizes: Sizes, docs: list[Tensor]) -> Tensor:
    """Compute, in float64 with `nn.LSTM`, by how much the logit of class 0 is above that of class 1, (documents,)."""
    exact = {name: tensor.double().cpu() for name, tensor in weights.items()}
    layers = [nn.LSTM(size, out).double() for size, out in config(sizes).sizes]
    for i, layer in enumerate(layers):
        prefix = f"encoder.layers.{i}."
        layer.load_state_dict({f"{n.removeprefix(prefix)}_l0": t for n, t in exact.items() if n.startswith(prefix)})
    rows = []
    with torch.no_grad():
        for doc in docs:
            x = exact["encoder.embedding.weight"][doc]
            for layer in layers:
                x = layer(x)[0]
            rows.append(torch.cat([x[-1], x.max(dim=0).values, x.mean(dim=0)]))
        return _head(torch.stack(rows), exact)


def _head(x: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
    """Apply the head in evaluation: its normalizations have seen nothing, and only divide by almost one."""
    part = {name.removeprefix("head."): tensor for name, tensor in weights.items() if name.startswith("head.")}
    shrink = (1 + 1e-5) ** -0.5
    x = (shrink * x @ part["hidden.weight"].T).relu()
    logits = shrink * x @ part["output.weight"].T
    return logits[:, 0] - logits[:, 1]


def short(source: TokenStore, n: int, longest: int) -> TokenStore:
    """Return the first `n` documents of at most `longest` tokens."""
    return source.subset([row for row, size in enumerate(source.lengths.tolist()) if size <= longest][:n])
