from __future__ import annotations

import torch

from textxfer.kernels import SharedWeight
from textxfer.models.dropout import EncoderDraw, locked_mask, masked, word_mask

LIKE = torch.zeros(())


def test_nothing_is_drawn_where_nothing_is_dropped() -> None:
    before = torch.get_rng_state()
    assert locked_mask(3, 4, 0.0, LIKE) is None
    assert word_mask(9, 0.0, LIKE) is None
    assert torch.equal(torch.get_rng_state(), before)


def test_shapes() -> None:
    mask, words = locked_mask(3, 4, 0.5, LIKE), word_mask(9, 0.5, LIKE)
    assert mask is not None and mask.shape == (1, 3, 4)
    assert words is not None and words.shape == (9, 1)


def test_masking_keeps_dtype_and_does_not_round_the_scale() -> None:
    mask = torch.full((1,), 1 / 0.85)
    x = torch.randn(10_000).abs().bfloat16()
    assert masked(x, None) is x
    assert masked(x, mask).dtype == torch.bfloat16
    scale = masked(x, mask).float().sum() / x.float().sum()
    rounded_first = (x * mask.bfloat16()).float().sum() / x.float().sum()
    assert abs(scale * 0.85 - 1) < 2e-4 < 2e-3 < abs(rounded_first * 0.85 - 1)


def test_rows_of_a_draw() -> None:
    mask = torch.arange(6.0).view(1, 3, 2)
    draw = EncoderDraw(None, mask, (None, mask), SharedWeight(torch.zeros(2, 2)), ()).rows(1, 3)
    assert draw.embed is None and draw.hidden[0] is None
    for part in (draw.input, draw.hidden[1]):
        assert part is not None and torch.equal(part, mask[:, 1:3])
