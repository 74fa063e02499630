from __future__ import annotations

import sys

import pytest
import torch

from textxfer.kernels import IGNORE, cross_entropy, cross_entropy_reference

# The package's attribute of this name is the function.
MODULE = sys.modules["textxfer.kernels.cross_entropy"]


@pytest.fixture(params=[1, 100, 2**20], ids=lambda n: f"block{n}")
def _block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, "_BLOCK_CPU", request.param)


def batch(n: int = 23, vocab: int = 17) -> tuple[torch.Tensor, torch.Tensor]:
    target = torch.randint(vocab, (n,))
    target[::4] = IGNORE
    return 3 * torch.randn(n, vocab), target


@pytest.mark.usefixtures("_block")
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-6), (torch.bfloat16, 1e-2), (torch.float16, 1e-3)])
@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_equals_the_reference(dtype: torch.dtype, tolerance: float, scale: float) -> None:
    logits, target = batch()
    results = []
    for function in (cross_entropy, cross_entropy_reference):
        leaf = logits.to(dtype).requires_grad_()
        loss = function(leaf, target)
        assert loss.dtype == torch.float32
        (scale * loss).backward()
        assert leaf.grad is not None and leaf.grad.dtype == dtype
        results.append((loss, leaf.grad.float()))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=tolerance, atol=1e-7)


def test_gradient_is_numerically_right() -> None:
    logits, target = batch(5, 4)
    leaf = logits.requires_grad_()
    cross_entropy(leaf, target).backward()
    step = 1e-2
    for index in [(0, 0), (1, 2), (3, 3)]:
        moved = logits.detach().clone()
        moved[index] += step
        up = cross_entropy(moved, target)
        moved[index] -= 2 * step
        assert leaf.grad is not None
        torch.testing.assert_close(
            (up - cross_entropy(moved, target)) / (2 * step), leaf.grad[index], rtol=0, atol=1e-4
        )


def test_nothing_to_score_is_zero_with_zero_gradient() -> None:
    logits, target = batch()
    leaf = logits.requires_grad_()
    loss = cross_entropy(leaf, torch.full_like(target, IGNORE))
    loss.backward()
    assert loss.item() == 0
    assert leaf.grad is not None and not leaf.grad.any()


def test_ignored_rows_do_not_count_even_if_not_finite() -> None:
    logits, target = batch()
    spoilt = logits.clone()
    spoilt[::4] = torch.nan
    assert torch.equal(cross_entropy(spoilt, target), cross_entropy(logits, target))


def test_a_wrong_target_is_an_error_not_another_word() -> None:
    logits, target = batch()
    target[1] = -1
    with pytest.raises((IndexError, RuntimeError)):
        cross_entropy(logits, target)


def test_backward_twice_gives_the_same_gradient() -> None:
    logits, target = batch()
    leaf = logits.requires_grad_()
    loss = cross_entropy(leaf, target)
    first = torch.autograd.grad(3 * loss, leaf, retain_graph=True)[0]
    torch.testing.assert_close(torch.autograd.grad(3 * loss, leaf)[0], first)
