"""A GPU that is none: tensors that say they are on `cuda:0`, and compute on the CPU.

What a GPU punishes shows without one: an operation between two devices raises, as it does there, and each time that
the program waits for a value from the device is written down. Results are real, so they can be compared with those
of a CPU. What only a GPU can show, such as its kernels' own arithmetic, is left to the tests with the marker `cuda`.
"""

from __future__ import annotations

import itertools
import math
import traceback
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_flatten, tree_map

from textxfer.kernels import linear_ce, lstm_cudnn
from textxfer.kernels.lstm import lstm_reference

GPU = torch.device("cuda", 0)

_OPS = torch.ops.aten
_COPIES = {_OPS._to_copy.default, _OPS.copy_.default}
_INDEXED = {_OPS.index.Tensor, _OPS.index_put_.default, _OPS.index_put.default}
_ASKS_FOR_VALUES = {
    _OPS._local_scalar_dense.default,
    _OPS.equal.default,
    _OPS.is_nonzero.default,
    _OPS.nonzero.default,
    _OPS.masked_select.default,
    _OPS._unique2.default,
}


class OnGPU(Tensor):
    """A tensor that says it is on the GPU; `host`, on the CPU, has its values."""

    host: Tensor

    @staticmethod
    def __new__(cls, host: Tensor) -> OnGPU:
        with torch.inference_mode(False):  # torch would count versions of what is made in it, and may not
            meta = torch.empty_strided(host.shape, host.stride(), dtype=host.dtype, device="meta")
            made = Tensor._make_subclass(cls, meta)
        made.host = host
        return made

    # For Python only: torch's own code would look for the driver of this device, and finds the one of `meta` instead.
    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return GPU

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    # These two tell `Module.to` to exchange a parameter that becomes another kind of tensor, not to fill it.
    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["host"], None

    @staticmethod
    def __tensor_unflatten__(parts: dict[str, Tensor], *_: Any) -> OnGPU:
        return OnGPU(parts["host"])

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func} on a tensor of the simulated GPU, which is gone")

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"OnGPU({self.host})"


class _Spelling(TorchFunctionMode):
    """Puts calls in a way that torch can follow without a driver, and with tensors that are none of its own."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # Torch would ask the driver which GPU is the current one.
        args, kwargs = tree_map(_indexed, args), tree_map(_indexed, kwargs or {})
        if func is torch.asarray:  # of a file's storage: not while a mode looks on
            with _disable_current_modes():
                return func(*args, **kwargs)
        if func is torch.tensor and "device" in kwargs:
            device = kwargs.pop("device")
            return torch.tensor(*args, **kwargs).to(device)
        if func is Tensor.pin_memory:
            return args[0]
        if func is Tensor.tolist:
            return func(args[0].cpu())
        if func in (Tensor.__getitem__, Tensor.__setitem__) and isinstance(args[0], OnGPU):
            return func(args[0], tree_map(_listed, args[1], is_leaf=lambda index: isinstance(index, list)), *args[2:])
        return func(*args, **kwargs)


def _listed(index: Any) -> Any:
    """A list as index becomes a tensor, which is sent to the device."""
    return torch.tensor(index).to(GPU) if isinstance(index, list) else index


def _indexed(value: Any) -> Any:
    return GPU if isinstance(value, str | torch.device) and str(value) == "cuda" else value


class SimulatedGPU(TorchDispatchMode):
    """What happens on the GPU while the mode is on.

    Attributes:
        waits: Where the program waited for the device, in order.
        uploads: Where it sent values to the device, which a recorded graph cannot do.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []
        self.uploads: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.is_inference_mode_enabled():  # operations that are made of others come here whole then
            with self:
                made = func.decompose(*args, **(kwargs or {}))
            if made is not NotImplemented:
                return made
        return self._run(func, args, kwargs or {})

    def _run(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        tensors = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, Tensor)]
        assert all(isinstance(tensor, OnGPU) or tensor.device.type == "cpu" for tensor in tensors), (
            f"{func}: from where?"
        )
        ours = {id(tensor.host): tensor for tensor in tensors if isinstance(tensor, OnGPU)}
        if ours:
            _refuse_two_devices(func, tensors)
        lands_on_gpu = _lands_on_gpu(func, args, kwargs, bool(ours))
        self._watch(func, args, kwargs, lands_on_gpu)
        inside = {**kwargs, "device": torch.device("cpu")} if kwargs.get("device") is not None else kwargs
        out = _CUDNN.get(func, func)(*tree_map(_on_host, args), **tree_map(_on_host, inside))

        def wrapped(value: Any) -> Any:
            if not (lands_on_gpu and isinstance(value, Tensor)):
                return value
            if id(value) not in ours:
                return OnGPU(value)
            assert ours[id(value)].shape == value.shape, f"{func} has changed a tensor's shape in place"
            return ours[id(value)]

        return tree_map(wrapped, out)

    def _watch(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], lands_on_gpu: bool) -> None:
        """Write down what sends something to the device, and what waits for it."""
        tensors = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, Tensor)]
        here = [tensor for tensor in tensors if not isinstance(tensor, OnGPU)]
        if func in _COPIES and lands_on_gpu:
            if here:
                self.uploads.append(_where(func))
            waits = bool(here) and not (kwargs.get("non_blocking") or (func is _OPS.copy_.default and True in args[2:]))
        else:
            waits = len(here) < len(tensors) and _waits(func, args)
        if waits:
            self.waits.append(_where(func))


def _on_host(value: Any) -> Any:
    return value.host if isinstance(value, OnGPU) else value


