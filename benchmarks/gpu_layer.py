"""Work on a GPU: how long it takes, how to record it, and an LSTM layer of cuDNN with nothing of ours around it.

Shapes: T time, B batch, I input features, H hidden features.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

DEVICE = "cuda"
LSTM = 2  # cuDNN's number of the mode


class Times(NamedTuple):
    """Seconds of each round: until the device was done, and until the host could go on."""

    wall: list[float]
    host: list[float]


def timed(run: Callable[[], Any], rounds: int = 7, warmup: int = 3) -> Times:
    """Time rounds of work, each on an idle device."""
    times = Times([], [])
    for number in range(warmup + rounds):
        torch.cuda.synchronize()
        began = time.perf_counter()
        run()
        host = time.perf_counter() - began
        torch.cuda.synchronize()
        if number >= warmup:
            times.wall.append(time.perf_counter() - began)
            times.host.append(host)
    return times


def recorded(run: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
    """Record work as a CUDA graph; return what repeats it, and what it returns."""
    main, side = torch.cuda.current_stream(), torch.cuda.Stream()
    side.wait_stream(main)
    with torch.cuda.stream(side):
        for _ in range(2):
            run()
    main.wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph, stream=side):
            result = run()
    finally:
        torch.cuda.set_stream(main)  # a recording that fails leaves its own in place
    return graph.replay, result


class Layer:
    """A layer with its weights in one buffer, called through torch's functions for cuDNN.

    Args:
        hidden: H.
        batch: B.
        steps: T.
        dtype: What it computes in.
        inputs: I; H if left out.
    """

    def __init__(self, hidden: int, batch: int, steps: int, dtype: torch.dtype, inputs: int | None = None) -> None:
        inputs = inputs or hidden
        shapes: list[tuple[int, ...]] = [(4 * hidden, inputs), (4 * hidden, hidden), (4 * hidden,), (4 * hidden,)]
        self.hidden = hidden
        self.weights = [random(shape, dtype) / hidden**0.5 for shape in shapes]
        self.buffer = torch._cudnn_rnn_flatten_weight(self.weights, 4, inputs, LSTM, hidden, 0, 1, False, False)  # pyright: ignore[reportPrivateImportUsage]
        self.x, self.dy = random((steps, batch, inputs), dtype), random((steps, batch, hidden), dtype)
        self.state = random((1, batch, hidden), dtype), random((1, batch, hidden), dtype)

    @property
    def options(self) -> tuple[Any, ...]:
        return LSTM, self.hidden, 0, 1, False, 0.0, True, False, [], None

    def run(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        """Return y, state after the window (2 tensors), what backward needs, the buffer."""
        return torch._cudnn_rnn(x, self.weights, 4, self.buffer, *state, *self.options)  # pyright: ignore[reportPrivateImportUsage]

    def forward(self) -> tuple[Tensor, ...]:
        return self.run(self.x, self.state)

    def backward(self, out: Sequence[Tensor], weights: bool = True) -> Any:
        """Run backward over what `forward` returned; it may be called again, for its time, not for its results."""
        y, _, _, reserve, _ = out
        tensors = (self.x, self.weights, 4, self.buffer, *self.state, y, self.dy, None, None)
        return torch.ops.aten._cudnn_rnn_backward(*tensors, *self.options, reserve, (True, True, True, weights))


def random(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    return torch.randn(*shape, device=DEVICE).to(dtype)


def wave(layers: Sequence[Layer], parts: Sequence[Tensor], streams: Sequence[torch.cuda.Stream]) -> list[Any]:
    """Run layers over the parts of a window, each layer on its stream, as soon as the layer below is through."""
    main = torch.cuda.current_stream()
    for stream in streams:
        stream.wait_stream(main)
    states = [layer.state for layer in layers]
    kept: list[Any] = []  # nothing is freed before the end: its memory would go to work on another stream
    for part in parts:
        x, below = part, None
        for number, layer in enumerate(layers):
            stream = streams[number % len(streams)]
            with torch.cuda.stream(stream):
                if below is not None:
                    stream.wait_event(below)
                out = layer.run(x, states[number])
                x, states[number] = out[0], (out[1], out[2])
                below = stream.record_event()
            kept.append((out, below))
    for stream in streams:
        main.wait_stream(stream)
    return kept
