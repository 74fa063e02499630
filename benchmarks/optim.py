"""Clipping and update of all parameters of the full model, 32 million.

`textxfer` is the optimizer that `Optimizer().build` makes, with the groups of a language model, and the clipping of
`ClipGrad`; `fastai` is its Adam after `GradientClip`'s clipping; the others are torch's AdamW in its three forms.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from functools import partial
from itertools import count
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks import peers_fastai, synthetic
from benchmarks.driver import Case, Impl, Options, Work
from benchmarks.peers import checking
from textxfer.batch import Batch, Loaders
from textxfer.callbacks import ClipGrad
from textxfer.models import AWDLSTMConfig, LanguageModel
from textxfer.training import Learner, Optimizer
from textxfer.training.step import Step

_LR, _BETAS, _EPS = 1e-3, (0.8, 0.99), 1e-8
_SHRINK = 0.9
_CHECKED = 3
"""Updates after which the weights are compared."""

Update = Callable[[float], Any]
"""Clips the gradients to a norm and updates the weights."""
Make = Callable[[nn.Module], Update]


def cases(options: Options) -> Iterable[Case]:
    """Return the one case."""
    config = options.size(AWDLSTMConfig(30_000), AWDLSTMConfig(200, embed=16, hidden=32, layers=2))
    size = sum(parameter.numel() for parameter in LanguageModel(config).parameters())
    yield Case(
        name="adamw-clip",
        impls=[Impl(name, partial(_build, make, config, options)) for name, make in _MAKERS.items()],
        count=size,
        unit="parameters",
        peers=("fastai", "torch"),
        check=partial(_check, options),
        limit=1e-4,
        memory=False,
    )


def _clipped(model: nn.Module, update: Callable[[], Any]) -> Update:
    """Return a step that clips as fastai's `GradientClip` does."""

    def step(limit: float) -> None:
        nn.utils.clip_grad_norm_(model.parameters(), limit)
        update()

    return step


def _ours(model: nn.Module) -> Update:
    batch = Batch((), None, 0)
    optimizer, device = Optimizer(betas=_BETAS, eps=_EPS), next(model.parameters()).device
    learn = Learner(model, Loaders([batch]), F.cross_entropy, optimizer=optimizer, device=device)
    for group in learn.optimizer.param_groups:
        group["lr"] = _LR
    clip = ClipGrad()
    clip.before_fit(learn)

    def step(limit: float) -> None:
        clip.max_norm = limit
        learn.step = Step(0, True, batch, learn.optimizer.step)
        clip.before_update(learn)
        if learn.step.update is not None:
            learn.step.update()

    return step


def _torch(model: nn.Module, **form: bool) -> Update:
    decay = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}]
    return _clipped(model, torch.optim.AdamW(groups, lr=_LR, betas=_BETAS, eps=_EPS, **form).step)


def _fastai(model: nn.Module) -> Update:
    f = peers_fastai.fastai()
    optimizer = f.Adam(list(model.parameters()), lr=_LR, mom=_BETAS[0], sqr_mom=_BETAS[1], eps=_EPS, wd=0.01)
    for parameter in model.parameters():
        if parameter.ndim <= 1:  # as its Learner does
            optimizer.state[parameter]["do_wd"] = False
    return _clipped(model, peers_fastai.quiet(optimizer.step))


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
    limits = map(lambda n: synthetic.CLIP * _SHRINK**n, count())  # each step has something to clip
    return Work(lambda: step(next(limits)))


def _check(options: Options) -> dict[str, dict[str, float]]:
    """Return how far, relative to how far they moved, weights are from those of torch's loop after some updates."""
    start = _model(AWDLSTMConfig(200, embed=16, hidden=32, layers=2), options.device)
    ends: dict[str, torch.Tensor] = {}
    failed: dict[str, dict[str, float]] = {}
    for name, make in _MAKERS.items():
        model = copy.deepcopy(start)
        for own, given in zip(model.parameters(), start.parameters()):
            own.grad = given.grad
        with checking(name, failed):
            step = make(model)
            for _ in range(_CHECKED):
                step(synthetic.CLIP)
            ends[name] = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    begun = torch.cat([parameter.detach().flatten() for parameter in start.parameters()])
    exact = ends["torch-loop"]
    moved = (exact - begun).norm()
    return {name: {"rel_err": float((end - exact).norm() / moved)} for name, end in ends.items()} | failed
