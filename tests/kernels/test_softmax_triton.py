from __future__ import annotations

import pytest
import torch


@pytest.mark.cuda
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 4e-3)])
@pytest.mark.parametrize("vocab", [1, 100, 4096, 60_001])
def test_equals_torchs_functions(gpu: torch.device, dtype: torch.dtype, tolerance: float, vocab: int) -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    from textxfer.kernels.softmax_triton import softmax_in_place

    logits = (4 * torch.randn(33, vocab, device=gpu)).to(dtype)
    target = torch.randint(0, vocab, (33,), device=gpu)
    logits[1, target[1]] = -300 if vocab > 1 else 0
    p = logits.clone()
    losses = softmax_in_place(p, target)
    expected = torch.nn.functional.cross_entropy(logits.double(), target, reduction="none")
    torch.testing.assert_close(losses.double(), expected, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(p.double(), logits.double().softmax(dim=1), rtol=0, atol=tolerance)
