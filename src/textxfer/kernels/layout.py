"""Transposed copies at the speed of memory."""

from __future__ import annotations

from torch import Tensor

_ROWS = 256  # read at once and written in stretches of this length; torch's own copy takes several times longer


def transposed(matrix: Tensor, below: Tensor | None = None) -> Tensor:
    """Return a contiguous transposed copy.

    Products in bfloat16 run two to three times faster on the CPU when their operands lie in the order of the sum.

    Args:
        matrix: Of shape (M, N).
        below: A further row, (M,), of any dtype.

    Returns:
        Of shape (N, M), or (N + 1, M) with the further row.
    """
    rows, columns = matrix.shape
    out = matrix.new_empty(columns if below is None else columns + 1, rows)
    for start in range(0, rows, _ROWS if matrix.device.type == "cpu" else rows):
        stop = min(start + _ROWS, rows) if matrix.device.type == "cpu" else rows
        out[:columns, start:stop].copy_(matrix[start:stop].t())
    if below is not None:
        out[columns].copy_(below)
    return out
