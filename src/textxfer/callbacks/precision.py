"""Forward and backward passes in 16 bits; parameters, their gradients and the optimizer stay in 32."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, final

import torch
from torch import nn

from textxfer.kernels import multiplies_bf16
from textxfer.training.callback import Callback, Order

if TYPE_CHECKING:
    from textxfer.training.learner import Learner

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@final
class MixedPrecision(Callback):
    """Compute in bfloat16 or float16 for the time of a fit.

    Modules with an attribute `compute_dtype` (all of `textxfer.models`) are told to compute in it. A model that has
    none is run under `torch.autocast`; not ours, for autocast runs cuDNN's LSTMs in float16 even when bfloat16 is
    asked for.

    float16 has a narrow range, so the objective is scaled up, gradients are scaled down again before they are clipped
    and used, and an update with infinite gradients is left out.

    Args:
        dtype: `bf16`, which is float32 on devices without instructions for it, or `fp16`, for such GPUs.
        init_scale: First scale of the objective in float16, > 0.
        allow_cpu: Emulate float16 on a CPU, for tests; it is slow.

    Attributes:
        active: The dtype of the current or the last fit: what was asked for, or float32; None before the first.
        scaler: The scaler of the current fit, if it computes in float16.

    Raises:
        ValueError: There is no such `dtype`, or `init_scale` is not above 0.

    Source: Micikevicius et al. 2018, "Mixed Precision Training".
    """

    order = Order.SCALING
    capturable = True

    def __init__(
        self, dtype: Literal["bf16", "fp16"] = "bf16", init_scale: float = 65536.0, allow_cpu: bool = False
    ) -> None:
        if dtype not in _DTYPES:
            raise ValueError(f"dtype must be 'bf16' or 'fp16', not {dtype!r}")
        if not init_scale > 0:
            raise ValueError(f"init_scale must be > 0, not {init_scale!r}")
        self.dtype: Literal["bf16", "fp16"] = dtype
        self.init_scale = init_scale
        self.allow_cpu = allow_cpu
        self.active: torch.dtype | None = None
        self.scaler: torch.amp.GradScaler | None = None
        self._before: list[tuple[nn.Module, torch.dtype | None]] = []
        self._autocast: AbstractContextManager[Any] | None = None
        self._due = False

    def before_fit(self, learn: Learner) -> None:
        """Choose the dtype, tell the modules or prepare autocast, make the scaler."""
        self.active = self._usable(learn.device)
        if self.active == torch.float32:
            return
        own = [module for module in learn.model.modules() if hasattr(module, "compute_dtype")]
        self._before = [(module, getattr(module, "compute_dtype")) for module in own]  # noqa: B009  any module
        for module in own:
            setattr(module, "compute_dtype", self.active)  # noqa: B010
        if not own:
            self._autocast = torch.autocast(learn.device.type, self.active)
        if self.active == torch.float16:
            self.scaler = torch.amp.GradScaler(learn.device.type, init_scale=self.init_scale)

    def around_forward(self, learn: Learner) -> AbstractContextManager[Any]:
        """Return autocast for a model that does not choose its dtypes itself, for others a context without effect."""
        return self._autocast or nullcontext()

    def before_backward(self, learn: Learner) -> None:
        """Scale the objective up (float16)."""
        if self.scaler is not None:
            learn.step.objective = self.scaler.scale(learn.step.objective)

    def before_update(self, learn: Learner) -> None:
        """Scale the gradients down, and leave the update out if they are infinite (float16)."""
        if self.scaler is not None:
            self.scaler.unscale_(learn.optimizer)
            learn.step.update = partial(self.scaler.step, learn.optimizer)
            self._due = True

    def after_batch(self, learn: Learner) -> None:
        """Lower the scale after infinite gradients; raise it after many updates without (float16)."""
        if self.scaler is not None and self._due:  # even if another callback has held the update after all
            self.scaler.update()
        self._due = False

    def after_fit(self, learn: Learner) -> None:
        """Let the modules compute as they did before."""
        for module, dtype in self._before:
            setattr(module, "compute_dtype", dtype)  # noqa: B010
        self._before, self._autocast, self.scaler, self._due = [], None, None, False

    def state_dict(self) -> dict[str, Any]:
        """Return the scale and what it depends on (float16)."""
        return {} if self.scaler is None else self.scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        if self.scaler is not None and state:
            self.scaler.load_state_dict(state)

    def _usable(self, device: torch.device) -> torch.dtype:
        """Return the dtype to compute in on a device; refuse what cannot work."""
        if self.dtype == "bf16":
            if device.type in ("cpu", "cuda") and not multiplies_bf16(device):
                return torch.float32
        elif device.type != "cuda" and not self.allow_cpu:
            raise ValueError(f"MixedPrecision('fp16') needs a CUDA GPU; on {device.type} use MixedPrecision('bf16')")
        return _DTYPES[self.dtype]
