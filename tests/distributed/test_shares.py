"""What the loaders give to each process, and the sums over processes, without any process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.text.samples import documents, numbered_store
from textxfer.callbacks import CSVLog, EarlyStop, Report, SaveEvery, WeightAverage
from textxfer.callbacks._meeting import Quiet
from textxfer.callbacks._shares import Shares, shares_of, weighted_output
from textxfer.models.classifier import ClassifierOutput
from textxfer.text import ClassBatches, LMBatches, RulesTokenizer, TokenStore
from textxfer.text.lm_batches import IGNORE
from textxfer.training import Callback


@settings(deadline=None, max_examples=40)
@given(
    lengths=st.lists(st.integers(1, 30), min_size=3, max_size=30),
    world=st.integers(2, 4),
    batch_size=st.integers(1, 3),
    vary=st.booleans(),
    epoch=st.integers(0, 50),
)
def test_lanes_of_all_processes_are_the_corpus(
    lengths: list[int], world: int, batch_size: int, vary: bool, epoch: int
) -> None:
    store = numbered_store(lengths)
    if store.n_tokens <= (world - 1) * batch_size * -(-store.n_tokens // (world * batch_size)):
        return  # an error: the test below
    seen = []
    for rank in range(world):
        loader = LMBatches(store, batch_size, 5, vary_bptt=vary, rank=rank, world=world)
        loader.set_epoch(epoch)
        lanes = torch.cat([batch.target for batch in loader if batch.target is not None])
        seen += lanes.T.reshape(-1).tolist()  # lane after lane, process after process: the text in its order
    text = [token for token in seen if token != IGNORE]
    assert len(text) == store.n_tokens
    starts = np.flatnonzero(np.asarray(text) == store.vocab.bos_id)
    found = sorted(part.tolist() for part in np.split(np.asarray(text), starts[1:]))
    assert found == sorted(store[i].tolist() for i in range(len(store)))


@pytest.mark.parametrize("rank", [0, 1])
def test_too_little_text_is_an_error_on_all(rank: int) -> None:
    with pytest.raises(ValueError, match="3 tokens are too few for 2 processes with 4 lanes each"):
        LMBatches([1, 2, 3], 4, rank=rank, world=2)


@settings(deadline=None, max_examples=40)
@given(
    n=st.integers(1, 60),
    world=st.integers(2, 4),
    batch_size=st.integers(1, 6),
    shuffle=st.booleans(),
    epoch=st.integers(0, 50),
)
def test_documents_of_all_processes_are_the_batches_of_one(
    n: int, world: int, batch_size: int, shuffle: bool, epoch: int
) -> None:
    store = TokenStore.build(None, documents(n, seed=n), RulesTokenizer())
    whole = ClassBatches(store, batch_size * world, shuffle=shuffle).batches_of(epoch)
    parts = [ClassBatches(store, batch_size, shuffle=shuffle, rank=rank, world=world) for rank in range(world)]
    shares = [part.batches_of(epoch) for part in parts]
    assert all(len(share) == len(whole) for share in shares)
    for batch, *own in zip(whole, *shares):
        assert sorted(np.concatenate(own).tolist()) == sorted(batch.tolist())
        assert max(map(len, own)) == -(-len(batch) // world)
    for part in parts:
        part.set_epoch(epoch)
        for docs, batch in zip(part.batches_of(epoch), part):
            assert batch.n == len(docs)
            assert batch.inputs[0].shape[1] == max(len(docs), 1)  # one document that does not count if there is none


def test_processes_have_about_as_many_tokens_of_each_batch() -> None:
    rng = np.random.default_rng(0)
    lengths = np.exp(rng.normal(4, 0.8, 1200)).astype(int) + 1
    store = TokenStore.build(None, [" ".join(["a"] * n) for n in lengths], RulesTokenizer(), min_count=1)
    parts = [ClassBatches(store, 16, rank=rank, world=4) for rank in range(4)]
    tokens = np.asarray([[store.lengths[docs].sum() for docs in part.batches_of(1)] for part in parts])
    uneven = tokens.max(axis=0) / tokens.mean(axis=0)
    assert np.median(uneven) < 1.01
    # Only the batch of the longest documents may be less even: one of them may be longer than an even share.
    assert np.sort(uneven)[-2] < 1.05


def test_a_budget_of_tokens_holds_for_each_process() -> None:
    store = TokenStore.build(None, documents(200, longest=60), RulesTokenizer())
    for rank in range(3):
        for batch in ClassBatches(store, tokens_per_batch=150, rank=rank, world=3):
            assert batch.inputs[0].numel() <= 150


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux's /proc")
def test_a_process_reads_the_pages_of_its_share_only(tmp_path: Path) -> None:
    n_tokens = 8_000_000
    store = TokenStore.build(tmp_path / "store", ["a b c"] * 4, RulesTokenizer(), min_count=1)
    base = np.asarray(store.ids)
    path = tmp_path / "ids.bin"
    with path.open("wb") as file:  # a file of zeros: nothing of it is in memory before it is read
        file.truncate(n_tokens * base.itemsize)
    ids = np.memmap(path, base.dtype, "r")
    assert _resident(path) == 0
    loader = LMBatches(ids, 8, 70, shuffle=False, rank=1, world=4)
    n = sum(batch.n for batch in loader)
    quarter = n_tokens * base.itemsize / 4
    assert n == n_tokens // 4
    assert 0.9 * quarter < _resident(path) < 1.2 * quarter


def _resident(path: Path) -> int:
    """Bytes of a mapped file that this process has touched."""
    found, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first = line.split()[0]
        if "-" in first and not first.endswith(":"):
            inside = line.endswith(str(path))
        elif inside and first == "Rss:":
            found += 1024 * int(line.split()[1])
    return found


# ---- sums ----------------------------------------------------------------------------------------------------------


def test_penalties_of_parts_add_up_to_that_of_the_whole() -> None:
    torch.manual_seed(0)
    lengths = torch.tensor([5, 4, 2, 1, 1])
    raw = torch.randn(5, 5, 3, dtype=torch.float64).masked_fill(torch.arange(5)[:, None, None] >= lengths[:, None], 0)
    whole = raw.clone().requires_grad_()
    _penalty(ClassifierOutput(whole[0], whole, whole * 2, lengths), len(lengths), len(lengths)).backward()
    parts = [raw[:, rows].clone().requires_grad_() for rows in ([0, 3, 4], [1, 2])]
    outs = [ClassifierOutput(x[0], x, x * 2, lengths[rows]) for x, rows in zip(parts, ([0, 3, 4], [1, 2]))]
    shares = [shares_of(out, torch.tensor(1.0), x.shape[1]) for out, x in zip(outs, parts)]
    total = Shares(*(torch.stack(each).sum() for each in zip(*shares)))
    assert total.states == lengths.sum()
    assert total.pairs == (lengths - 1).sum()
    for out, own, x in zip(outs, shares, parts):
        weighted = weighted_output(out, own, total)
        assert isinstance(weighted, ClassifierOutput)
        _penalty(weighted, x.shape[1], len(lengths)).backward()
    assert whole.grad is not None
    for x, rows in zip(parts, ([0, 3, 4], [1, 2])):
        torch.testing.assert_close(x.grad, whole.grad[:, rows])


def _penalty(out: ClassifierOutput, n: int, n_all: int) -> torch.Tensor:
    """AR and TAR as their papers have them, of the rows of a part, weighted by the part's documents."""
    raw, dropped, lengths = out.raw, out.dropped, out.lengths
    assert raw is not None
    assert dropped is not None
    step = torch.arange(len(raw))[:, None]
    states = dropped[(step < lengths).nonzero(as_tuple=True)]
    first, row = (step[:-1] < lengths - 1).nonzero(as_tuple=True)
    steps = raw[first + 1, row] - raw[first, row]
    return (states.square().mean() + steps.square().mean()) * n / n_all


def test_a_batch_in_which_nothing_counts_has_no_weight() -> None:
    x = torch.randn(2, 1, 3, requires_grad=True)
    out = ClassifierOutput(x[0], x, x, torch.tensor([2]))
    own = shares_of(out, torch.tensor(5.0), 0)
    assert [float(value) for value in own] == [0, 0, 0, 0]
    total = Shares(*(torch.tensor(8.0),) * 4)
    weighted_output(out, own, total).raw.sum().backward()
    assert x.grad is not None
    assert not x.grad.any()


class Mine(Callback):
    main_only = True

    def after_epoch(self, learn: Any) -> None:
        raise AssertionError("only process 0 hears of it")


def test_only_what_reports_or_saves_is_quiet(tmp_path: Path) -> None:
    quiet = [Report(), CSVLog(tmp_path / "log.csv"), SaveEvery(tmp_path), Mine()]
    assert all(callback.main_only for callback in quiet)
    assert not any(callback.main_only for callback in (EarlyStop(), WeightAverage()))
    dispatch = Quiet(quiet)
    learn: Any = None
    dispatch.table(training=True)(Callback.after_epoch, learn)
    dispatch.call(quiet[-1], Callback.after_epoch, learn)
    assert len(dispatch.callbacks) == len(quiet)
