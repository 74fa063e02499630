"""In which numbers a model computes when it is used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from threading import Lock, RLock
from typing import Any, get_args
from weakref import WeakKeyDictionary

import torch
from torch import nn

from textxfer.kernels import fp16_is_usable, int8_is_usable, multiplies_bf16
from textxfer.models.awd_lstm import AWDLSTM
from textxfer.models.lstm import WeightDropLSTM
from textxfer.names import Precision

_STEPS, _ROWS, _MARGIN = 100, 16, 1.25
_turns: WeakKeyDictionary[nn.Module, AbstractContextManager[Any]] = WeakKeyDictionary()
_turns_lock = Lock()


def chosen_precision(precision: Precision, device: torch.device) -> Precision:
    """Return what a precision stands for on a device, and refuse what the device cannot do.

    Raises:
        ValueError: The precision is none of the known ones, or the device does not have it.
    """
    if precision not in get_args(Precision):
        raise ValueError(f"dtype must be one of {', '.join(get_args(Precision))}, not {precision!r}")
    if precision in ("auto", "bf16") and multiplies_bf16(device):
        return "bf16"
    if device.type == "cpu" and precision in ("auto", "fp16"):
        return "fp16" if fp16_is_usable(device) else "fp32"
    if precision == "auto" or (precision == "bf16" and device.type == "cpu"):
        return "fp32"
    if precision == "int8" and not int8_is_usable(device):
        raise ValueError(f"int8 needs a CPU on which torch has oneDNN; on {device.type} use bf16 or fp32")
    return precision


@contextmanager
def computing_in(model: nn.Module, precision: Precision) -> Iterator[None]:
    """Let a model compute in other numbers while the context is open; its parameters stay as they are.

    Threads take turns with a model: else one would go on in the numbers of another, and leave the model in them.

    Args:
        model: The model; modules with an attribute `compute_dtype` are told, as `MixedPrecision` does.
        precision: In which numbers.
    """
    device = next(model.parameters()).device
    layers, others = _dtypes(chosen_precision(precision, device), device)
    with _turn(model):
        modules = [module for module in model.modules() if hasattr(module, "compute_dtype")]
        before = [getattr(module, "compute_dtype") for module in modules]  # noqa: B009  any module
        try:
            for module in modules:
                setattr(module, "compute_dtype", layers if isinstance(module, WeightDropLSTM) else others)  # noqa: B010
            yield
        finally:
            for module, dtype in zip(modules, before):
                setattr(module, "compute_dtype", dtype)  # noqa: B010


def _turn(model: nn.Module) -> AbstractContextManager[Any]:
    """Return the lock of a model, which a thread may take again while it has it."""
    with _turns_lock:
        return _turns.setdefault(model, RLock())


def _dtypes(precision: Precision, device: torch.device) -> tuple[torch.dtype | None, torch.dtype | None]:
    """Return in which dtypes the LSTM layers and all else compute; None is the parameters' own."""
    if precision == "bf16":
        return torch.bfloat16, torch.bfloat16
    if precision == "fp16":
        return torch.float16, None if device.type == "cpu" else torch.float16
    if precision == "int8":
        return torch.int8, torch.bfloat16 if multiplies_bf16(device) else None
    return None, None


@torch.inference_mode()
def measure_spans(encoder: AWDLSTM, counts: Sequence[int] | None = None, *, seed: int = 0) -> None:
    """Measure within which range the hidden states of each layer lie, for 8 bits.

    The sample is random words with the frequencies of the vocabulary. States beyond the range are cut off, so a
    quarter is added to it.

    Args:
        encoder: The encoder, measured in evaluation mode; its layers get their `spans`.
        counts: How often each word occurs; None if unknown.
        seed: Seed of the sample.
    """
    weights = torch.ones(encoder.config.vocab) if counts is None else torch.tensor(counts, dtype=torch.float32) + 1e-3
    generator = torch.Generator().manual_seed(seed)
    ids = weights.multinomial(_STEPS * _ROWS, replacement=True, generator=generator).view(_STEPS, _ROWS)
    x = encoder.embedding.weight[ids.to(encoder.embedding.weight.device)].float()
    with _turn(encoder):
        below, training = 1.0, encoder.training
        encoder.eval()
        try:
            for lstm in encoder.lstms:
                x, _ = lstm(x)
                span = min(1.0, _MARGIN * float(x.float().abs().amax()))
                lstm.spans, below = (below, span), span
        finally:
            encoder.train(training)
