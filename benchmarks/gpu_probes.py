"""The probes of `gpu_probe`: each yields what it finds, line by line."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks import ceilings
from benchmarks.driver import Options
from benchmarks.gpu_layer import DEVICE, Layer, Times, random, recorded, timed, wave

STEPS = 70
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}

Line = tuple[str, Times | None, dict[str, Any]]
"""Implementation, times, further figures."""


def versions(options: Options) -> Iterator[Line]:
    """What there is."""
    card = torch.cuda.get_device_properties(0)
    yield (
        "torch",
        None,
        {
            "cudnn": torch.backends.cudnn.version(),
            "capability": f"{card.major}.{card.minor}",
            "multiprocessors": card.multi_processor_count,
            "memory_gb": round(card.total_memory / 2**30, 1),
            "linear_cross_entropy": hasattr(F, "linear_cross_entropy"),
        },
    )


def ceiling(options: Options) -> Iterator[Line]:
    """Matrix products and copies."""
    for dtype, rate in ceilings.measure(DEVICE, options.quick).items():
        yield f"product-{dtype}", None, {"tflops": round(rate / 1e12, 1)}
    source = torch.empty(options.size(2**31, 2**20), dtype=torch.uint8, device=DEVICE)
    target = torch.empty_like(source)
    times = timed(lambda: target.copy_(source))
    yield "copy", times, {"tb_per_s": round(2 * len(source) / min(times.wall) / 1e12, 2)}


def autocast(options: Options) -> Iterator[Line]:
    """In which dtype `nn.LSTM` computes under autocast, and whether it complains about its weights in 16 bits."""
    lstm, x = nn.LSTM(64, 128).to(DEVICE), torch.randn(5, 8, 64, device=DEVICE)
    for name in ("bfloat16", "float16"):
        with torch.autocast(DEVICE, DTYPES[name]):
            yield f"autocast-{name}", None, {"output": str(lstm(x)[0].dtype)}
        own = nn.LSTM(64, 128).to(DEVICE, DTYPES[name])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            output = own(x.to(DTYPES[name]))[0]
        yield f"nn.LSTM-{name}", None, {"output": str(output.dtype), "warnings": [str(w.message)[:60] for w in caught]}


def kernels(options: Options) -> Iterator[Line]:
    """Which kernels run: cuDNN's standard or persistent ones, or torch's."""
    for hidden, name in ((1152, "bfloat16"), (1152, "float16"), (1024, "float16"), (1024, "bfloat16")):
        lstm, x = nn.LSTM(hidden, hidden).to(DEVICE, DTYPES[name]), random((STEPS, 64, hidden), DTYPES[name])
        lstm(x)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            lstm(x)
            torch.cuda.synchronize()
        events = [event for event in profile.key_averages() if event.device_time_total > 0]
        events.sort(key=lambda event: -event.device_time_total)
        found = [f"{event.count} x {event.key[:70]}" for event in events[:4]]
        yield f"nn.LSTM-{hidden}-{name}", None, {"kernels": found}


def lookup(options: Options) -> Iterator[Line]:
    """What the host does for a layer: with the weights' gradient torch asks cuDNN for each gate's place 100 times."""
    layer = Layer(1152, 64, STEPS, torch.bfloat16)
    out = layer.forward()
    for name, run in {
        "raw-forward": layer.forward,
        "raw-backward-input": lambda: layer.backward(out, weights=False),
        "raw-backward-all": lambda: layer.backward(out),
    }.items():
        yield name, timed(run), {}
    for name, flat in product(("float16", "bfloat16"), (True, False)):
        lstm, x = nn.LSTM(1152, 1152).to(DEVICE, DTYPES[name]), random((STEPS, 64, 1152), DTYPES[name])
        if not flat:  # each weight in memory of its own
            for weight in lstm.parameters():
                weight.data = weight.data.clone()
        kind = f"nn.LSTM-{name}-{'flat' if flat else 'scattered'}"
        yield f"{kind}-forward", timed(lambda lstm=lstm, x=x: lstm(x)), {}
        yield f"{kind}-both", timed(lambda lstm=lstm, x=x: lstm(x)[0].sum().backward()), {}


def step(options: Options) -> Iterator[Line]:
    """Microseconds per time step by dtype, hidden size and batch, and whether a recording gives the same."""
    hidden, batches = options.size(((1152, 400, 1024, 1150), (64, 256, 8, 16, 32, 128, 512)), ((64,), (8,)))
    for size, batch, name in product(hidden, batches, DTYPES):
        layer = Layer(size, batch, STEPS, DTYPES[name])
        eager = layer.forward()
        replay, out = recorded(layer.forward)
        replay()
        figures: dict[str, Any] = {"hidden": size, "batch": batch, "dtype": name, "same": torch.equal(eager[0], out[0])}
        forward = timed(replay)
        backward = timed(recorded(lambda layer=layer, out=eager: layer.backward(out))[0])
        for way, times in (("forward", forward), ("backward", backward)):
            figures[f"{way}_us_per_step"] = round(1e6 * median(times.wall) / STEPS, 2)
        yield f"h{size}-b{batch}-{name}", forward, figures


def replay_cost(options: Options) -> Iterator[Line]:
    """What a recording of many tiny kernels costs."""
    x = torch.zeros(1024, device=DEVICE)
    for nodes in (150, 1500):
        replay, _ = recorded(lambda nodes=nodes: [x.add_(1) for _ in range(nodes)])
        times = timed(replay)
        yield f"nodes-{nodes}", times, {"us_per_node": round(1e6 * median(times.wall) / nodes, 3)}


def addmm(options: Options) -> Iterator[Line]:
    """Whether a product of bfloat16 matrices can be added to a float32 sum in its place, also when recorded."""
    a, b = random((512, 256), torch.bfloat16), random((256, 512), torch.bfloat16)
    start = torch.randn(512, 512, device=DEVICE)
    wanted = start.double() + a.double() @ b.double()
    total = start.clone()

    def run() -> None:
        torch.addmm(total, a, b, out_dtype=torch.float32, out=total)

    run()
    error = float((total - wanted).abs().max() / wanted.abs().max())
    replay, _ = recorded(run)
    total.copy_(start)
    replay()
    again = float((total - wanted).abs().max() / wanted.abs().max())
    yield "addmm-out_dtype", None, {"max_rel_err": error, "max_rel_err_recorded": again}


def overlap(options: Options) -> Iterator[Line]:
    """How much of the time of three layers is left when each has a stream and the window is cut into parts."""
    for batch in options.size((64, 256), (8,)):
        layers = [Layer(options.size(1152, 64), batch, STEPS, torch.bfloat16) for _ in range(3)]
        alone = None
        for parts, n_streams in ((1, 1), (1, 3), (2, 3), (5, 3), (7, 3), (10, 3), (7, 1)):
            streams = [torch.cuda.Stream() for _ in range(n_streams)]
            split = [part.contiguous() for part in layers[0].x.chunk(parts)]
            times = timed(recorded(lambda s=streams, p=split, a=layers: wave(a, p, s))[0])
            alone = alone or median(times.wall)
            yield (
                f"b{batch}-parts{parts}-streams{n_streams}",
                times,
                {"share_of_time": round(median(times.wall) / alone, 3)},
            )


def kernel(options: Options) -> Iterator[Line]:
    """Our layer with dropped weights, forward and backward, against torch's with the same weights."""
    from textxfer.kernels.lstm import LSTMWeights, PlainLSTM, WeightDrop
    from textxfer.kernels.lstm_cudnn import CudnnLSTM

    hidden, batch = options.size((1152, 64), (64, 8))
    shapes = [(4 * hidden, hidden), (4 * hidden, hidden), (4 * hidden,), (4 * hidden,)]
    weights = LSTMWeights(*((random(shape, torch.float32) / hidden**0.5).requires_grad_() for shape in shapes))
    drop = WeightDrop(torch.rand(shapes[1], device=DEVICE) >= 0.2, 0.2)
    x = random((STEPS, batch, hidden), torch.bfloat16).requires_grad_()
    state = torch.zeros(2, batch, hidden, device=DEVICE).unbind()
    grads: dict[str, Sequence[torch.Tensor]] = {}
    for cls in (PlainLSTM, CudnnLSTM):

        def run(cls: Any = cls) -> Sequence[torch.Tensor]:
            y, _ = cls(weights, torch.bfloat16, drop)(x, state)
            return torch.autograd.grad(y, [*weights, x], torch.ones_like(y))

        eager, (replay, _) = timed(run), recorded(run)
        grads[cls.__name__] = run()
        wrong = [float((a - b).abs().max() / b.abs().max()) for a, b in zip(grads[cls.__name__], grads["PlainLSTM"])]
        figures = {"replay_ms": round(1000 * median(timed(replay).wall), 3), "max_rel_err": max(wrong)}
        yield cls.__name__, eager, figures


