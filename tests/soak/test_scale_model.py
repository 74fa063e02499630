"""The cost model against a ring that is simulated piece by piece, and against itself."""

from __future__ import annotations

import pytest

from benchmarks.scale_model import PER_BATCH, PER_UPDATE, WORLDS, Link, Training, table

LINK = Link(latency=1e-4, bandwidth=1e9)
TRAINING = Training("toy", seconds=0.5, tokens=2240, gradients=80_000_000)


def ring(size: float, world: int, link: Link) -> float:
    """Sum in a ring, piece by piece: N - 1 rounds to add up, N - 1 to hand round; all send at the same time."""
    pieces = [{(rank, piece) for rank in [owner]} for owner in range(world) for piece in range(world)]
    held = [[set(pieces[owner * world + piece]) for piece in range(world)] for owner in range(world)]
    seconds = 0.0
    for turn in range(2 * (world - 1)):
        sent = [(rank, (rank - turn) % world, set(held[rank][(rank - turn) % world])) for rank in range(world)]
        for rank, piece, what in sent:
            held[(rank + 1) % world][piece] |= what
        seconds += link.latency + size / world / link.bandwidth
    assert all(len(held[rank][piece]) == world for rank in range(world) for piece in range(world))
    return seconds


@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_a_sum_takes_as_long_as_the_simulated_ring(world: int) -> None:
    assert LINK.sum_seconds(6e6, world) == pytest.approx(ring(6e6, world, LINK))


def test_the_fit_finds_the_link_that_made_the_times() -> None:
    seconds = {size: LINK.sum_seconds(size, 2) for size in (4_000, 400_000, 40_000_000)}
    found = Link.fitted(seconds)
    assert found.latency == pytest.approx(LINK.latency)
    assert found.bandwidth == pytest.approx(LINK.bandwidth)


def test_the_fit_weights_relative_errors() -> None:
    """Twenty per cent more at both ends move both figures by about as much."""
    seconds = {size: 1.2 * LINK.sum_seconds(size, 2) for size in (4_000, 40_000_000)}
    found = Link.fitted(seconds)
    assert found.latency == pytest.approx(1.2 * LINK.latency)
    assert found.bandwidth == pytest.approx(LINK.bandwidth / 1.2)


def test_a_fit_needs_two_sizes_and_times_that_grow() -> None:
    with pytest.raises(ValueError, match="at least two sizes"):
        Link.fitted({4_000: 1e-3})
    with pytest.raises(ValueError, match="do not take longer"):
        Link.fitted({4_000: 1e-3, 8_000: 1e-4})
    assert Link.fitted({1_000: 1e-6, 2_000: 3e-6}).latency == 0  # never below nothing


def test_one_process_is_what_was_measured() -> None:
    assert TRAINING.step(LINK, 1) == TRAINING.seconds
    assert TRAINING.efficiency(LINK, 1) == 1
    assert TRAINING.tokens_per_second(LINK, 1) == 4480
    assert TRAINING.hours(LINK, 1, tokens=4480 * 3600) == pytest.approx(1)


def test_a_step_is_the_batch_and_the_messages() -> None:
    message, sums = 2 * 3 * 1e-4, 2 * 3 * (1e-4 + 80e6 / 4e9)
    batch, update = 0.5 + PER_BATCH * message, PER_UPDATE * message + sums
    assert TRAINING.step(LINK, 4) == pytest.approx(batch + update)
    assert TRAINING.step(LINK, 4, accumulate=5) == pytest.approx(5 * batch + update)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("bandwidth", [1e7, 1e8, 1e9])
def test_accumulation_is_the_least_that_reaches_the_efficiency(world: int, bandwidth: float) -> None:
    link = Link(1e-4, bandwidth)
    needed = TRAINING.accumulation(link, world)
    assert needed is not None
    assert TRAINING.efficiency(link, world, needed) >= 0.9 - 1e-12
    assert needed == 1 or TRAINING.efficiency(link, world, needed - 1) < 0.9


def test_no_accumulation_helps_where_messages_alone_take_too_long() -> None:
    assert TRAINING.accumulation(Link(0.1, 1e9), 64) is None


def test_the_table_has_a_row_for_each_number() -> None:
    rows = table(TRAINING, LINK)
    assert [row["processes"] for row in rows] == list(WORLDS)
    assert rows[0]["efficiency"] == "100 %" and rows[0]["of it the sum, ms"] == 0
    assert rows[-1]["tokens/s"] == round(TRAINING.tokens_per_second(LINK, 64))
