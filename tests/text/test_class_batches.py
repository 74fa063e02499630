from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.text.samples import documents, numbered_store, toy_store
from textxfer.batch import Batch, SeekableLoader, batches_from
from textxfer.text.class_batches import ClassBatches
from textxfer.text.document import DataError, Document
from textxfer.text.store import TokenStore
from textxfer.text.tokenizer import RulesTokenizer

STORE = toy_store(103, longest=60)


def rows_of(loader: ClassBatches) -> list[list[int]]:
    """The documents of an epoch without padding, in the order in which they come."""
    rows = []
    for batch in loader:
        ids, lengths = batch.inputs
        rows += [ids[:length, i].tolist() for i, length in enumerate(lengths.tolist())]
    return rows


def same(one: Batch, other: Batch) -> bool:
    assert one.target is not None
    assert other.target is not None
    pairs = [*zip(one.inputs, other.inputs), (one.target, other.target)]
    return one.n == other.n and all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("arguments", [{}, {"batch_size": 7}, {"tokens_per_batch": 200}, {"batch_size": 1000}], ids=str)
def test_every_document_comes_once(shuffle: bool, arguments: dict[str, int]) -> None:
    loader = ClassBatches(STORE, **arguments, shuffle=shuffle)
    for epoch in (0, 4):
        loader.set_epoch(epoch)
        rows = rows_of(loader)
        assert sorted(loader.order) == list(range(len(STORE)))
        assert rows == [STORE[i].tolist() for i in loader.order]
        labels = torch.cat([batch.target for batch in loader if batch.target is not None])
        assert labels.tolist() == STORE.labels[loader.order].tolist()
        assert sum(batch.n for batch in loader) == len(STORE)
        assert len(list(loader)) == len(loader)


def test_batches_are_padded_behind_the_documents_and_sorted() -> None:
    for batch in ClassBatches(STORE, 16):
        ids, lengths = batch.inputs
        assert ids.dtype == lengths.dtype == torch.int64
        assert ids.shape == (int(lengths.max()), batch.n)
        assert lengths.tolist() == sorted(lengths.tolist(), reverse=True)
        padding = torch.arange(len(ids))[:, None] >= lengths
        assert (ids[padding] == STORE.vocab.pad_id).all()
        assert (ids[0] == STORE.vocab.bos_id).all()


def test_the_budget_of_tokens_is_kept() -> None:
    for batch in ClassBatches(STORE, tokens_per_batch=150):
        assert batch.inputs[0].numel() <= 150
    for batch in ClassBatches(STORE, tokens_per_batch=1):
        assert batch.n == 1


def test_little_is_padded() -> None:
    rng = np.random.default_rng(0)
    lengths = np.exp(rng.normal(4, 0.7, 3000)).astype(int) + 1
    store = TokenStore.build(None, [f"{'a b ' * (n // 2)}c" for n in lengths], RulesTokenizer(), min_count=1)
    loader = ClassBatches(store, 32)
    cells = sum(batch.inputs[0].numel() for batch in loader)
    assert loader.padding_share() == pytest.approx(1 - store.n_tokens / cells)
    unsorted = [store.lengths[i : i + 32] for i in range(0, len(store), 32)]
    padding_unsorted = 1 - store.n_tokens / sum(int(part.max()) * len(part) for part in unsorted)
    assert padding_unsorted > 0.5
    assert loader.padding_share() < 0.1
    assert ClassBatches(store, 32, shuffle=False).padding_share() < 0.08


def test_unsort_leads_back() -> None:
    loader = ClassBatches(STORE, 10, shuffle=False)
    firsts = torch.cat([batch.inputs[1] for batch in loader])
    assert loader.unsort(firsts).tolist() == STORE.lengths.tolist()
    assert loader.unsort(firsts.numpy()).tolist() == STORE.lengths.tolist()
    two_columns = torch.stack([firsts, -firsts], 1)
    assert loader.unsort(two_columns)[:, 1].tolist() == (-STORE.lengths).tolist()
    with pytest.raises(ValueError, match="3 rows for 103 documents"):
        loader.unsort(firsts[:3])


def test_order_is_a_function_of_seed_and_epoch() -> None:
    def epoch(number: int, seed: int = 0, shuffle: bool = True) -> list[Batch]:
        loader = ClassBatches(STORE, 8, seed=seed, shuffle=shuffle)
        loader.set_epoch(number)
        return list(loader)

    assert all(map(same, epoch(3), epoch(3)))
    assert not all(map(same, epoch(3), epoch(4)))
    assert not all(map(same, epoch(3), epoch(3, seed=1)))
    assert all(map(same, epoch(3, shuffle=False), epoch(4, seed=9, shuffle=False)))
    assert {frozenset(row) for row in batch_sets(3)} != {frozenset(row) for row in batch_sets(4)}  # mixed anew, too


def batch_sets(epoch: int) -> list[list[int]]:
    return [batch.tolist() for batch in ClassBatches(STORE, 8).batches_of(epoch)]


def test_the_largest_batch_comes_first() -> None:
    loader = ClassBatches(STORE, 8)
    for epoch in range(3):
        loader.set_epoch(epoch)
        sizes = [batch.inputs[0].numel() for batch in loader]
        assert sizes[0] == max(sizes)


