"""Whether cuDNN's persistent LSTM kernels take sizes that torch does not offer them, and what a time step costs.

Calls cuDNN's C functions in the library that torch has loaded. A program of its own: `python -m
benchmarks.cudnn_persistent` prints one JSON object a line. All kernels get the same weights, input and state, and are
compared with the standard one. Forward passes of training only: where those are refused, backward is no question.

Shapes: T time, B batch, H hidden features, of input and state alike.
"""

from __future__ import annotations

import ctypes
import json
from ctypes import byref, c_float, c_int, c_size_t, c_uint32, c_ulonglong, c_void_p
from itertools import product
from statistics import median
from typing import Any

import torch

from benchmarks.gpu_layer import random, timed

STEPS = 70
# Numbers from cudnn_graph.h and cudnn_adv.h of cuDNN 9.
ALGORITHMS = {"standard": 0, "persist-static": 1, "persist-dynamic": 2}
DTYPES = {torch.float16: 2, torch.bfloat16: 9}
FLOAT, LSTM, DOUBLE_BIAS, ONE_WAY, LINEAR_INPUT, TENSOR_CORES, PADDED_IO = 0, 2, 2, 0, 0, 1, 1
TIME_MAJOR, TRAINING = 0, 1


class Refused(Exception):
    """cuDNN returned an error; the message is its name for it."""


class Cudnn:
    """The library, with errors as exceptions."""

    def __init__(self) -> None:
        torch.backends.cudnn.version()  # loads it
        self.library = ctypes.CDLL("libcudnn.so.9")
        self.library.cudnnGetErrorString.restype = ctypes.c_char_p
        self.handle = self.new("cudnnCreate")

    def __call__(self, name: str, *arguments: Any) -> None:
        status = getattr(self.library, name)(*arguments)
        if status:
            text = self.library.cudnnGetErrorString(c_int(status)) or b""
            raise Refused(f"{name}: {status} {text.decode()}")

    def new(self, name: str) -> c_void_p:
        """Return what a `cudnnCreate...` function creates."""
        made = c_void_p()
        self(name, byref(made))
        return made


class Forward:
    """A forward pass that is ready to run."""

    def __init__(self, cudnn: Cudnn, algorithm: int, dtype: torch.dtype, hidden: int, batch: int) -> None:
        self.cudnn = cudnn
        self.rnn = self._layer(algorithm, DTYPES[dtype], hidden)
        if algorithm == ALGORITHMS["persist-dynamic"]:
            cudnn("cudnnBuildRNNDynamic", cudnn.handle, self.rnn, c_int(batch))
        self.sequence, self.state = self._descriptions(DTYPES[dtype], hidden, batch)
        weights, work, reserve = c_size_t(), c_size_t(), c_size_t()
        cudnn("cudnnGetRNNWeightSpaceSize", cudnn.handle, self.rnn, byref(weights))
        sizes = byref(work), byref(reserve)
        cudnn("cudnnGetRNNTempSpaceSizes", cudnn.handle, self.rnn, c_int(TRAINING), self.sequence, *sizes)
        torch.manual_seed(0)
        self.weights = random((weights.value // 2,), dtype).mul_(0.5 / hidden**0.5)
        self.x, self.h, self.c = (random(shape, dtype) for shape in ((STEPS, batch, hidden), *[(batch, hidden)] * 2))
        self.y, self.h_after, self.c_after = (torch.zeros_like(t) for t in (self.x, self.h, self.c))
        self.work, self.reserve = (
            torch.empty(max(size.value, 1), dtype=torch.uint8, device="cuda") for size in (work, reserve)
        )

    def _layer(self, algorithm: int, dtype: int, hidden: int) -> c_void_p:
        dropout, rnn = self.cudnn.new("cudnnCreateDropoutDescriptor"), self.cudnn.new("cudnnCreateRNNDescriptor")
        handle = self.cudnn.handle
        nothing = c_void_p(), c_size_t(0), c_ulonglong(0)
        self.cudnn("cudnnSetDropoutDescriptor", dropout, handle, c_float(0), *nothing)
        kind = (algorithm, LSTM, DOUBLE_BIAS, ONE_WAY, LINEAR_INPUT, dtype, FLOAT, TENSOR_CORES)
        sizes = (hidden, hidden, hidden, 1)  # input, hidden, projection (none: as hidden), layers
        numbers = map(c_int, (*kind, *sizes))
        self.cudnn("cudnnSetRNNDescriptor_v8", rnn, *numbers, dropout, c_uint32(PADDED_IO))
        return rnn

    def _descriptions(self, dtype: int, hidden: int, batch: int) -> tuple[c_void_p, c_void_p]:
        sequence = self.cudnn.new("cudnnCreateRNNDataDescriptor")
        lengths = (c_int * batch)(*[STEPS] * batch)
        sizes = map(c_int, (dtype, TIME_MAJOR, STEPS, batch, hidden))
        self.cudnn("cudnnSetRNNDataDescriptor", sequence, *sizes, lengths, c_void_p())
        state = self.cudnn.new("cudnnCreateTensorDescriptor")
        shape, strides = (c_int * 3)(1, batch, hidden), (c_int * 3)(batch * hidden, hidden, 1)
        self.cudnn("cudnnSetTensorNdDescriptor", state, c_int(dtype), c_int(3), shape, strides)
        return sequence, state

    def run(self) -> None:
        stream = c_void_p(torch.cuda.current_stream().cuda_stream)
        self.cudnn("cudnnSetStream", self.cudnn.handle, stream)
        given = (self.cudnn.handle, self.rnn, c_int(TRAINING), c_void_p(), self.sequence, _at(self.x))
        made = (self.sequence, _at(self.y), self.state, _at(self.h), _at(self.h_after))
        cells = (self.state, _at(self.c), _at(self.c_after))
        memory = [part for t in (self.weights, self.work, self.reserve) for part in (c_size_t(t.nbytes), _at(t))]
        self.cudnn("cudnnRNNForward", *given, *made, *cells, *memory)


def _at(tensor: torch.Tensor) -> c_void_p:
    return c_void_p(tensor.data_ptr())


def main() -> None:
    """Try all kernels."""
    torch.zeros(1, device="cuda")
    cudnn = Cudnn()
    for dtype, hidden, batch in product(DTYPES, (1152, 1024), (16, 64, 128)):
        wanted = None
        for name, algorithm in ALGORITHMS.items():
            line: dict[str, Any] = {"impl": f"{name}-h{hidden}-b{batch}-{str(dtype).removeprefix('torch.')}"}
            try:
                forward = Forward(cudnn, algorithm, dtype, hidden, batch)
                forward.run()
                torch.cuda.synchronize()
                wanted = forward.y.float() if wanted is None else wanted
                line["max_difference"] = float((forward.y.float() - wanted).abs().max())
                line["us_per_step"] = round(1e6 * median(timed(forward.run).wall) / STEPS, 2)
            except Refused as error:
                line["refused"] = str(error)
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
