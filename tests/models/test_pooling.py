from __future__ import annotations

import torch

from textxfer.models.pooling import StreamingPool, concat_pool
from textxfer.models.windows import WindowPlan, left_aligned

LENGTHS = torch.tensor([23, 11, 10, 4, 1])
E = 3


def test_concat_pool_is_last_max_and_mean_of_the_valid_states() -> None:
    states = torch.randn(23, 5, E)
    states = states.where(torch.arange(23)[:, None, None] < LENGTHS[:, None], 0.0)
    pooled = concat_pool(states, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        valid = states[:length, row]
        expected = torch.cat([valid[-1], valid.amax(dim=0), valid.mean(dim=0)])
        torch.testing.assert_close(pooled[row], expected)


def test_padding_does_not_win_the_maximum_and_gets_no_gradient() -> None:
    states = -torch.ones(4, 2, E)
    states[2:, 1] = 0
    leaf = states.requires_grad_()
    pooled = concat_pool(leaf, torch.tensor([4, 2]))
    assert (pooled[1, E : 2 * E] == -1).all()
    pooled[:, : 2 * E].sum().backward()
    assert leaf.grad is not None and not leaf.grad[2:, 1].any()


def test_pooled_vectors_are_float32() -> None:
    assert concat_pool(torch.randn(4, 2, E).bfloat16(), torch.tensor([4, 2])).dtype == torch.float32


def test_float64_is_pooled_in_float64() -> None:
    plan = WindowPlan.build(LENGTHS, 4, None)
    states = torch.randn(23, 5, E, dtype=torch.float64)
    pieces = [(w, states[w.start : w.stop, w.skip : w.rows]) for w in plan.windows]
    pool = StreamingPool(plan, E, torch.device("cpu"), torch.float64)
    for window, piece in pieces:
        pool.add(window, piece)
    aligned = left_aligned(pieces, plan)
    row = torch.cat([aligned[22, 0], aligned[:, 0].amax(dim=0), aligned[:, 0].mean(dim=0)])
    for pooled in (concat_pool(aligned, plan.kept), pool.result()):
        torch.testing.assert_close(pooled[0], row, rtol=1e-14, atol=0)


def plan_and_pieces(max_tokens: int | None) -> tuple[WindowPlan, torch.Tensor, list]:
    plan = WindowPlan.build(LENGTHS, 4, max_tokens)
    states = torch.randn(23, 5, E)
    pieces = [(w, states[w.start : w.stop, w.skip : w.rows]) for w in plan.windows if w.skip < w.rows]
    return plan, states, pieces


def test_windows_are_where_they_are_whatever_the_batch() -> None:
    plan = WindowPlan.build(LENGTHS, 4, 6)
    assert [(w.start, w.stop) for w in plan.windows] == [(0, 4), (4, 8), (8, 12), (12, 16), (16, 20), (20, 23)]
    # First kept tokens are 17, 5, 4, 0, 0.
    assert [w.skip for w in plan.windows] == [3, 1, 1, 1, 0, 0]
    assert [w.rows for w in plan.windows] == [5, 3, 3, 1, 1, 1]
    assert plan.kept.tolist() == [6, 6, 6, 4, 1]


def test_left_aligned_puts_kept_states_in_order_and_zeros_behind() -> None:
    for max_tokens in (None, 1, 6, 8, 100):
        plan, states, pieces = plan_and_pieces(max_tokens)
        aligned = left_aligned(pieces, plan)
        assert aligned.shape == (int(plan.kept.max()), 5, E)
        for row, length in enumerate(LENGTHS.tolist()):
            kept = min(length, max_tokens or length)
            assert torch.equal(aligned[:kept, row], states[length - kept : length, row])
            assert not aligned[kept:, row].any()


def test_streaming_equals_pooling_at_once() -> None:
    for max_tokens in (None, 1, 6, 8, 100):
        plan, _, pieces = plan_and_pieces(max_tokens)
        pool = StreamingPool(plan, E, torch.device("cpu"))
        for window, states in pieces:
            pool.add(window, states)
        torch.testing.assert_close(pool.result(), concat_pool(left_aligned(pieces, plan), plan.kept))
