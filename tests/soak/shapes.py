"""What torch keeps for each shape that it has computed with: `python -m tests.soak.shapes`.

oneDNN compiles code for a product of so many rows when it first meets them, and keeps it. A process that reads texts of
ever new lengths therefore grows, to a bound, whatever library stands above torch; nothing of textxfer takes part here.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor

import torch
from torch import Tensor, nn

from tests.soak.watch import memory

_MEBI = 2**20
_INPUT, _HIDDEN, _STEPS = 12, 16, 70
KINDS = ("product in float32", "product in bfloat16", "nn.LSTM in float32")


def product(dtype: torch.dtype, most: int) -> Callable[[int], Tensor]:
    """Return a function that multiplies so many rows with a small matrix."""
    weight, rows = torch.randn(4 * _HIDDEN, _INPUT).to(dtype), torch.randn(most, _INPUT).to(dtype)
    return lambda n: nn.functional.linear(rows[:n], weight)


def lstm(most: int) -> Callable[[int], Tensor]:
    """Return a function that runs torch's LSTM over the nth shape of up to 70 steps and ever more rows."""
    layer, inputs = nn.LSTM(_INPUT, _HIDDEN).eval(), torch.randn(_STEPS, -(-most // _STEPS), _INPUT)
    return lambda n: layer(inputs[: 1 + (n - 1) % _STEPS, : 1 + (n - 1) // _STEPS])[0]


@torch.inference_mode()
def grown(kind: str, shapes: int) -> tuple[float, float]:
    """Compute with each shape, twice over; return by how many MiB the process has grown in each of the two passes."""
    torch.set_num_threads(1)
    dtype = torch.bfloat16 if "bfloat16" in kind else torch.float32
    compute = lstm(shapes) if "LSTM" in kind else product(dtype, shapes)
    at = [memory()]
    for _ in range(2):
        for n in range(1, shapes + 1):
            compute(n)
        at.append(memory())
    return (at[1] - at[0]) / _MEBI, (at[2] - at[1]) / _MEBI


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.shapes", description=__doc__)
    parser.add_argument("--shapes", type=int, default=3000, help="how many shapes")
    shapes = parser.parse_args(arguments).shapes
    for kind in KINDS:  # each in a process of its own: oneDNN lets go of one kind's code for that of another
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            first, again = pool.submit(grown, kind, shapes).result()
        print(f"{kind}, {shapes:,} shapes: {first:+.0f} MiB; the same shapes again: {again:+.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
