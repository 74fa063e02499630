"""Sums over the processes that train together: gradients and metrics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from textxfer.callbacks._peers import PeerError, Peers
from textxfer.training.metric import SumMetric, sum_dtype
from textxfer.training.metrics import MetricGroup

_FROZEN, _EMPTY, _FULL = range(3)
"""What a process says of a parameter: it does not train, it has no gradient, it has one."""


@torch.no_grad()
def sum_gradients(peers: Peers, model: nn.Module, bucket_bytes: float) -> None:
    """Replace the gradients by their sums over all processes.

    A parameter that has a gradient on some processes only counts as zero on the others; one that has none anywhere
    keeps none, as in a single process.

    Args:
        peers: The processes.
        model: The model; its parameters are the same on all of them.
        bucket_bytes: Small gradients travel together, in pieces of about this size.

    Raises:
        PeerError: The processes train different parameters.
    """
    named = dict(model.named_parameters())
    told = peers.gather_ints(*(_code(param) for param in named.values()))
    _check_alike(named, told)
    due = [param for param, *codes in zip(named.values(), *told) if _FULL in codes]
    for param in due:
        if param.grad is None:
            param.grad = torch.zeros_like(param)
    buckets = list(_buckets([param.grad for param in due if param.grad is not None], bucket_bytes))
    # A gradient that fills a bucket travels as it is: the view of a contiguous tensor is no copy.
    flats = [bucket[0].reshape(-1) if len(bucket) == 1 else _joined(bucket) for bucket in buckets]
    peers.sum_(*flats)
    for bucket, flat in zip(buckets, flats):
        if flat.data_ptr() != bucket[0].data_ptr():
            for grad, piece in zip(bucket, flat.split([grad.numel() for grad in bucket])):
                grad.copy_(piece.view(grad.shape))


def sum_metrics(peers: Peers, metrics: MetricGroup, device: torch.device) -> None:
    """Replace the sums that metrics are made of by those of all processes."""
    own = [metric for metric in metrics if isinstance(metric, SumMetric)]
    told = peers.gather_ints(*(0 if metric.totals is None else len(metric.totals) for metric in own))
    sizes = [max(lengths) for lengths in zip(*told)]
    totals = [
        torch.zeros(size, dtype=sum_dtype(device), device=device) if metric.totals is None else metric.totals.to(device)
        for metric, size in zip(own, sizes)
    ]
    if not any(sizes):
        return
    flat = torch.cat(totals)
    peers.sum_(flat)
    for metric, part, size in zip(own, flat.split(sizes), sizes):
        metric.totals = part.clone() if size else None


def _code(param: nn.Parameter) -> int:
    if not param.requires_grad:
        return _FROZEN
    return _EMPTY if param.grad is None else _FULL


def _check_alike(named: dict[str, nn.Parameter], told: Sequence[Sequence[int]]) -> None:
    for name, *codes in zip(named, *told):
        frozen = [rank for rank, code in enumerate(codes) if code == _FROZEN]
        if frozen and len(frozen) < len(codes):
            trains = next(rank for rank, code in enumerate(codes) if code != _FROZEN)
            raise PeerError(
                f"process {trains} trains {name}, process {frozen[0]} does not: freeze and unfreeze alike on all"
            )


def _buckets(grads: Sequence[Tensor], size: float) -> Iterator[list[Tensor]]:
    """Gather gradients of one dtype to buckets of about `size` bytes, the last ones first: they were ready first."""
    bucket: list[Tensor] = []
    for grad in reversed(grads):
        if bucket and (sum(map(_bytes, bucket)) + _bytes(grad) > size or bucket[0].dtype != grad.dtype):
            yield bucket
            bucket = []
        bucket.append(grad)
    if bucket:
        yield bucket


def _joined(bucket: Sequence[Tensor]) -> Tensor:
    return torch.cat([grad.reshape(-1) for grad in bucket])


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
