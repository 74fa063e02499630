"""Defects 34 to 37 and 39 to 42 of fastai 2.8.12: files that are read and written, and what is left in memory.

A test's docstring says what fastai does, and where; the test fails on that behaviour.
"""

from __future__ import annotations

import gc
import os
import pickle
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.training.toys import batches, learner
from textxfer import artifact
from textxfer.artifact import ArtifactError, load_artifact, save_artifact
from textxfer.batch import Batch, Loaders
from textxfer.callbacks import SaveBest
from textxfer.importing import import_weights
from textxfer.models import AWDLSTMConfig, LanguageModel, load_by_name, transfer_language_model
from textxfer.text import RulesTokenizer, SubwordTokenizer, TokenStore, Vocab
from textxfer.text.document import MissingPackageError
from textxfer.training import CheckpointError, Learner, Optimizer

STORE = TokenStore.build(None, ["the cat sat on the mat", "a dog saw the cat"], RulesTokenizer(), min_count=1)


def language_model(store: TokenStore = STORE) -> LanguageModel:
    return LanguageModel(AWDLSTMConfig(vocab=len(store.vocab), embed=4, hidden=5, layers=1))


class Bait:
    """Makes a folder when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


def test_defect_34_files_that_run_code_are_refused(tmp_path: Path) -> None:
    """text/learner.py:94-95, 138, 149-152 unpickle all that they load, with `weights_only=False`."""
    bait, bad = tmp_path / "bait", pickle.dumps({"model": Bait(tmp_path / "bait")})
    for name in ("model.safetensors", "config.json", "vocab.json", "tokenizer.json"):
        folder = save_artifact(tmp_path / name, language_model(), STORE)
        (folder / name).write_bytes(bad)
        with pytest.raises(ArtifactError, match=name.partition(".")[0]):
            load_artifact(folder)
    for name in ("model.safetensors", "state.safetensors", "trainer.json"):
        state = learner().save(tmp_path / f"states of {name}")
        (state / name).write_bytes(bad)
        with pytest.raises(CheckpointError, match=name):
            learner().resume(state)
    weights, words = tmp_path / "old.pth", tmp_path / "itos.pkl"
    torch.save({"model": Bait(bait)}, weights)
    words.write_bytes(bad)
    with pytest.raises(ArtifactError, match="not run"):
        import_weights(weights, words)
    assert not bait.exists()
    pickle.loads(bad)
    assert bait.exists()  # the bait works


def test_defect_35_the_optimizer_comes_back_or_there_is_an_error(tmp_path: Path) -> None:
    """text/learner.py:161-171 has `with_opt` and drops it; :100-102 hides that an optimizer's state does not fit."""
    one, other = learner(), learner()
    one.fit(1, 1e-2)
    one.save(tmp_path)
    other.resume(tmp_path)
    pairs = zip(one.model.parameters(), other.model.parameters())
    for slots, restored in ((one.optimizer.state[p], other.optimizer.state[q]) for p, q in pairs):
        assert slots.keys() == restored.keys() == {"step", "exp_avg", "exp_avg_sq"}
        assert all(torch.equal(slots[slot], restored[slot]) for slot in slots)
    sgd = learner(optimizer=Optimizer("sgd", momentum=0.9))
    with pytest.raises(CheckpointError, match=r"another kind of optimizer.*betas.*SGD has.*momentum"):
        sgd.resume(tmp_path)
    assert not sgd.optimizer.state and "betas" not in sgd.optimizer.param_groups[0]
    with pytest.raises(CheckpointError, match=r"the state is of AdamW, the learner has Adam$"):
        learner(optimizer=Optimizer("adam")).resume(tmp_path)


def test_defect_36_weights_are_matched_by_name_and_differences_listed() -> None:
    """text/learner.py:52-59 assigns weights in the order in which they come, and leaves out what is too much."""
    model, source = language_model(), language_model().state_dict()
    load_by_name(model, dict(reversed(source.items())), "model")
    assert all(torch.equal(value, source[name]) for name, value in model.state_dict().items())
    wrong = {"another": source["decoder_bias"]} | {name: source[name] for name in source if name != "decoder_bias"}
    wrong |= {"encoder.embedding.weight": torch.zeros(len(STORE.vocab), 9)}
    with pytest.raises(ValueError) as caught:
        load_by_name(model, wrong, "model")
    for part in ("decoder_bias: missing", "another: not a parameter", r"encoder.embedding.weight: shape"):
        assert part in str(caught.value)
    assert all(torch.equal(value, source[name]) for name, value in model.state_dict().items())


