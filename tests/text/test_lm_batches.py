from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.text.samples import numbered_store, toy_store
from textxfer.batch import Batch, SeekableLoader, batches_from, epoch_length
from textxfer.text import lm_batches as module
from textxfer.text.lm_batches import IGNORE, LMBatches
from textxfer.text.store import TokenStore

STORE = toy_store(30)


def streams(loader: LMBatches) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets of an epoch in the order of the text: one lane behind the other."""
    batches = list(loader)
    ids = torch.cat([batch.inputs[0] for batch in batches]).T.reshape(-1).numpy()
    target = torch.cat([batch.target for batch in batches if batch.target is not None]).T.reshape(-1).numpy()
    return ids, target


def same(one: Batch, other: Batch) -> bool:
    assert one.target is not None
    assert other.target is not None
    return torch.equal(one.inputs[0], other.inputs[0]) and torch.equal(one.target, other.target) and one.n == other.n


@pytest.mark.parametrize("batch_size", [1, 7, 64])
@pytest.mark.parametrize("bptt", [3, 20, 70])
@pytest.mark.parametrize("vary_bptt", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_every_token_is_a_target_once(batch_size: int, bptt: int, vary_bptt: bool, shuffle: bool) -> None:
    loader = LMBatches(STORE, batch_size, bptt, vary_bptt=vary_bptt, shuffle=shuffle, seed=5)
    for epoch in (0, 3):
        assert epoch_length(loader, epoch) == len(list(loader))
        ids, target = streams(loader)
        real = target[target != IGNORE]
        assert len(real) == STORE.n_tokens == loader.n_tokens == sum(batch.n for batch in loader)
        assert np.array_equal(np.bincount(real), np.bincount(STORE.ids))
        assert ids[0] == STORE.vocab.pad_id  # the first token is predicted, too
        assert np.array_equal(ids[1 : len(real)], real[:-1])  # each target is the next input, across lanes as well
        if not shuffle:
            assert np.array_equal(real, STORE.ids)


@settings(deadline=None, max_examples=60)
@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=12),
    batch_size=st.integers(1, 40),
    bptt=st.integers(1, 90),
    vary_bptt=st.booleans(),
    backward=st.booleans(),
    epoch=st.integers(0, 1000),
)
def test_every_token_is_a_target_once_whatever_the_sizes(
    lengths: list[int], batch_size: int, bptt: int, vary_bptt: bool, backward: bool, epoch: int
) -> None:
    store = numbered_store(lengths)
    loader = LMBatches(store, batch_size, bptt, vary_bptt=vary_bptt, backward=backward)
    loader.set_epoch(epoch)
    seen = []
    for batch in loader:
        (ids,), target, n = batch
        assert target is not None
        assert ids.shape == target.shape
        assert ids.shape[1] == batch_size
        assert ids.dtype == target.dtype == torch.int64
        assert int((target != IGNORE).sum()) == n > 0
        assert int(ids.min()) >= 0
        seen.append(target[target != IGNORE])
    assert torch.equal(torch.cat(seen).sort().values, torch.from_numpy(store.ids.astype(np.int64)).sort().values)


def test_documents_stay_whole_and_in_the_order_of_the_epoch() -> None:
    store = numbered_store([4, 1, 7, 3])
    loader = LMBatches(store, 2, 5)
    _, target = streams(loader)
    text = target[target != IGNORE]
    starts = np.flatnonzero(text == store.vocab.bos_id)
    found = sorted(part.tolist() for part in np.split(text, starts[1:]))
    assert found == sorted(store[i].tolist() for i in range(len(store)))


def test_backward_reverses_each_document_behind_its_first_token() -> None:
    loader = LMBatches(STORE, 3, 10, shuffle=False, backward=True)
    _, target = streams(loader)
    expected = np.concatenate([[STORE[i][0], *STORE[i][:0:-1]] for i in range(len(STORE))])
    assert np.array_equal(target[target != IGNORE], expected)


@pytest.mark.parametrize("vary_bptt", [False, True])
def test_order_is_a_function_of_seed_and_epoch(vary_bptt: bool) -> None:
    def epochs(seed: int, *numbers: int) -> list[list[Batch]]:
        loader = LMBatches(STORE, 4, 11, seed=seed, vary_bptt=vary_bptt)
        result = []
        for number in numbers:
            loader.set_epoch(number)
            result.append(list(loader))
        return result

    zero, one, zero_again = epochs(1, 0, 1, 0)
    assert all(map(same, zero, zero_again))
    assert all(map(same, one, epochs(1, 1)[0]))
    assert not all(map(same, zero, one))
    assert not all(map(same, zero, epochs(2, 0)[0]))


@pytest.mark.parametrize("vary_bptt", [False, True])
def test_seeking_equals_skipping(vary_bptt: bool) -> None:
    loader = LMBatches(STORE, 4, 11, vary_bptt=vary_bptt)
    assert isinstance(loader, SeekableLoader)
    loader.set_epoch(2)
    whole = list(loader)
    for start in (0, 1, len(whole) - 1, len(whole)):
        rest = list(batches_from(loader, start))
        assert len(rest) == len(whole) - start
        assert all(map(same, rest, whole[start:]))
    assert len(list(loader)) == len(whole)  # seek counts once only


def test_windows() -> None:
    store = toy_store(400)
    loader = LMBatches(store, 2, 70)
    windows = loader.windows_of(0)
    assert windows[0].tolist() == [0, 70]
    assert windows[-1, 1] == loader.lane_length
    assert np.array_equal(windows[1:, 0], windows[:-1, 1])
    assert [batch.inputs[0].shape[0] for batch in loader] == (windows[:, 1] - windows[:, 0]).tolist()


def test_windows_vary_by_the_published_law() -> None:
    loader = LMBatches(np.ones(2_000_000, np.int64), 1, 70, vary_bptt=True)
    lengths = np.diff(loader.windows_of(0))[:-1, 0]
    short = lengths < 52.5  # halfway between the two means, 3.5 standard deviations from each
    assert short.mean() == pytest.approx(0.05, abs=0.01)
    assert lengths[~short].mean() == pytest.approx(70 - 0.5, abs=0.3)  # cut to whole numbers
    assert lengths[short].mean() == pytest.approx(35 - 0.5, abs=0.6)
    assert lengths[~short].std() == pytest.approx(5, abs=0.2)
    assert lengths.min() >= 5
    assert lengths.max() <= 70 + 25
    assert not np.array_equal(loader.windows_of(0)[:5], loader.windows_of(1)[:5])


def test_choosing_documents() -> None:
    docs = [5, 2, 9]
    _, target = streams(LMBatches(STORE, 3, 8, docs=docs, shuffle=False))
    expected = np.concatenate([STORE[i] for i in docs])
    assert np.array_equal(target[target != IGNORE], expected)
    _, view = streams(LMBatches(STORE.subset(docs), 3, 8, shuffle=False))
    assert np.array_equal(view, target)


def test_plain_ids() -> None:
    _, target = streams(LMBatches([3, 4, 5, 6, 7], 2, 2))
    assert target.tolist() == [3, 4, 5, 6, 7, IGNORE]


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_the_lanes(world: int) -> None:
    whole = list(LMBatches(STORE, 2 * world, 9, vary_bptt=True))
    ranks = [list(LMBatches(STORE, 2, 9, vary_bptt=True, rank=rank, world=world)) for rank in range(world)]
    for i, batch in enumerate(whole):
        assert batch.target is not None
        parts = [rank[i] for rank in ranks]
        assert torch.equal(torch.cat([part.inputs[0] for part in parts], 1), batch.inputs[0])
        assert torch.equal(torch.cat([part.target for part in parts if part.target is not None], 1), batch.target)
        assert sum(part.n for part in parts) == batch.n


@pytest.mark.parametrize("backward", [False, True])
def test_the_size_of_blocks_does_not_matter(monkeypatch: pytest.MonkeyPatch, backward: bool) -> None:
    loader = LMBatches(STORE, 4, 10, vary_bptt=True, backward=backward)
    whole = list(loader)
    for size in (1, 150):
        monkeypatch.setattr(module, "_BLOCK", size)
        for one, other in zip(whole, loader, strict=True):
            assert same(one, other)


def test_a_block_is_all_that_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK", 100)
    sizes: list[int] = []
    whole_read = module._Stream.read

    def read(self: module._Stream, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
        sizes.append(int((end - begin).sum()))
        return whole_read(self, begin, end)

    monkeypatch.setattr(module._Stream, "read", read)
    batches = iter(LMBatches(STORE, 4, 10))
    next(batches)
    assert len(sizes) == 1
    assert max(sizes) <= 100 + 4


def test_changing_an_input_in_place_changes_nothing_else() -> None:
    loader = LMBatches(STORE, 4, 10)
    expected = [batch.target for batch in loader]
    for batch, target in zip(loader, expected, strict=True):
        batch.inputs[0].zero_()
        assert target is not None and batch.target is not None and torch.equal(batch.target, target)


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="batch_size=0 must be at least 1"):
        LMBatches(STORE, 0)
    with pytest.raises(ValueError, match="bptt=0 must be at least 1"):
        LMBatches(STORE, 1, 0)
    with pytest.raises(ValueError, match="rank=2 must be between 0 and world - 1 = 1"):
        LMBatches(STORE, 1, rank=2, world=2)
    with pytest.raises(ValueError, match="3 tokens are too few for 2 processes with 4 lanes each"):
        LMBatches([1, 2, 3], 4, rank=1, world=2)
    with pytest.raises(ValueError, match="no tokens"):
        LMBatches(STORE, 1, docs=[])
    with pytest.raises(ValueError, match="docs= needs a store"):
        LMBatches([1, 2], 1, docs=[0])
    with pytest.raises(TypeError, match="whole numbers in one row"):
        LMBatches(np.ones((2, 2)), 1)
    with pytest.raises(ValueError, match="batch=-1 must not be negative"):
        LMBatches(STORE, 1).seek(-1)


def test_a_store_that_shares_memory_is_not_changed() -> None:
    store: TokenStore = toy_store(5)
    before = store.ids.copy()
    for batch in LMBatches(store, 2, 4):
        batch.inputs[0].fill_(0)
    assert np.array_equal(store.ids, before)
    batches = [batch.inputs[0].clone() for batch in LMBatches(store, 2, 4)]
    assert any(int(batch.max()) > 0 for batch in batches)