def _lands_on_gpu(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], on_gpu: bool) -> bool:
    if func is _OPS.copy_.default:
        return isinstance(args[0], OnGPU)
    device = kwargs.get("device")
    return on_gpu if device is None else torch.device(device).type in ("cuda", "meta")  # as torch's own code calls it


def _refuse_two_devices(func: Any, tensors: Sequence[Tensor]) -> None:
    """As torch does: only scalars, sources of copies and indices may be elsewhere."""
    elsewhere = [tensor for tensor in tensors if not isinstance(tensor, OnGPU) and tensor.dim()]
    if elsewhere and func not in _COPIES | _INDEXED:
        raise RuntimeError(f"{func}: expected all tensors on one device, but found some on cuda:0 and some on cpu")


def _waits(func: Any, args: Sequence[Any]) -> bool:
    """Whether an operation on tensors of the GPU needs values of theirs."""
    if func in _INDEXED:  # by truth values: how many there are must be known
        return any(isinstance(index, Tensor) and index.dtype == torch.bool for index in args[1])
    return func in _COPIES or func in _ASKS_FOR_VALUES


def _where(func: Any) -> str:
    frames = [frame for frame in traceback.extract_stack() if "textxfer" in frame.filename]
    place = frames[-1] if frames else traceback.extract_stack()[-4]
    return f"{func} in {place.name}: {place.line}"


def _options(hidden: int, train: bool) -> tuple[Any, ...]:
    """One layer of LSTM in one direction, time first, without projection or dropout."""
    return (2, hidden, 0, 1, False, 0.0, train, False, [], None)


def _lstm(
    x: Tensor, weights: Sequence[Tensor], stride: int, flat: Tensor | None, h: Tensor, c: Tensor, *rest: Any
) -> tuple[Tensor, ...]:
    """`_cudnn_rnn` for one layer."""
    train = rest[6]
    assert (stride, rest) == (4, _options(h.shape[2], train))
    assert flat is not None and {t.dtype for t in (x, h, c, *weights)} == {flat.dtype}
    y, (h, c) = lstm_reference(x, (h[0], c[0]), *weights)
    return y, h.unsqueeze(0), c.unsqueeze(0), torch.zeros(int(train), dtype=torch.uint8), flat.clone()


def _lstm_backward(
    x: Tensor, weights: Sequence[Tensor], stride: int, flat: Tensor, h: Tensor, c: Tensor, y: Tensor, *rest: Any
) -> tuple[Any, ...]:
    """`_cudnn_rnn_backward` for one layer: forward once more, with gradients, then back."""
    given, options, (reserve, mask) = rest[:3], rest[3:-2], rest[-2:]
    assert (stride, options) == (4, _options(h.shape[2], train=True))
    assert len(reserve), "backward needs a forward pass in training"
    # In a thread of its own: autograd is off below the dispatch that brought us here.
    with ThreadPoolExecutor(1) as thread:
        dx, dh, dc, *dw = thread.submit(_lstm_grads, (x, h, c, *weights), given).result()
    return dx, dh, dc, dw if mask[3] else []


def _lstm_grads(inputs: Sequence[Tensor], given: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
    leaves = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    out, (h_after, c_after) = lstm_reference(leaves[0], (leaves[1][0], leaves[2][0]), *leaves[3:])
    results = (out, h_after.unsqueeze(0), c_after.unsqueeze(0))
    return torch.autograd.grad(
        results, leaves, [torch.zeros_like(r) if g is None else g for r, g in zip(results, given)]
    )


_CUDNN = {_OPS._cudnn_rnn.default: _lstm, _OPS._cudnn_rnn_backward.default: _lstm_backward}


class _Generator(torch.Generator):
    """The generator of any device is one of the CPU."""

    def __new__(cls, device: str | torch.device = "cpu") -> _Generator:
        return super().__new__(cls)


def _layout(inputs: int, hidden: int, dtype: torch.dtype, device: torch.device) -> lstm_cudnn._Layout:
    """Weights one behind the other, as cuDNN has them."""
    sizes = [math.prod(shape) for shape in lstm_cudnn._shapes(inputs, hidden)]
    offsets = [0, *itertools.accumulate(sizes)]
    return lstm_cudnn._Layout(inputs, hidden, offsets[-1], tuple(offsets[:-1]))


@contextmanager
def simulated_gpu() -> Iterator[SimulatedGPU]:
    """Have a GPU for a block."""
    cuda, cudnn = torch.cuda, torch.backends.cudnn
    with ExitStack() as stack:
        for owner, name, value in (
            (cuda, "_lazy_init", lambda: None),
            (cuda, "is_available", lambda: True),
            (cuda, "device_count", lambda: 1),
            (cuda, "current_device", lambda: 0),
            (cuda, "get_device_capability", lambda device=None: (9, 0)),
            (cuda, "is_bf16_supported", lambda including_emulation=True: True),
            (cuda, "synchronize", lambda device=None: None),
            (torch.optim.Optimizer, "_accelerator_graph_capture_health_check", lambda self: None),
            (cuda, "get_rng_state_all", list),
            (torch, "Generator", _Generator),
            (torch.version, "cuda", "12.8"),
            (cudnn, "is_available", lambda: True),
            (cudnn, "version", lambda: lstm_cudnn._BF16_SINCE),
            (lstm_cudnn, "_layout", _layout),
            (linear_ce, "_triton_softmax", lambda device, dtype: None),
        ):
            stack.enter_context(mock.patch.object(owner, name, value))
        lstm_cudnn._has_bf16.cache_clear()
        stack.callback(lstm_cudnn._has_bf16.cache_clear)
        stack.enter_context(_Spelling())
        yield stack.enter_context(SimulatedGPU())