def test_defect_37_a_vocabulary_in_another_order_is_noticed(tmp_path: Path) -> None:
    """text/learner.py:129-141: the file of an encoder has no vocabulary; one of equal size is taken without a word."""
    folder = save_artifact(tmp_path / "model", language_model(), STORE)
    tokens = list(STORE.vocab.tokens)
    turned = Vocab([*tokens[:-2], tokens[-1], tokens[-2]])
    turned.save(folder / "vocab.json")
    with pytest.raises(ArtifactError, match="this vocabulary is not the one that the model was trained with"):
        load_artifact(folder)
    model = language_model()
    moved, _ = transfer_language_model(model, tokens, turned.tokens)
    rows, expected = moved.encoder.embedding.weight, model.encoder.embedding.weight
    assert all(torch.equal(rows[turned[token]], expected[STORE.vocab[token]]) for token in tokens)


def test_defect_39_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """learner.py:451-470 catches all import errors, goes on with most, and fails at a variable that is not there."""
    store = TokenStore.build(None, ["the cat sat on the mat"], SubwordTokenizer.train(["the cat sat on the mat"], 300))
    folder = save_artifact(tmp_path / "model", language_model(store), store)
    assert load_artifact(folder).vocab == store.vocab
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MissingPackageError, match="tokenizers"):
        load_artifact(folder)


def broken(*_: object) -> None:
    raise OSError("no space left on the disk")


def test_defect_40_a_save_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """learner.py:434-448: `export` takes away loaders and optimizer, and a failed write leaves the learner without."""
    learn = learner()
    learn.fit(1, 1e-2)
    loaders, optimizer = learn.loaders, learn.optimizer
    monkeypatch.setattr("textxfer.training.checkpoint.save_file", broken)
    monkeypatch.setattr(artifact, "write_weights", broken)
    with pytest.raises(OSError, match="no space"):
        learn.save(tmp_path / "states")
    with pytest.raises(OSError, match="no space"):
        save_artifact(tmp_path / "model", language_model(), STORE)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert learn.loaders is loaders and learn.optimizer is optimizer and optimizer.state
    learn.fit(1, 1e-2)
    assert len(learn.history) == 2


def test_defect_41_a_crash_while_writing_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """learner.py:42-48 writes into the file itself: a crash while the best model is written ruins it."""
    save_artifact(tmp_path / "model", language_model(), STORE)
    learn = learner(SaveBest(tmp_path / "best", restore=False))
    learn.fit(1, 1e-2)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def half(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError("no space left on the disk")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match="no space"):
        learn.fit(1, 1e-2)
    with pytest.raises(OSError, match="no space"):
        save_artifact(tmp_path / "model", language_model(), STORE)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert load_artifact(tmp_path / "model").vocab == STORE.vocab


class Watched(nn.Module):
    """Remembers its inputs and outputs without keeping them."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.seen = nn.Linear(3, 2), []

    def forward(self, x: Tensor) -> Tensor:
        out = self.linear(x)
        self.seen += [weakref.ref(x), weakref.ref(out)]
        return out


def test_defect_42_evaluation_keeps_no_batch_in_memory() -> None:
    """learner.py:325-326: what cleans up stands behind a `return`: the last batch and its output stay in memory."""
    model = Watched()

    def data(n: int) -> list[Batch]:
        return [Batch((x,), y, len(y)) for x, y in batches(n)]

    learn = Learner(model, Loaders([], data(2)), nn.functional.mse_loss, device="cpu")
    rows = learn.predict(data(3))
    learn.validate(data(3))
    learn.loaders = Loaders(data(2))
    learn.fit(1, 1e-2)
    learn.loaders = Loaders([])
    gc.collect()
    assert rows.shape == (12, 2) and len(model.seen) == 2 * (3 + 3 + 2)
    assert not any(reference() is not None for reference in model.seen)
