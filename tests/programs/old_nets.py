"""Small nets with the names that old libraries gave their weights, and what they compute, from the equations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

EMBED, HIDDEN = 6, 10
FASTAI = ["xxunk", "xxpad", "xxbos", "xxeos", "xxfld", "xxrep", "xxwrep", "xxup", "xxmaj"]
WORDS = ["the", "cat", ",", "\n", "naïve", "dog", "sat"]
TOKENS = [*FASTAI, *WORDS]
OLD_TOKENS = ["_unk_", "_pad_", *WORDS, "t_up", "xbos", "xfld", "tk_rep"]


@dataclass
class Plain:
    """An AWD-LSTM as plain tensors."""

    vocab: int
    layers: int = 3
    seed: int = 0
    embedding: Tensor = field(init=False)
    lstms: list[dict[str, Tensor]] = field(init=False)
    bias: Tensor = field(init=False)
    decoder: Tensor = field(init=False)

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(self.seed)

        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator) / 2

        widths = [EMBED, *[HIDDEN] * (self.layers - 1), EMBED]
        self.embedding, self.bias = draw(self.vocab, EMBED), draw(self.vocab)
        self.decoder = self.embedding
        self.lstms = [
            {
                "weight_ih": draw(4 * out, into),
                "weight_hh": draw(4 * out, out),
                "bias_ih": draw(4 * out),
                "bias_hh": draw(4 * out),
            }
            for into, out in pairwise(widths)
        ]

    def states(self, ids: Tensor) -> Tensor:
        """Run over ids, (T,): states, (T, E)."""
        x = self.embedding[ids]
        for lstm in self.lstms:
            h = c = torch.zeros(lstm["weight_hh"].shape[1])
            outputs = []
            for step in x:
                gates = lstm["weight_ih"] @ step + lstm["bias_ih"] + lstm["weight_hh"] @ h + lstm["bias_hh"]
                i, f, g, o = gates.chunk(4)
                c = f.sigmoid() * c + i.sigmoid() * g.tanh()
                h = o.sigmoid() * c.tanh()
                outputs.append(h)
            x = torch.stack(outputs)
        return x

    def logits(self, ids: Tensor, *, bias: bool = True) -> Tensor:
        """Predict the next words: (T, V)."""
        return self.states(ids) @ self.decoder.T + (self.bias if bias else 0)

    def encoder_of_fastai(self, *, dropped: bool) -> dict[str, Tensor]:
        """Name the weights of the encoder as fastai 2 and 1 do; `dropped` adds the matrix of the last batch."""
        named = {"encoder.weight": self.embedding, "encoder_dp.emb.weight": self.embedding}
        for n, lstm in enumerate(self.lstms):
            named[f"rnns.{n}.weight_hh_l0_raw"] = lstm["weight_hh"]
            named[f"rnns.{n}.module.weight_ih_l0"] = lstm["weight_ih"]
            if dropped:
                named[f"rnns.{n}.module.weight_hh_l0"] = lstm["weight_hh"] * 1.25 * (lstm["weight_hh"] > 0)
            named |= {f"rnns.{n}.module.{part}_l0": lstm[part] for part in ("bias_ih", "bias_hh")}
        return named

    def encoder_of_2018(self) -> dict[str, Tensor]:
        """Name the weights of the encoder as the scripts of 2018 do."""
        named = {"encoder.weight": self.embedding, "encoder_with_dropout.embed.weight": self.embedding}
        for n, lstm in enumerate(self.lstms):
            named |= {f"rnns.{n}.module.{part}_l0": lstm[part] for part in ("weight_ih", "bias_ih", "bias_hh")}
            named[f"rnns.{n}.module.weight_hh_l0_raw"] = lstm["weight_hh"]
        return named

    def fastai(self, *, dropped: bool = False) -> dict[str, Tensor]:
        """Name the weights of the language model as fastai 2 does, or with `dropped` as fastai 1."""
        decoder = {"1.decoder.weight": self.decoder, "1.decoder.bias": self.bias}
        return {f"0.{name}": value for name, value in self.encoder_of_fastai(dropped=dropped).items()} | decoder

    def of_2018(self) -> dict[str, Tensor]:
        """Name the weights of the language model as the scripts of 2018 do."""
        decoder = {"1.decoder.weight": self.decoder}
        return {f"0.{name}": value for name, value in self.encoder_of_2018().items()} | decoder


@dataclass
class PlainHead:
    """A classifier's head as plain tensors: two normalizations, each with a linear layer behind it."""

    classes: int = 3
    hidden: int = 5
    biases: bool = True
    norms: list[dict[str, Tensor]] = field(init=False)
    linears: list[dict[str, Tensor]] = field(init=False)

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(7)
        self.norms, self.linears = [], []
        for into, out in ((3 * EMBED, self.hidden), (self.hidden, self.classes)):
            weight, bias, mean, var = torch.rand(4, into, generator=generator) + 0.2
            counted = torch.tensor(40)
            self.norms.append(
                {
                    "weight": weight,
                    "bias": bias,
                    "running_mean": mean,
                    "running_var": var,
                    "num_batches_tracked": counted,
                }
            )
            linear = {"weight": torch.randn(out, into, generator=generator)}
            self.linears.append(linear | ({"bias": torch.randn(out, generator=generator)} if self.biases else {}))

    def logits(self, states: Tensor) -> Tensor:
        """Pool states, (T, E), and classify: (C,)."""
        x = torch.cat([states[-1], states.max(dim=0).values, states.mean(dim=0)])
        for number, (norm, linear) in enumerate(zip(self.norms, self.linears)):
            x = x.relu() if number else x
            x = (x - norm["running_mean"]) / (norm["running_var"] + 1e-5).sqrt() * norm["weight"] + norm["bias"]
            x = linear["weight"] @ x + linear.get("bias", torch.tensor(0.0))
        return x

    def named(self, places: Sequence[str]) -> dict[str, Tensor]:
        """Name the tensors: the places of norm, linear, norm, linear."""
        modules = [self.norms[0], self.linears[0], self.norms[1], self.linears[1]]
        return {f"1.layers.{place}.{part}": t for place, parts in zip(places, modules) for part, t in parts.items()}


HEAD_PLACES = {
    "fastai 2": ("0.0", "0.2", "1.0", "1.2"),
    "fastai 2 without dropout": ("0.0", "0.1", "1.0", "1.1"),
    "fastai 1": ("0", "2", "4", "6"),
    "2018": ("0.bn", "0.lin", "1.bn", "1.lin"),
}
