"""What `CapturedStep` needs of CUDA: a stream of its own, and graphs that are recorded on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor


class Results(NamedTuple):
    """The tensors in which a recorded step leaves what it computes, the same ones each time.

    Attributes:
        out, pred, loss, objective: As in `Step`, without gradient; `pred` is None if the step did not make it.
        grads: Gradient of each parameter; None for those that get none.
    """

    out: Any
    pred: Tensor | None
    loss: Tensor
    objective: Tensor
    grads: list[Tensor | None]


class Recorder(Protocol):
    """Runs the work of training steps, or records and repeats it."""

    def run(self, work: Callable[[], None]) -> None:
        """Run work that is not recorded."""
        ...

    def record(self, work: Callable[[], Results]) -> tuple[Results, Callable[[], None]]:
        """Record work; return what it will compute, once the function beside it was called, and that function."""
        ...

    def wait(self) -> None:
        """Wait until all work is done."""
        ...


def recorder_for(device: torch.device) -> Recorder:
    """Return what records on a device.

    Raises:
        ValueError: It has no graphs.
    """
    if device.type != "cuda":
        raise ValueError(f"CapturedStep needs a CUDA GPU, but this learner trains on {device.type}: leave it out")
    return _CudaRecorder(device)


class _CudaRecorder:
    """Records CUDA graphs.

    All training steps run on one stream beside the main one, recorded or not: autograd accumulates a parameter's
    gradient on the stream where it met the parameter first, and the main stream cannot be part of a recording.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)

    def run(self, work: Callable[[], None]) -> None:
        main = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(main)
        try:
            with torch.cuda.stream(self._stream):
                work()
        finally:
            main.wait_stream(self._stream)

    def record(self, work: Callable[[], Results]) -> tuple[Results, Callable[[], None]]:
        graph = torch.cuda.CUDAGraph()
        main = torch.cuda.current_stream(self._device)
        try:
            # Threads of a loader may use CUDA meanwhile, to pin the memory of the next batch.
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                results = work()
        except BaseException as error:
            error.add_note(
                "raised while CapturedStep recorded the step: if it trains without CapturedStep, something in it "
                "cannot be recorded, such as a wait for the device (.item(), .cpu()) or data on the CPU"
            )
            raise
        finally:
            torch.cuda.set_stream(main)  # a recording that fails leaves its own stream in place
        return results, graph.replay

    def wait(self) -> None:
        torch.cuda.synchronize(self._device)