def losses(options: Options) -> Iterator[Line]:
    """Losses of a language model in 32 and 16 bits, with the same random numbers."""
    from benchmarks.synthetic import zipf
    from textxfer.batch import Batch, Loaders
    from textxfer.callbacks import CarryHidden, ClipGrad, MixedPrecision
    from textxfer.models import AWDLSTMConfig, LanguageModel, token_loss
    from textxfer.training import Learner

    n, batch, vocab, hidden = options.size((200, 64, 8000, 1152), (4, 4, 200, 32))
    ids = torch.from_numpy(zipf(n * STEPS * batch + batch, vocab)).view(batch, -1).t().contiguous()
    windows = [(ids[i : i + STEPS], ids[i + 1 : i + STEPS + 1]) for i in range(0, n * STEPS, STEPS)]
    batches = [Batch((x,), y, y.numel()) for x, y in windows]
    reference = torch.empty(0)
    for dropout, precision in product((0.0, 1.0), (None, "bf16", "fp16")):
        torch.manual_seed(0)
        config = AWDLSTMConfig(vocab, embed=options.size(400, 32), hidden=hidden).scaled(dropout)
        extra = [] if precision is None else [MixedPrecision(precision)]
        callbacks = [CarryHidden(), ClipGrad(0.25), *extra]
        learn = Learner(LanguageModel(config), Loaders(batches), token_loss, callbacks=callbacks, device=DEVICE)
        torch.manual_seed(0)
        learn.fit(1, 1e-3)
        curve = torch.tensor(learn.history.steps["loss"])
        reference = curve if precision is None else reference
        figures = {f"loss_{at}": round(float(curve[at - 1]), 4) for at in (n // 4, n // 2, n)}
        figures["max_rel_err"] = round(float(((curve - reference) / reference).abs().max()), 5)
        yield f"{precision or 'fp32'}-dropout{dropout:g}", None, figures


def persistent(options: Options) -> Iterator[Line]:
    """What cuDNN says to its persistent kernels, in a process of its own: a fault there must not spoil the rest."""
    command = [sys.executable, "-m", "benchmarks.cudnn_persistent"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    for line in done.stdout.splitlines():
        figures = json.loads(line)
        yield figures.pop("impl"), None, figures
    if done.returncode:
        raise RuntimeError(f"ended with {done.returncode}: {done.stderr[-400:]}")


Probe = Callable[[Options], Iterator[Line]]
# The longest one, which can be cut short, is the last.
PROBES: tuple[Probe, ...] = (
    versions,
    autocast,
    lookup,
    kernel,
    addmm,
    replay_cost,
    ceiling,
    overlap,
    losses,
    persistent,
    kernels,
    step,
)
