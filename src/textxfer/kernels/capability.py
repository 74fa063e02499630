"""What the processor can do."""

from __future__ import annotations

import platform
from functools import cache

import torch


@cache
def cpu_multiplies_bf16() -> bool:
    """Whether this CPU has instructions for bfloat16 products; without them bfloat16 is slower than float32.

    oneDNN also says yes to AVX-512 without such instructions, where it turns each number into float32 first.
    """
    if not (torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        return False
    x86 = platform.machine().lower() in ("x86_64", "amd64", "i386", "i686")
    return not x86 or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
