"""Which net a file of weights holds: its tensors by our names, and its sizes read off their shapes.

| what           | fastai 2 and 1                 | scripts of 2018                       | here                    |
| -------------- | ------------------------------ | ------------------------------------- | ----------------------- |
| embedding      | `0.encoder.weight`             | `0.encoder.weight`                    | `embedding.weight`      |
| the same again | `0.encoder_dp.emb.weight`      | `0.encoder_with_dropout.embed.weight` |                         |
| recurrent      | `0.rnns.N.weight_hh_l0_raw`    | `0.rnns.N.module.weight_hh_l0_raw`    | `layers.N.weight_hh`    |
| as dropped     | `0.rnns.N.module.weight_hh_l0` |                                       |                         |
| the others     | `0.rnns.N.module.bias_ih_l0`   | `0.rnns.N.module.bias_ih_l0`          | `layers.N.bias_ih`      |
| decoder        | `1.decoder.weight`             | `1.decoder.weight`                    | the embedding, if equal |
| its bias       | `1.decoder.bias`               |                                       | `decoder_bias`          |

An encoder alone lacks the `0.`; fastai's classifiers have `0.module.` for it. The recurrent matrix is the raw one: it
is what is trained and what computes in evaluation. The other is what the last batch of the training drew from it, with
a share of its weights zero and the rest scaled up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from textxfer.artifact import ArtifactError
from textxfer.importing.heads import Head, head_tensors
from textxfer.models import AWDLSTMConfig, ClassifierConfig, LanguageModel, TextClassifier

Kind = Literal["language model", "encoder", "classifier"]
Family = Literal["fastai", "2018"]

_COPIES = ("encoder_dp.emb.weight", "encoder_with_dropout.embed.weight")
_LAYER = re.compile(r"rnns\.(\d{1,3})\.(module\.)?(weight_ih|weight_hh|bias_ih|bias_hh)_l0(_raw)?")
_PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
_OTHER_NETS = {
    "a QRNN": re.compile(r"rnns\.\d+\.(layers\.\d+\.)?linear\."),
    "an LSTM that reads both ways at once": re.compile(r"_l0_reverse"),
    "a Transformer": re.compile(r"attention|mhra|pos_enc|\bff\."),
}


@dataclass(frozen=True)
class Net:
    """A net found in a file of weights.

    Attributes:
        kind: `language model`, `encoder` (a language model's without its decoder) or `classifier`.
        family: Whose names the weights have: `fastai` (2 or 1) or `2018`.
        encoder: Sizes, and whether decoder and embedding are the same; the dropouts are not in the file.
        head: Sizes of a classifier; None for others.
        tensors: Its tensors by our names. Rows of tokens are in the order of the file.
    """

    kind: Kind
    family: Family
    encoder: AWDLSTMConfig
    head: ClassifierConfig | None
    tensors: Mapping[str, Tensor]

    def build(self, encoder: AWDLSTMConfig) -> LanguageModel | TextClassifier:
        """Return a new model of this kind, with random weights.

        Args:
            encoder: Sizes and dropouts of its encoder.
        """
        return LanguageModel(encoder) if self.head is None else TextClassifier(encoder, self.head)

    def __str__(self) -> str:
        config = self.encoder
        whose = "fastai 2 or 1" if self.family == "fastai" else "the scripts of 2018"
        parts = [
            f"{self.kind} of {whose}: embedding {config.embed:,}, hidden {config.hidden:,}, "
            f"{config.layers} layer{'' if config.layers == 1 else 's'}",
        ]
        if self.head is not None:
            parts.append(f"head {3 * config.embed:,} to {self.head.head_hidden:,} to {self.head.classes:,} classes")
        elif self.kind == "language model":
            parts.append(f"decoder {'tied' if config.tie else 'not tied'}, {'with' if config.bias else 'no'} bias")
        return ", ".join(parts)


class _Names:
    """The names in a file: which are used, and how the file calls what we miss."""

    def __init__(self, path: Path, weights: Mapping[str, Tensor]) -> None:
        self.path, self.weights = path, weights
        self.prefix = next((p for p in ("0.module.", "0.", "") if f"{p}encoder.weight" in weights), None)
        self.left = set(weights)
        self.origin: dict[str, str] = {}  # the file's names by ours
        self.problems: list[str] = []

    def take(self, theirs: str, ours: str) -> bool:
        """Note that a tensor is ours, if it is there."""
        if theirs not in self.weights:
            return False
        self.origin[ours] = theirs
        self.left.discard(theirs)
        return True

    def same(self, theirs: str, other: str) -> None:
        """Take a tensor that must be equal to another one."""
        if theirs in self.weights:
            self.left.discard(theirs)
            if not torch.equal(self.weights[theirs], self.weights[other]):
                self.problems.append(f"{theirs}: differs from {other}, whose copy it is")

    def fail(self, problems: Iterable[str]) -> None:
        """Raise an error that lists all problems, if there are any."""
        if listed := list(problems):
            more = [f"and {len(listed) - 20} more"] if len(listed) > 20 else []
            raise ArtifactError(
                f"{self.path}: the weights are not those of an AWD-LSTM:\n  " + "\n  ".join([*listed[:20], *more])
            )


def recognize(weights: Mapping[str, Tensor], path: str | Path) -> Net:
    """Find out which net weights belong to.

    Args:
        weights: Tensors by their names in the file.
        path: The file, for messages.

    Returns:
        The net, with its tensors under our names.

    Raises:
        ArtifactError: It is another net than an AWD-LSTM, a head that ours cannot be, or names or shapes are wrong;
            all are listed.
    """
    names = _Names(Path(path), weights)
    _refuse_other_nets(names)
    layers = _take_encoder(names)
    tie, bias = _take_decoder(names)
    tensors = {ours: weights[theirs] for ours, theirs in names.origin.items()}
    head = _take_head(names, tensors)
    names.fail([*names.problems, *(f"{name}: unknown" for name in sorted(names.left))])
    encoder = _sizes(names, tensors, layers, tie, bias)
    kind: Kind = "classifier" if head else "language model" if _decoder(weights) else "encoder"
    if head is not None:
        encoder = replace(encoder, dropout_output=0.0)  # these classifiers drop pooled vectors instead
    of_2018 = any("encoder_with_dropout" in name or name.endswith("module.weight_hh_l0_raw") for name in weights)
    if kind == "encoder":
        tensors["decoder_bias"] = tensors["encoder.embedding.weight"].new_zeros(encoder.vocab)
    net = Net(kind, "2018" if of_2018 else "fastai", encoder, head.config if head else None, tensors)
    _check_shapes(names, net)
    return net


def _refuse_other_nets(names: _Names) -> None:
    for what, pattern in _OTHER_NETS.items():
        if found := next((name for name in names.weights if pattern.search(name)), None):
            raise ArtifactError(f"{names.path}: the weights of {what} ({found}); only LSTM layers can be imported")
    if names.prefix is None:
        some = ", ".join(sorted(names.weights)[:5])
        raise ArtifactError(f"{names.path}: no encoder.weight in it, so no AWD-LSTM; it has {some} ...")


def _take_encoder(names: _Names) -> int:
    """Take the tensors of the encoder and return the number of layers."""
    prefix = names.prefix or ""
    embedding = f"{prefix}encoder.weight"
    names.take(embedding, "encoder.embedding.weight")
    for copy in _COPIES:
        names.same(prefix + copy, embedding)
    layers = 0
    for name in sorted(names.weights):
        match = _LAYER.fullmatch(name.removeprefix(prefix)) if name.startswith(prefix) else None
        if match is None:
            continue
        layer, wrapped, part, raw = match.groups()
        layers = max(layers, int(layer) + 1)
        if part == "weight_hh" and wrapped and not raw:
            names.left.discard(name)  # as dropped for one batch
        elif part == "weight_hh" or not raw:
            names.take(name, f"encoder.layers.{int(layer)}.{part}")
    for layer in range(layers):
        missing = [part for part in _PARTS if f"encoder.layers.{layer}.{part}" not in names.origin]
        names.problems += [
            f"{prefix}rnns.{layer}: no {part}_l0{'_raw' if part == 'weight_hh' else ''}" for part in missing
        ]
    if not layers:
        names.problems.append(f"{prefix}rnns: no LSTM layer")
    return layers


def _decoder(weights: Mapping[str, Tensor]) -> bool:
    return "1.decoder.weight" in weights


def _take_decoder(names: _Names) -> tuple[bool, bool]:
    """Take the decoder, if there is one; return whether it is the embedding, and whether it has a bias."""
    bias = names.take("1.decoder.bias", "decoder_bias")
    if not _decoder(names.weights):
        if bias:
            names.problems.append("1.decoder.weight: missing")
        return True, True
    embedding = names.weights[f"{names.prefix}encoder.weight"]
    if torch.equal(names.weights["1.decoder.weight"], embedding):
        names.left.discard("1.decoder.weight")
        return True, bias
    names.take("1.decoder.weight", "decoder_weight")
    return False, bias


def _take_head(names: _Names, tensors: dict[str, Tensor]) -> Head | None:
    """Take a classifier's head, if there is one, and add its tensors to those given."""
    parts = {name for name in names.left if name.startswith("1.layers.")}
    if not parts:
        return None
    if _decoder(names.weights):
        names.problems.append("1.decoder.weight and 1.layers: a decoder and a classifier's head")
        return None
    head = head_tensors(names.path, {name: names.weights[name] for name in parts})
    names.left -= parts
    names.origin |= head.origin
    tensors |= {f"head.{ours}": tensor for ours, tensor in head.tensors.items()}
    return head


def _sizes(names: _Names, tensors: Mapping[str, Tensor], layers: int, tie: bool, bias: bool) -> AWDLSTMConfig:
    """Read the sizes off the shapes; what does not fit them is found later."""
    embedding, first = tensors["encoder.embedding.weight"], tensors["encoder.layers.0.weight_hh"]
    rows = tensors["encoder.layers.0.weight_ih"].shape[:1]
    if embedding.dim() != 2 or first.dim() != 2 or min(*embedding.shape, *first.shape) < 1 or len(embedding) < 2:
        names.fail([f"{names.origin[n]}: shape {tuple(tensors[n].shape)}" for n in names.origin if n.endswith("hh")])
        names.fail([f"{names.prefix}encoder.weight: shape {tuple(embedding.shape)}"])
    if rows == (3 * first.shape[1],):
        names.fail([f"{names.prefix}rnns.0: three gates, as a GRU has; only LSTM layers can be imported"])
    vocab, embed = embedding.shape
    return AWDLSTMConfig(vocab, embed, first.shape[1] if layers > 1 else embed, layers, tie=tie, bias=bias)


def _check_shapes(names: _Names, net: Net) -> None:
    """Compare all shapes with those of the model that the sizes make, without making it."""
    with torch.device("meta"):
        own = net.build(net.encoder).state_dict()
    names.fail(
        f"{names.origin.get(name, name)}: shape {tuple(net.tensors[name].shape)}, but {tuple(like.shape)} is needed"
        for name, like in own.items()
        if name in net.tensors and net.tensors[name].shape != like.shape
    )
