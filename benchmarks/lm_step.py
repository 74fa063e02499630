"""Training steps of language models: whole batches from the loader to the update, as a user has them.

`textxfer` is what `textxfer.ulmfit.language_model` returns; `fastai` is `language_model_learner` with the same sizes,
dropouts, regularizers and clipping; `plain` is a stack of `nn.LSTM` without weight drop, with a fused AdamW and batches
that lie ready. `plain-bf16` has its weights and moments in bfloat16, too, which is fast and loses small updates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch

from benchmarks import lm_checks, peers_fastai, peers_torch, steps, synthetic
from benchmarks.driver import Case, Figures, Impl, Options, Work
from benchmarks.lm_models import Size, learner
from benchmarks.peers import feature
from textxfer import ulmfit
from textxfer.text import LMBatches


def cases(options: Options) -> Iterable[Case]:
    """Return the sizes to measure."""
    for name, size, n_steps in _sizes(options):
        yield Case(
            name=name,
            impls=_impls(size, n_steps, options),
            count=size.tokens * n_steps,
            flops=size.flops * n_steps,
            steps=n_steps,
            peers=("fastai", "plain"),
            check=_check(name, size, options),
            figures={"vocab": size.vocab, "batch": size.batch, "bptt": size.bptt},
        )


def _sizes(options: Options) -> list[tuple[str, Size, int]]:
    """Return names, sizes and steps per round; on a GPU those first that matter most."""
    if options.quick:
        return [("full", Size(600, 24, 40, 3, 4, 12), 2), ("small", Size(400, 16, 32, 2, 4, 12), 2)]
    if options.device == "cpu":
        return [("full", Size(30_000, 400, 1152, 3, 32), 2), ("small", Size(16_000, 200, 512, 2, 32), 6)]
    order = [(60, 64), (60, 256), (30, 64), (30, 256), (60, 32), (60, 128), (60, 512), (30, 32), (30, 128), (30, 512)]
    return [(f"v{v}k-b{b}", Size(v * 1000, 400, 1152, 3, b), 10 if b <= 128 else 4) for v, b in order]


def _check(name: str, size: Size, options: Options) -> Callable[[], Figures] | None:
    """Return the check of a case: gradients, and the loss after some steps; on a GPU for one size per vocabulary."""
    if options.device == "cuda":
        n_steps = {"v60k-b64": 0, "v30k-b64": 200}
    else:
        n_steps = options.size({"full": 50, "small": 50}, {"full": 3, "small": 0})
    return partial(lm_checks.check, size, n_steps[name], options) if name in n_steps else None


def _impls(size: Size, n_steps: int, options: Options) -> list[Impl]:
    ours = partial(_ours, size, n_steps, options)
    if options.half:
        impls = [Impl("textxfer", ours, "bfloat16"), Impl("textxfer-fp32", partial(ours, "fp32"))]
    else:
        impls = [Impl("textxfer", partial(ours, "fp32"))]
    if options.device == "cuda":
        impls.insert(0, Impl("textxfer-captured", partial(ours, captured=True), "bfloat16"))
    theirs = partial(_fastai, size, n_steps, options)
    impls.append(Impl("fastai", theirs))
    if options.device == "cuda":
        # Under autocast cuDNN's LSTM computes in float16, whatever is asked for.
        impls += [Impl("fastai-fp16", partial(theirs, "fp16"), "float16")]
        impls += [Impl("fastai-bf16", partial(theirs, "bf16"), "bfloat16")]
    plain = partial(_plain, size, n_steps, options)
    return [*impls, Impl("plain", plain), Impl("plain-bf16", partial(plain, torch.bfloat16), "bfloat16")]


def _batches(n_steps: int, options: Options) -> int:
    """Return how many batches the text has: on a GPU as many as there are in all rounds, so that no epoch ends."""
    return n_steps if options.device == "cpu" else n_steps * (options.rounds + 3)


def _ours(
    size: Size, n_steps: int, options: Options, precision: ulmfit.Precision = "bf16", captured: bool = False
) -> Work:
    extra: list[Any] = [feature("textxfer.callbacks", "CapturedStep")()] if captured else []
    learn = learner(size, _batches(n_steps, options), options, precision)
    learn.callbacks += extra
    return steps.trained(learn, n_steps, options.device)


def _fastai(size: Size, n_steps: int, options: Options, precision: str = "fp32") -> Work:
    peers_fastai.fastai()
    # One token more than ours: fastai predicts no first token.
    source = synthetic.store(synthetic.filling(size.tokens * _batches(n_steps, options) + 1), size.vocab)
    loader = peers_fastai.lm_loader(peers_fastai.documents(source), size.batch, size.bptt, options.device)
    learn = peers_fastai.lm_learner(loader, size.config(), synthetic.CLIP, options.device, precision)
    return peers_fastai.trained(learn, n_steps, options.device)


def _plain(size: Size, n_steps: int, options: Options, dtype: torch.dtype = torch.float32) -> Work:
    model = peers_torch.PlainLM(size.config()).to(options.device, dtype)
    source = synthetic.store(synthetic.filling(size.tokens * n_steps), size.vocab)
    loader = LMBatches(source, size.batch, size.bptt, device=options.device)
    batches = [(batch.inputs[0], batch.target) for batch in loader if batch.target is not None]
    return Work(peers_torch.lm_steps(model, batches, synthetic.CLIP, steps.LR))