def test_seeking_equals_skipping() -> None:
    loader = ClassBatches(STORE, 8)
    assert isinstance(loader, SeekableLoader)
    loader.set_epoch(2)
    whole = list(loader)
    for start in (0, 1, len(whole) - 1, len(whole)):
        rest = list(batches_from(loader, start))
        assert len(rest) == len(whole) - start
        assert all(map(same, rest, whole[start:]))
    assert len(list(loader)) == len(whole)
    with pytest.raises(ValueError, match="batch=-1 must not be negative"):
        loader.seek(-1)


@settings(deadline=None, max_examples=40)
@given(
    lengths=st.lists(st.integers(1, 20), min_size=1, max_size=15),
    max_tokens=st.one_of(st.none(), st.integers(2, 25)),
    backward=st.booleans(),
)
def test_direction_and_cutting(lengths: list[int], max_tokens: int | None, backward: bool) -> None:
    store = numbered_store(lengths)
    loader = ClassBatches(store, 4, max_tokens=max_tokens, backward=backward)
    for i, row in zip(loader.order, rows_of(loader)):
        bos, *rest = store[i].tolist()
        kept = rest if max_tokens is None else rest[max(0, len(rest) - (max_tokens - 1)) :]
        assert row == [bos, *(reversed(kept) if backward else kept)]


def test_choosing_documents() -> None:
    docs = [50, 3, 77, 4]
    loader = ClassBatches(STORE, 2, docs=docs)
    rows = rows_of(loader)
    assert rows == [STORE[docs[i]].tolist() for i in loader.order]
    lengths = torch.cat([batch.inputs[1] for batch in loader])
    assert loader.unsort(lengths).tolist() == [len(STORE[i]) for i in docs]


def test_documents_without_labels() -> None:
    store = TokenStore.build(None, ["a b", "c"], RulesTokenizer())
    assert [batch.target for batch in ClassBatches(store)] == [None]
    mixed = TokenStore.build(None, [Document("a", "x", 1), Document("b", None, 2)], RulesTokenizer())
    with pytest.raises(DataError, match="row 2: no label, while other documents have one"):
        ClassBatches(mixed)
    assert next(iter(ClassBatches(mixed, docs=[0]))).target is not None


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("arguments", [{"batch_size": 5}, {"tokens_per_batch": 150}], ids=str)
def test_processes_share_the_documents_evenly(world: int, arguments: dict[str, int]) -> None:
    store = TokenStore.build(None, documents(5 * world * 4 + 1), RulesTokenizer())
    loaders = [ClassBatches(store, **arguments, rank=rank, world=world) for rank in range(world)]
    assert len({len(loader) for loader in loaders}) == 1
    assert sorted(np.concatenate([loader.order for loader in loaders])) == list(range(len(store)))
    tokens = [sum(int(batch.inputs[1].sum()) for batch in loader) for loader in loaders]
    assert max(tokens) < 1.15 * min(tokens)
    with pytest.raises(ValueError, match="documents, of which"):
        loaders[0].unsort(torch.zeros(len(store)))


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="batch_size=0 must be at least 1"):
        ClassBatches(STORE, 0)
    with pytest.raises(ValueError, match="tokens_per_batch=0 must be at least 1"):
        ClassBatches(STORE, tokens_per_batch=0)
    with pytest.raises(ValueError, match="max_tokens=1 must be at least 2"):
        ClassBatches(STORE, max_tokens=1)
    with pytest.raises(ValueError, match="rank=1 must be between 0 and world - 1 = 0"):
        ClassBatches(STORE, rank=1)
    with pytest.raises(ValueError, match="0 documents are too few"):
        ClassBatches(STORE, docs=[])


def test_targets_of_several_classes_and_of_numbers() -> None:
    several = [Document(f"text {i}", labels, i) for i, labels in enumerate([("b",), (), ("a", "c"), ("c",)], 1)]
    store = TokenStore.build(None, several, RulesTokenizer())
    assert (store.label_kind, store.classes) == ("multi", ["a", "b", "c"])
    loader = ClassBatches(store.subset([2, 0, 1]), 2, seed=1)
    rows = {}
    for batch, docs in zip(loader, loader.batches_of(0), strict=True):
        assert batch.target is not None
        rows |= dict(zip(docs.tolist(), batch.target.tolist()))
    assert rows == {0: [1, 0, 1], 1: [0, 1, 0], 2: [0, 0, 0]}
    numbers = TokenStore.build(None, [Document(f"text {i}", i / 2, i) for i in range(3)], RulesTokenizer())
    target = next(iter(ClassBatches(numbers, 3, shuffle=False))).target
    assert target is not None
    assert target.tolist() == [0.0, 0.5, 1.0]
    assert target.dtype == torch.float32


def test_some_documents_without_labels_of_several_classes() -> None:
    store = TokenStore.build(None, [Document("a", ("x",), 1), Document("b", None, 2)], RulesTokenizer())
    with pytest.raises(DataError, match="row 2: no label"):
        ClassBatches(store)
