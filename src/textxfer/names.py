"""Names that users choose from, for the command line: its help and its errors do not wait for torch."""

from __future__ import annotations

from typing import Literal

Precision = Literal["auto", "fp32", "fp16", "bf16", "int8"]
"""In which numbers to compute.

`auto` is bfloat16 where the device multiplies it faster than float32, else, on a CPU, `fp16`; `int8` has the LSTM
layers in 8 bits (CPU). `fp16` on a CPU has the weights of the LSTM layers in float16 and computes in float32; where
torch cannot do that, it is float32. `bf16` on a CPU without instructions for it is float32, as with `MixedPrecision`:
torch would take hundreds of times as long.
"""

RECIPES = ("small", "paper", "scripts2018", "laptop")
"""The recipes of `textxfer.presets`."""
