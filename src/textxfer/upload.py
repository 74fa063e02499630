"""Sending tensors to a GPU without waiting for it."""

from __future__ import annotations

import torch
from torch import Tensor


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """Move a tensor to a device.

    `tensor.to(device)` from the CPU to a GPU returns only when all that the GPU was asked for before is done, so the
    GPU runs dry while Python asks for more. From memory that the system cannot move, the copy queues up like any
    other work; torch keeps that memory until the GPU has read it.

    Args:
        tensor: The tensor, anywhere.
        device: Where to.

    Returns:
        The tensor there, itself if it was there.
    """
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
