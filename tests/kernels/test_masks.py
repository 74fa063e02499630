from __future__ import annotations

import math

import pytest
import torch

from textxfer.kernels import check_dropout, keep_mask

LIKE = torch.zeros(())


@pytest.mark.parametrize("p", [0.02, 0.2, 0.5, 0.9])
def test_values_are_zero_or_the_inverse_of_the_keep_rate(p: float) -> None:
    mask = keep_mask((7, 5, 3), p, LIKE)
    assert mask.shape == (7, 5, 3)
    expected = torch.tensor(1 / (1 - p))
    torch.testing.assert_close(mask[mask != 0].unique(), expected.reshape(1))


@pytest.mark.parametrize("p", [0.0, 0.02, 0.15, 0.25, 0.5, 0.95])
def test_share_kept_is_within_five_standard_deviations(p: float) -> None:
    n = 4_000_003
    kept = keep_mask((n,), p, LIKE).count_nonzero().item() / n
    assert abs(kept - (1 - p)) <= 1 / 65_536 + 5 * math.sqrt(p * (1 - p) / n)


def test_neighbours_and_the_four_sixteenths_of_a_draw_are_independent() -> None:
    mask = (keep_mask((1_000_000, 4), 0.5, LIKE) > 0).float()
    correlation = torch.corrcoef(mask.T) - torch.eye(4)
    assert correlation.abs().max() < 5e-3
    flat = mask.flatten() - 0.5
    assert abs((flat[:-1] * flat[1:]).mean()) < 2e-3


def test_extreme_probability_does_not_overflow_the_threshold() -> None:
    mask = keep_mask((1000,), 1 - 1e-7, LIKE)
    assert mask.count_nonzero() < 10
    assert mask.isfinite().all()


def test_the_default_generator_decides() -> None:
    torch.manual_seed(3)
    first = keep_mask((100,), 0.3, LIKE)
    state = torch.get_rng_state()
    second = keep_mask((100,), 0.3, LIKE)
    torch.set_rng_state(state)
    assert torch.equal(keep_mask((100,), 0.3, LIKE), second)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_dtype_follows_like(dtype: torch.dtype) -> None:
    assert keep_mask((3,), 0.5, torch.zeros((), dtype=dtype)).dtype == dtype


@pytest.mark.parametrize("p", [-0.1, 1.0, 1.5, math.nan])
def test_no_probability(p: float) -> None:
    with pytest.raises(ValueError, match="at least 0 and below 1"):
        keep_mask((2,), p, LIKE)
    with pytest.raises(ValueError, match="dropout_weight"):
        check_dropout(p, "dropout_weight")
