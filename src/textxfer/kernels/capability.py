"""What processors and GPUs can do."""

from __future__ import annotations

from functools import cache

import torch

_X86 = ("avx512_bf16", "amx_bf16")


def multiplies_bf16(device: torch.device) -> bool:
    """Whether a CPU or a GPU has instructions for bfloat16 products; without them bfloat16 is slower than float32.

    Args:
        device: The device; of other kinds than these it is not known.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and cpu_multiplies_bf16()


@cache
def cpu_multiplies_bf16() -> bool:
    """Whether this CPU has instructions for bfloat16 products.

    oneDNN also says yes to AVX-512 without such instructions, where it turns each number into float32 first.
    """
    if not (torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        return False
    # Older versions of torch do not tell what an x86 CPU has, and on others there is nothing to add.
    found = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(not any(name in found for name in _X86) or any(found.get(name) for name in _X86))
