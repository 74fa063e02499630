"""Whether language models that are compared compute the same: from the same weights, without dropout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import peers_fastai, peers_torch, synthetic
from benchmarks.driver import Options
from benchmarks.lm_models import Size, learner
from benchmarks.peers import checking, feature
from benchmarks.steps import LR
from textxfer import ulmfit
from textxfer.text import LMBatches
from textxfer.training import Callback, Learner, Order

_ROWS, _STEPS = 4, 12
"""Lanes and steps of the batch whose gradients are compared; enough for all weights, and float64 is slow."""
_LAST = 5
"""How many losses at the end of a training are averaged."""


def check(size: Size, n_steps: int, options: Options) -> dict[str, dict[str, float]]:
    """Compare loss and gradients of a batch with float64, and the loss after some steps in bfloat16 and in float32."""
    found = _gradients(replace(size, batch=_ROWS, bptt=_STEPS), options)
    if n_steps and options.half:
        for name, difference in loss_differences(size, n_steps, options).items():
            found.setdefault(name, {})["loss_rel_diff"] = difference
    return found


def loss_differences(size: Size, n_steps: int, options: Options) -> dict[str, float]:
    """Return by how much, relative to float32, the loss differs after training in bfloat16, by implementation."""
    exact = _last_loss(size, n_steps, options, "fp32")
    last = {"textxfer": _last_loss(size, n_steps, options, "bf16")}
    if options.device == "cuda":
        captured = feature("textxfer.callbacks", "CapturedStep")
        last["textxfer-captured"] = _last_loss(size, n_steps, options, "bf16", captured())
    listed = ", ".join(f"{loss:.4f} ({name})" for name, loss in last.items())
    print(f"loss after {n_steps} steps: {exact:.4f} in float32; in bfloat16 {listed}", flush=True)
    return {name: abs(loss - exact) / exact for name, loss in last.items()}


def _last_loss(size: Size, n_steps: int, options: Options, precision: ulmfit.Precision, *callbacks: Callback) -> float:
    learn = learner(size, n_steps, options, precision, dropout=0.0)
    learn.callbacks += callbacks
    learn.fit(1, LR)
    losses = learn.history.steps["loss"][-_LAST:]
    return sum(float(loss) for loss in losses) / len(losses)


@final
class _Keep(Callback):
    """Keep loss and gradients of the first batch, before they are clipped."""

    order = Order.DATA

    def __init__(self) -> None:
        self.loss = float("nan")
        self.gradients: dict[str, Tensor] = {}

    def after_backward(self, learn: Learner) -> None:
        if not self.gradients:
            self.loss = float(learn.step.loss.detach())
            named = learn.model.named_parameters()
            self.gradients = {name: p.grad.double().clone() for name, p in named if p.grad is not None}


def _gradients(size: Size, options: Options) -> dict[str, dict[str, float]]:
    learn = learner(size, 1, options, "fp32", dropout=0.0)
    weights = {name: tensor.clone() for name, tensor in learn.model.state_dict().items()}
    loader = LMBatches(synthetic.store(synthetic.filling(size.tokens), size.vocab), size.batch, size.bptt)
    batch = next(iter(loader))
    assert batch.target is not None
    ids, target = batch.inputs[0].to(options.device), batch.target.to(options.device)
    loss, exact = _plain(size, weights, ids, target, torch.float64)
    found: dict[str, dict[str, float]] = {}
    ours = {"textxfer": "bf16", "textxfer-fp32": "fp32"} if options.half else {"textxfer": "fp32"}
    for name, precision in ours.items():
        kept = _ours(size, weights, options, precision)
        found[name] = _errors(loss, exact, kept.loss, kept.gradients)
    plain = {"plain": torch.float32, "plain-bf16": torch.bfloat16} if options.half else {"plain": torch.float32}
    for name, dtype in plain.items():
        found[name] = _errors(loss, exact, *_plain(size, weights, ids, target, dtype))
    with checking("fastai", found):
        found["fastai"] = _errors(loss, exact, *_fastai(size, weights, ids, target, options))
    return found


def _plain(
    size: Size, weights: Mapping[str, Tensor], ids: Tensor, target: Tensor, dtype: torch.dtype
) -> tuple[float, dict[str, Tensor]]:
    model = peers_torch.PlainLM(size.config(0.0)).to(ids.device)
    model.load_ours(weights)
    model.to(dtype)
    loss = F.cross_entropy(model(ids)[0], target.flatten())
    loss.backward()
    return float(loss.detach()), _named(model, peers_torch.names(size.layers))


def _ours(size: Size, weights: Mapping[str, Tensor], options: Options, precision: Any) -> _Keep:
    learn = learner(size, 1, options, precision, dropout=0.0)
    learn.model.load_state_dict(weights)
    # The regularizers go, as the reference has none; all else stays as a user has it.
    learn.callbacks = [each for each in learn.callbacks if type(each).__name__ not in ("ActivationReg", "TemporalReg")]
    learn.callbacks.append(kept := _Keep())
    learn.fit(1, LR)
    return kept


def _fastai(
    size: Size, weights: Mapping[str, Tensor], ids: Tensor, target: Tensor, options: Options
) -> tuple[float, dict[str, Tensor]]:
    source = synthetic.store(synthetic.filling(size.tokens + 1), size.vocab)
    loader = peers_fastai.lm_loader(peers_fastai.documents(source), size.batch, size.bptt, options.device)
    learn = peers_fastai.lm_learner(loader, size.config(0.0), synthetic.CLIP, options.device)
    peers_fastai.load_lm(learn, weights)
    logits = learn.model.train()(ids.T.contiguous())[0]
    loss = F.cross_entropy(logits.flatten(0, 1), target.T.flatten())
    loss.backward()
    return float(loss.detach()), _named(learn.model, peers_fastai.names(learn.model[0].rnns))


def _named(model: nn.Module, names: Mapping[str, str]) -> dict[str, Tensor]:
    """Return gradients under our names, given those of a peer by ours."""
    own = {name: parameter.grad for name, parameter in model.named_parameters()}
    return {ours: grad for ours, theirs in names.items() if (grad := own[theirs]) is not None}


def _errors(
    loss: float, exact: Mapping[str, Tensor], other: float, gradients: Mapping[str, Tensor]
) -> dict[str, float]:
    """Return the relative error of the loss and of all gradients together, in the L2 norm."""
    squares = sum(float((gradients[name] - grad).square().sum()) for name, grad in exact.items())
    norm = sum(float(grad.square().sum()) for grad in exact.values())
    return {"rel_err_loss": abs(other - loss) / abs(loss), "rel_err_grad": (squares / norm) ** 0.5}
