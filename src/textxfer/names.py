"""Names that users choose from, for the command line: its help and its errors do not wait for torch."""

from __future__ import annotations

from typing import Literal

Precision = Literal["auto", "fp32", "bf16", "int8"]
"""In which numbers to compute.

`auto` is bfloat16 where the device multiplies it faster than float32; `int8` has the LSTM layers in 8 bits (CPU).
`bf16` on a CPU without instructions for it is float32, as with `MixedPrecision`: torch would take hundreds of times as
long.
"""

RECIPES = ("small", "paper", "scripts2018", "laptop")
"""The recipes of `textxfer.presets`."""
