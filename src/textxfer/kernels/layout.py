"""Transposed copies at the speed of memory."""

from __future__ import annotations

from torch import Tensor

_ROWS = 256  # read at once and written in stretches of this length; torch's own copy takes several times longer


def transposed(matrix: Tensor, below: Tensor | None = None, extra: int = 1) -> Tensor:
    """Return a contiguous transposed copy.

    Products in bfloat16 run two to three times faster on the CPU when their operands lie in the order of the sum.

    Args:
        matrix: Of shape (M, N).
        below: A further row, (M,), of any dtype.
        extra: Number of further rows if there is one; those behind it are zero.

    Returns:
        Of shape (N, M), or (N + extra, M) with the further rows.
    """
    rows, columns = matrix.shape
    out = matrix.new_empty(columns if below is None else columns + extra, rows)
    for start in range(0, rows, _ROWS if matrix.device.type == "cpu" else max(1, rows)):
        stop = min(start + _ROWS, rows) if matrix.device.type == "cpu" else rows
        out[:columns, start:stop].copy_(matrix[start:stop].t())
    if below is not None:
        out[columns].copy_(below)
        out[columns + 1 :].zero_()
    return out
