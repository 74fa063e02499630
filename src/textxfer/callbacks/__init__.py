"""One idea of training per callback; each works with all the others.

| callback | what it does |
| --- | --- |
| `CarryHidden` | a language model reads on where the last batch ended |
| `ActivationReg`, `TemporalReg` | penalties on activations: AR and TAR |
| `DiscriminativeLR` | lower rates for lower layer groups |
| `WindowRate` | rates that follow the length of the window |
| `GradualUnfreeze` | layer groups start to train one after the other; also chain-thaw, last only |
| `ClipGrad`, `Accumulate` | clipped gradients; large batches in parts |
| `MixedPrecision` | bfloat16 or float16 |
| `CacheFeatures` | what a frozen encoder computes is computed once |
| `CapturedStep` | forward and backward pass as a CUDA graph |
| `DataParallel` | one training by several processes, started by `torchrun` |
| `WeightAverage` | averaged weights: exponential, or NT-ASGD |
| `EarlyStop`, `StopOnNonFinite` | end a fit that gets no better, or breaks |
| `SaveBest`, `SaveEvery` | the best weights; full training states to resume from |
| `Report`, `CSVLog` | progress and table; a log for other programs |
"""

from textxfer.callbacks.average import WeightAverage
from textxfer.callbacks.csv_log import CSVLog
from textxfer.callbacks.discriminative import DiscriminativeLR
from textxfer.callbacks.distributed import DataParallel
from textxfer.callbacks.features import CacheFeatures
from textxfer.callbacks.gradients import Accumulate, ClipGrad
from textxfer.callbacks.graph import CapturedStep
from textxfer.callbacks.nonfinite import StopOnNonFinite
from textxfer.callbacks.precision import MixedPrecision
from textxfer.callbacks.recurrent import CarryHidden
from textxfer.callbacks.regularize import ActivationReg, TemporalReg
from textxfer.callbacks.report import Report
from textxfer.callbacks.save import SaveBest, SaveEvery
from textxfer.callbacks.stop import EarlyStop
from textxfer.callbacks.unfreeze import GradualUnfreeze
from textxfer.callbacks.window_rate import WindowRate

__all__ = [
    "Accumulate",
    "ActivationReg",
    "CSVLog",
    "CacheFeatures",
    "CapturedStep",
    "CarryHidden",
    "ClipGrad",
    "DataParallel",
    "DiscriminativeLR",
    "EarlyStop",
    "GradualUnfreeze",
    "MixedPrecision",
    "Report",
    "SaveBest",
    "SaveEvery",
    "StopOnNonFinite",
    "TemporalReg",
    "WeightAverage",
    "WindowRate",
]
