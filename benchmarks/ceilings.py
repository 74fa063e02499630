"""What the machine can do at most, measured in the same run: large matrix products in the dtypes of the benchmarks."""

from __future__ import annotations

import time

import torch

from textxfer.kernels import multiplies_bf16

_SIZE = {"cpu": 2048, "cuda": 8192}
_QUICK_SIZE = 256


def measure(device: str, quick: bool = False) -> dict[str, float]:
    """Return FLOP/s of a square matrix product by dtype, for those dtypes that the machine has instructions for.

    The best of several products counts: a ceiling is what the machine can do, not what it does on average.

    Args:
        device: `cpu` or `cuda`.
        quick: A small product, for a first look only.
    """
    size = _QUICK_SIZE if quick else _SIZE[device]
    rates = {"float32": _rate(size, torch.float32, device)}
    if multiplies_bf16(torch.device(device)):
        rates["bfloat16"] = rates["float16"] = _rate(size, torch.bfloat16, device)  # one rate for both
    return rates


def _rate(size: int, dtype: torch.dtype, device: str) -> float:
    generator = torch.Generator(device).manual_seed(0)
    # Random numbers: zeros cost a GPU less power, hence less time.
    a, b = torch.randn(2, size, size, device=device, generator=generator).to(dtype)
    seconds = []
    for _ in range(7):
        began = time.perf_counter()
        torch.mm(a, b)
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / min(seconds)
