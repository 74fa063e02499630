"""One LSTM layer, 1152 features in and out: in evaluation, and forward and backward with the recurrent weights dropped.

`textxfer` is `WeightDropLSTM`; `fastai` is its `WeightDropout` around `nn.LSTM`; `torch` is `nn.LSTM` with nothing
dropped and, in bfloat16, with its parameters in bfloat16, while ours are float32 and are cast in the timed work.

Shapes: T time, B batch, H features.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks import peers_fastai
from benchmarks.driver import Case, Impl, Options, Work, relative_error
from benchmarks.peers import checking
from textxfer.models import WeightDropLSTM

_HIDDEN, _DROPOUT = 1152, 0.5
_HALF = torch.bfloat16

Layer = tuple[nn.Module, Callable[[Tensor], Tensor], list[tuple[str, nn.Parameter]]]
"""A layer, how to call it with (T, B, H), and its parameters under torch's names."""


def cases(options: Options) -> Iterable[Case]:
    """Return evaluation and training at several batch sizes."""
    hidden = options.size(_HIDDEN, 32)
    for mode in ("eval", "train"):
        for batch in options.size((1, 8, 32, 64), (1, 4)):
            steps = options.size(70 if batch == 1 else 20, 6)
            passes = 1 if mode == "eval" else 3
            yield Case(
                name=f"{mode}-b{batch}",
                impls=_impls(mode, steps, batch, hidden, options),
                count=steps * batch,
                peers=("torch", "fastai"),
                flops=passes * 2.0 * steps * batch * 8 * hidden * hidden,
                check=partial(_check, mode, steps, batch, hidden, options),
                memory=False,
                figures={"batch": batch, "bptt": steps, "hidden": hidden},
            )


def _impls(mode: str, steps: int, batch: int, hidden: int, options: Options) -> list[Impl]:
    found = []
    for name, make in _layers(mode, options).items():
        build = partial(_build, make, mode, steps, batch, hidden, options)
        found.append(Impl(name, build, _dtype(name)))
    return found


def _dtype(name: str) -> str:
    suffix = name.rpartition("-")[2]
    return {"bf16": "bfloat16", "int8": "int8"}.get(suffix, "float32")


def _layers(mode: str, options: Options) -> dict[str, Callable[[int, float], Layer]]:
    """Return how to make each layer, from its size and the dropout of the recurrent weights."""
    layers: dict[str, Callable[[int, float], Layer]] = {
        "textxfer-fp32": partial(_ours, None),
        "textxfer-bf16": partial(_ours, _HALF),
        "torch-fp32": partial(_torch, torch.float32),
        "torch-bf16": partial(_torch, _HALF),
        "fastai-fp32": _fastai,
    }
    if mode == "eval" and options.device == "cpu":
        layers["torch-int8"] = _torch_int8
    return {name: make for name, make in layers.items() if options.has(_dtype(name))}


def _ours(dtype: torch.dtype | None, hidden: int, dropout: float) -> Layer:
    layer = WeightDropLSTM(hidden, hidden, dropout)
    layer.compute_dtype = dtype
    return layer, lambda x: layer(x, layer.initial_state(x.shape[1]))[0], list(layer.named_parameters())


def _torch(dtype: torch.dtype, hidden: int, _: float) -> Layer:
    layer = nn.LSTM(hidden, hidden).to(dtype)
    return layer, lambda x: layer(x.to(dtype))[0], _plain_names(layer)


def _torch_int8(hidden: int, _: float) -> Layer:
    """torch's dynamically quantized LSTM; it is made from the weights at the first call."""
    layer = nn.LSTM(hidden, hidden)
    quantized: list[nn.Module] = []

    def call(x: Tensor) -> Tensor:
        if not quantized:
            with warnings.catch_warnings():  # torch is about to move it to another package
                warnings.simplefilter("ignore")
                quantized.append(torch.ao.quantization.quantize_dynamic(nn.Sequential(layer), {nn.LSTM}))
        return quantized[0](x)[0]

    return layer, call, _plain_names(layer)


def _fastai(hidden: int, dropout: float) -> Layer:
    peers_fastai.fastai()
    from fastai.text.models.awdlstm import WeightDropout

    layer = peers_fastai.quiet(WeightDropout)(nn.LSTM(hidden, hidden), dropout)
    named = {name.removeprefix("module.").removesuffix("_raw"): p for name, p in layer.named_parameters()}
    return layer, lambda x: layer(x)[0], [(name.removesuffix("_l0"), p) for name, p in named.items()]


def _plain_names(layer: nn.LSTM) -> list[tuple[str, nn.Parameter]]:
    return [(name.removesuffix("_l0"), parameter) for name, parameter in layer.named_parameters()]


def _build(
    make: Callable[[int, float], Layer], mode: str, steps: int, batch: int, hidden: int, options: Options
) -> Work:
    layer, call, named = make(hidden, _DROPOUT)
    layer.to(options.device).train(mode == "train")
    x = _input(steps, batch, hidden, options)
    if mode == "eval":
        return Work(torch.inference_mode()(lambda: call(x)))
    x.requires_grad_()
    upstream = torch.randn_like(x)

    def run() -> list[Tensor]:
        return _backward(call(x), upstream, x, named)[1]

    return Work(run)


def _backward(
    y: Tensor, upstream: Tensor, x: Tensor, named: list[tuple[str, nn.Parameter]]
) -> tuple[list[str], list[Tensor]]:
    names, leaves = ["x", *(name for name, _ in named)], [x, *(parameter for _, parameter in named)]
    return names, list(torch.autograd.grad(y, leaves, upstream.to(y.dtype)))


def _input(steps: int, batch: int, hidden: int, options: Options) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(steps, batch, hidden, generator=generator).to(options.device)


def _check(mode: str, steps: int, batch: int, hidden: int, options: Options) -> dict[str, dict[str, float]]:
    """Return the largest relative error of outputs and gradients against `nn.LSTM` in float64, nothing dropped."""
    reference = nn.LSTM(hidden, hidden)
    weights = {name: parameter.detach().clone() for name, parameter in _plain_names(reference)}
    shape = steps, batch, hidden
    made: Layer = (reference.double(), lambda x: reference(x.double())[0], _plain_names(reference))
    exact = _outputs(made, mode, options, shape, {})
    found: dict[str, dict[str, float]] = {}
    for name, make in _layers(mode, options).items():
        with checking(name, found):
            got = _outputs(make(hidden, 0.0), mode, options, shape, weights)
            found[name] = {"rel_err": max(relative_error(got[key], exact[key]) for key in exact)}
    return found


def _outputs(
    made: Layer, mode: str, options: Options, shape: tuple[int, int, int], weights: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return output and, in training, gradients of a layer with given weights, by name."""
    layer, call, named = made
    for name, parameter in named:
        if weights:
            parameter.data.copy_(weights[name])
    layer.to(options.device).train(mode == "train")
    x = _input(*shape, options)
    if mode == "eval":
        with torch.inference_mode():
            return {"y": call(x)}
    y = call(x.requires_grad_())
    names, gradients = _backward(y, torch.ones_like(y), x, named)
    return {"y": y.detach(), **dict(zip(names, gradients))}
