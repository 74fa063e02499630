from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.text.samples import documents
from textxfer.text import shards as module
from textxfer.text.encode import split_piece
from textxfer.text.shards import Shard, ShardWriter, counts, final_ids
from textxfer.text.store import TokenStore
from textxfer.text.tokenizer import RulesTokenizer
from textxfer.text.vocab import Vocab
from textxfer.text.workers import workers

TEXTS = [document.text for document in documents(40)] + ["line\nbreak", 'back\\slash "quoted" \u2028 é']
TOKENIZER = RulesTokenizer()


def write(folder: Path | None, pieces: list[list[str]]) -> tuple[list[Shard], list[int]]:
    with workers(TOKENIZER, 1) as mapper:
        writer = ShardWriter(TOKENIZER, mapper, folder)
        lengths = []
        for piece in pieces:
            writer.add(split_piece(TOKENIZER, piece))
            if writer.full:
                lengths += writer.finish().tolist()
        lengths += writer.finish().tolist()
    return writer.shards, lengths


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("limit", ["DISTINCT_CHUNKS", "DISTINCT_CHARACTERS", "ALL_CHUNKS", None])
def test_shards_hold_the_corpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_disk: bool, limit: str | None
) -> None:
    if limit:
        monkeypatch.setattr(module, limit, 40)
    monkeypatch.setattr(module, "_BLOCK", 17)
    shards, lengths = write(tmp_path if on_disk else None, [[text] for text in TEXTS])
    assert len(shards) > 2 if limit else len(shards) == 1
    expected = [TOKENIZER(text) for text in TEXTS]
    assert lengths == [len(tokens) for tokens in expected]
    flat = [token for tokens in expected for token in tokens]
    assert list(counts(shards)) == sorted(Counter(flat).items())
    vocab = Vocab.from_counts(counts(shards), TOKENIZER.specials)
    ids = np.concatenate(list(final_ids(shards, vocab, np.dtype(np.uint16))))
    assert ids.dtype == np.uint16
    assert ids.tolist() == vocab.ids(flat).tolist()


def test_memory_holds_one_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DISTINCT_CHUNKS", 30)
    with workers(TOKENIZER, 1) as mapper:
        writer = ShardWriter(TOKENIZER, mapper, tmp_path)
        for text in TEXTS:
            writer.add(split_piece(TOKENIZER, [text]))
            if writer.full:
                writer.finish()
                assert len(writer._numbering) == 1
                assert not writer._numbers
    assert all(isinstance(shard, module.ShardOnDisk) for shard in writer.shards)


def test_only_new_characters_fill_a_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DISTINCT_CHARACTERS", 10)
    with workers(TOKENIZER, 1) as mapper:
        writer = ShardWriter(TOKENIZER, mapper, None)
        full = []
        for text in ("abc def", "def abc", "abc ghij"):
            writer.add(split_piece(TOKENIZER, [text]))
            full.append(writer.full)
    assert full == [False, False, True]


def test_where_shards_end_changes_nothing_in_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    TokenStore.build(tmp_path / "one", TEXTS, TOKENIZER)
    monkeypatch.setattr(module, "DISTINCT_CHUNKS", 20)
    monkeypatch.setattr("textxfer.text.encode.PIECE_CHARACTERS", 300)
    TokenStore.build(tmp_path / "many", TEXTS, TOKENIZER)
    for name in ("ids.bin", "vocab.json", "offsets.npy", "meta.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "many" / name).read_bytes()
