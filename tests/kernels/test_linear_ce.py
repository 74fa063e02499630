from __future__ import annotations

import sys
from functools import cache
from types import ModuleType

import pytest
import torch
from torch import Tensor

from textxfer.kernels import (
    IGNORE,
    SharedWeight,
    linear_ce,
    linear_cross_entropy,
    linear_cross_entropy_reference,
    lookup,
    lookup_reference,
    token_losses,
)

N, V, E = 37, 113, 24


def arguments(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    target = torch.randint(0, V, (N,))
    target[[3, 8]] = IGNORE
    x, weight, bias = torch.randn(N, E), torch.randn(V, E) / 2, torch.randn(V)
    return x.to(dtype).requires_grad_(), weight.requires_grad_(), bias.requires_grad_(), target


def error(value: Tensor, exact: Tensor) -> float:
    return ((value.float() - exact.float()).norm() / exact.float().norm()).item()


@pytest.mark.parametrize("chunk", [None, 10, 1])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 2e-6), (torch.bfloat16, 1e-2)])
def test_equals_the_reference(
    dtype: torch.dtype, tolerance: float, chunk: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, weight, bias, target = arguments(dtype)
    if chunk:
        monkeypatch.setattr(linear_ce, "CHUNK_BYTES", chunk * V * x.element_size())
    leaves, results = [x, weight, bias], []
    for function in (linear_cross_entropy, linear_cross_entropy_reference):
        loss = function(x, weight, bias, target)
        results.append([loss, *torch.autograd.grad(3 * loss, leaves)])
    for fast, exact in zip(*results):
        assert fast.dtype == exact.dtype and fast.shape == exact.shape
        assert error(fast, exact) < tolerance


def test_without_a_bias_and_with_frozen_parts() -> None:
    x, weight, _, target = arguments()
    expected = torch.autograd.grad(linear_cross_entropy_reference(x, weight, None, target), [x, weight])
    torch.testing.assert_close(
        torch.autograd.grad(linear_cross_entropy(x, weight, None, target), [x, weight]), expected, rtol=1e-5, atol=1e-7
    )
    frozen = weight.detach()
    torch.testing.assert_close(
        torch.autograd.grad(linear_cross_entropy(x, frozen, None, target), x), expected[:1], rtol=1e-5, atol=1e-7
    )
    torch.testing.assert_close(
        torch.autograd.grad(linear_cross_entropy(x.detach(), weight, None, target), weight),
        expected[1:],
        rtol=1e-5,
        atol=1e-7,
    )


def test_autocast_around_it_changes_nothing() -> None:
    x, weight, bias, target = arguments()
    expected = torch.autograd.grad(linear_cross_entropy(x, weight, bias, target), [x, weight, bias])
    losses = token_losses(x, weight, bias, target)
    with torch.autocast("cpu", torch.bfloat16):
        loss = linear_cross_entropy(x, weight, bias, target)
        again = token_losses(x, weight, bias, target)
    torch.testing.assert_close(torch.autograd.grad(loss, [x, weight, bias]), expected, rtol=0, atol=0)
    assert torch.equal(again.losses, losses.losses)
    assert torch.equal(again.hits, losses.hits)


def test_nothing_counts() -> None:
    x, weight, bias, target = arguments()
    loss = linear_cross_entropy(x, weight, bias, torch.full_like(target, IGNORE))
    loss.backward()
    assert loss.item() == 0 and x.grad is not None and not x.grad.any()


def test_a_target_whose_probability_vanishes_has_its_exact_loss() -> None:
    x, weight, bias, target = arguments()
    with torch.no_grad():
        bias[target[0]] = -500
    exact = linear_cross_entropy_reference(x, weight, bias, target)
    torch.testing.assert_close(linear_cross_entropy(x, weight, bias, target), exact)
    losses = token_losses(x, weight, bias, target).losses
    assert losses[0] > 400


def test_not_a_number_stays_visible() -> None:
    x, weight, bias, target = arguments()
    with torch.no_grad():
        x[5, 0] = torch.nan
    assert linear_cross_entropy(x, weight, bias, target).isnan()


def test_no_gradient_is_made_where_none_is_wanted() -> None:
    x, weight, bias, target = arguments()
    with torch.no_grad():
        loss = linear_cross_entropy(x, weight, bias, target)
    assert not loss.requires_grad
    torch.testing.assert_close(loss, linear_cross_entropy(x, weight, bias, target).detach())


def test_float16_takes_its_gradient_after_scaling() -> None:
    """Probabilities of 1e-7 over the number of tokens are nothing in float16, unless the loss is scaled before."""
    x, weight, bias, target = arguments(torch.float16)
    with torch.no_grad():
        bias[V // 2 :] -= 16
        target[target >= V // 2] = 0
    scale = 2.0**16
    (linear_cross_entropy(x, weight, bias, target) * scale).backward()
    exact = x.detach().float()
    expected = torch.autograd.grad(linear_cross_entropy_reference(exact, weight, bias, target), weight)[0]
    assert weight.grad is not None and x.grad is not None and x.grad.isfinite().all()
    assert error(weight.grad[V // 2 :] / scale, expected[V // 2 :]) < 0.05


def test_gradients_of_many_chunks_are_summed_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """In bfloat16 the sum of so many would be off by several percent."""
    _, weight, _, _ = arguments()
    x, target = torch.randn(400, E).bfloat16() + 1, torch.randint(0, V, (400,))
    monkeypatch.setattr(linear_ce, "CHUNK_BYTES", V * x.element_size())
    grads = [
        torch.autograd.grad(function(x, weight, None, target), weight)[0]
        for function in (linear_cross_entropy, linear_cross_entropy_reference)
    ]
    assert error(*grads) < 5e-3


def test_losses_and_hits_of_tokens() -> None:
    x, weight, bias, target = arguments()
    losses, hits = token_losses(x, weight, bias, target)
    logits = torch.nn.functional.linear(x, weight, bias)
    expected = torch.nn.functional.cross_entropy(logits, target, reduction="none")
    torch.testing.assert_close(losses, expected.detach())
    assert torch.equal(hits, logits.argmax(dim=1) == target) and not hits[3]
    best = logits.argmax(dim=1)
    assert token_losses(x, weight, bias, best).hits.all()
    with torch.no_grad():
        bias[0] = 100.0  # the first word is the best everywhere, also where no target counts
    assert torch.equal(token_losses(x, weight, bias, target).hits, target == 0)


@pytest.mark.parametrize("first", ["lookup", "loss"])
def test_look_up_and_loss_share_one_gradient(first: str) -> None:
    _, weight, bias, target = arguments()
    ids, pad = torch.randint(0, V, (N, 1)), 1
    ids[4:6] = pad
    mix = torch.randn(E, E)
    results = []
    for shared in (True, False):
        table = SharedWeight(weight)
        vectors = lookup(ids, table, pad) if shared else lookup_reference(ids, weight, pad)
        x = (vectors.squeeze(1) @ mix).tanh()
        if first == "lookup":  # its backward comes first: it hangs at the loss by nothing
            x = x.detach().requires_grad_()
        function = linear_cross_entropy if shared else linear_cross_entropy_reference
        loss = function(x, table if shared else weight, bias, target) + vectors.square().mean()
        results.append(torch.autograd.grad(loss, [weight, bias]))
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-6)


def test_a_look_up_alone_gives_a_dense_gradient() -> None:
    weight, ids = torch.randn(V, E).requires_grad_(), torch.tensor([[2, 1], [2, 5]])
    lookup(ids, SharedWeight(weight), 1).sum().backward()
    assert weight.grad is not None and weight.grad[:, 0].nonzero().flatten().tolist() == [2, 5]
    assert weight.grad[2, 0] == 2


def test_a_graph_that_is_kept_gives_the_same_gradient_again() -> None:
    _, weight, bias, target = arguments()
    ids = torch.randint(0, V, (N, 1))
    table = SharedWeight(weight)
    loss = linear_cross_entropy(lookup(ids, table, 1).squeeze(1), table, bias, target)
    first, second = (torch.autograd.grad(loss, weight, retain_graph=keep)[0] for keep in (True, False))
    assert torch.equal(first, second)


@pytest.fixture
def triton_kernel(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A stand-in for the module of the Triton kernel, which no launch has been tried of."""
    module = ModuleType("textxfer.kernels.softmax_triton")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(linear_ce, "_triton_softmax", cache(linear_ce._triton_softmax.__wrapped__))
    return module


def test_triton_is_tried_once_per_device_and_dtype(triton_kernel: ModuleType) -> None:
    tried = []
    triton_kernel.softmax_in_place = lambda logits, target: tried.append((logits.device.type, logits.dtype))  # type: ignore[attr-defined]
    for dtype in (torch.float32, torch.bfloat16, torch.float32):
        assert linear_ce._triton_softmax(torch.device("cpu"), dtype) is triton_kernel.softmax_in_place
    assert tried == [("cpu", torch.float32), ("cpu", torch.bfloat16)]


def test_where_triton_cannot_run_torchs_functions_do_after_one_warning(triton_kernel: ModuleType) -> None:
    def broken(logits: Tensor, target: Tensor) -> Tensor:
        raise RuntimeError("Failed to find C compiler")

    triton_kernel.softmax_in_place = broken  # type: ignore[attr-defined]
    where = torch.device("cpu"), torch.float32
    with pytest.warns(
        UserWarning, match=r"on cpu.*apt install gcc python3-dev.*RuntimeError: Failed to find C compiler"
    ):
        assert linear_ce._triton_softmax(*where) is None
    assert linear_ce._triton_softmax(*where) is None, "without a second warning, which would be an error here"


def test_too_little_memory_says_nothing_about_triton(triton_kernel: ModuleType) -> None:
    def full(logits: Tensor, target: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    triton_kernel.softmax_in_place = full  # type: ignore[attr-defined]
    with pytest.raises(torch.OutOfMemoryError):
        linear_ce._triton_softmax(torch.device("cpu"), torch.float32)
    triton_kernel.softmax_in_place = lambda logits, target: target  # type: ignore[attr-defined]
    assert linear_ce._triton_softmax(torch.device("cpu"), torch.float32) is triton_kernel.softmax_in_place


def test_without_triton_nobody_is_warned(triton_kernel: ModuleType) -> None:
    # The stand-in has no function to import, and a warning would be an error.
    assert linear_ce._triton_softmax(torch.device("cpu"), torch.float32) is None
