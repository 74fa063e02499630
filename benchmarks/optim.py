"""Clipping and update of all parameters of the full model, 32 million.

`textxfer` is the optimizer that `Optimizer().build` makes, with the groups of a language model, and the clipping of
`ClipGrad`; `fastai` is its Adam after `GradientClip`'s clipping; the others are torch's AdamW in its three forms.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import nn

from benchmarks import peers_fastai, synthetic
from benchmarks.driver import Case, Impl, Options, Work
from benchmarks.peers import Skip
from textxfer.models import AWDLSTMConfig, LanguageModel
from textxfer.training import Optimizer
from textxfer.training.groups import layer_groups

_LR, _BETAS, _EPS = 1e-3, (0.8, 0.99), 1e-8
_CHECKED = 3
"""Updates after which the weights are compared."""

Step = Callable[[], Any]
Make = Callable[[nn.Module], Step]
"""From a model with gradients to a function that updates its weights."""


def cases(options: Options) -> Iterable[Case]:
    """Return the one case."""
    config = options.size(AWDLSTMConfig(30_000), AWDLSTMConfig(200, embed=16, hidden=32, layers=2))
    count = sum(parameter.numel() for parameter in LanguageModel(config).parameters())
    yield Case(
        name="adamw-clip",
        impls=[Impl(name, partial(_build, make, config, options)) for name, make in _MAKERS.items()],
        count=count,
        unit="parameters",
        peers=("fastai", "torch"),
        check=partial(_check, options),
        limit=1e-4,
        memory=False,
    )


def _clip(model: nn.Module) -> None:
    nn.utils.clip_grad_norm_(model.parameters(), synthetic.CLIP)


def _ours(model: nn.Module) -> Step:
    optimizer = Optimizer(betas=_BETAS, eps=_EPS).build(layer_groups(model))
    for group in optimizer.param_groups:
        group["lr"] = _LR
    return optimizer.step


def _torch(model: nn.Module, **form: bool) -> Step:
    decay = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=_LR, betas=_BETAS, eps=_EPS, **form).step


def _fastai(model: nn.Module) -> Step:
    f = peers_fastai.fastai()
    optimizer = f.Adam(list(model.parameters()), lr=_LR, mom=_BETAS[0], sqr_mom=_BETAS[1], eps=_EPS, wd=0.01)
    for parameter in model.parameters():
        if parameter.ndim <= 1:  # as its Learner does
            optimizer.state[parameter]["do_wd"] = False
    return peers_fastai.quiet(optimizer.step)


_MAKERS: dict[str, Make] = {
    "textxfer": _ours,
    "fastai": _fastai,
    "torch-fused": partial(_torch, fused=True),
    "torch-foreach": partial(_torch, foreach=True),
    "torch-loop": partial(_torch, foreach=False),
}


def _model(config: AWDLSTMConfig, device: str) -> nn.Module:
    torch.manual_seed(0)
    model = LanguageModel(config).to(device)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    return model


def _build(make: Make, config: AWDLSTMConfig, options: Options) -> Work:
    model = _model(config, options.device)
    step = make(model)

    def run() -> None:
        _clip(model)
        step()

    return Work(run)


def _check(options: Options) -> dict[str, dict[str, float]]:
    """Return how far, relative to how far they moved, weights are from those of torch's loop after some updates."""
    start = _model(AWDLSTMConfig(200, embed=16, hidden=32, layers=2), options.device)
    ends = {}
    for name, make in _MAKERS.items():
        model = copy.deepcopy(start)
        for own, given in zip(model.parameters(), start.parameters()):
            own.grad = given.grad
        try:
            step = make(model)
        except Skip:  # said when it is built
            continue
        for _ in range(_CHECKED):
            step()
        ends[name] = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    begun = torch.cat([parameter.detach().flatten() for parameter in start.parameters()])
    exact = ends["torch-loop"]
    moved = (exact - begun).norm()
    return {name: {"rel_err": float((end - exact).norm() / moved)} for name, end in ends.items()}
