from __future__ import annotations

import pytest
import torch

from textxfer.kernels.layout import transposed


@pytest.mark.parametrize("rows", [1, 255, 256, 700])
def test_equals_torchs_copy(rows: int) -> None:
    matrix = torch.randn(rows, 5)
    copy = transposed(matrix)
    assert torch.equal(copy, matrix.t()) and copy.is_contiguous()
    assert transposed(matrix[:0]).shape == (5, 0)


def test_further_rows() -> None:
    matrix, below = torch.randn(300, 5).bfloat16(), torch.arange(300.0)
    copy = transposed(matrix, below, extra=3)
    assert torch.equal(copy[:5], matrix.t()) and torch.equal(copy[5], below.bfloat16()) and not copy[6:].any()
