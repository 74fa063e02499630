"""All readers of files that may come from strangers: a small sound sample of each, and what reading it means."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import lzma
import pickle
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import nn

from tests.hostile import damage
from tests.hostile.guard import Harm, outcome
from tests.programs.old_nets import TOKENS, Plain
from tests.training.toys import Net, batches
from textxfer.artifact import Artifact, load_artifact, save_artifact
from textxfer.batch import Loaders
from textxfer.cli import main
from textxfer.datasets import unpack
from textxfer.importing import import_weights, read_tokens
from textxfer.models import AWDLSTMConfig, ClassifierConfig, LanguageModel, TextClassifier
from textxfer.predict import Predictor
from textxfer.pretrained import remote
from textxfer.text import Document, RulesTokenizer, TokenStore, Vocab, read_csv, read_jsonl, read_parquet, read_text
from textxfer.text.card import card
from textxfer.text.document import DataError
from textxfer.training import Callback, CheckpointError, Learner, Order

MAX_UNPACKED = 1 << 20
TOKENIZER = RulesTokenizer()
VOCAB = Vocab([*TOKENIZER.specials, "the", "cat", "dog", "sat", "."], [3] * (len(TOKENIZER.specials) + 5))


@dataclass(frozen=True)
class Reader:
    """A reader.

    Attributes:
        make: Writes a sound sample into a folder.
        read: Reads it; the second argument is the file that was damaged.
        mend: Puts right what a stranger would.
    """

    make: Callable[[Path], None]
    read: Callable[[Path, str], Any]
    mend: Callable[[damage.Files], damage.Files] = damage.as_is

    def sample(self) -> damage.Files:
        """Return the files of the sample by name."""
        return dict(_sample(self.make))

    @property
    def names(self) -> tuple[str, ...]:
        """The files that may be damaged."""
        return tuple(sorted(self.sample()))


@cache
def _sample(make: Callable[[Path], None]) -> damage.Files:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "sample"
        place.mkdir()
        torch.manual_seed(0)
        make(place)
        paths = sorted(path for path in place.rglob("*") if path.is_file())
        return {path.relative_to(place).as_posix(): path.read_bytes() for path in paths}


def attempt(reader: Reader, folder: Path, name: str, content: bytes) -> str | None:
    """Read a sample of which one file has another content; return the error's message, None if it was read.

    Raises:
        Harm: Reading did what it must not do.
    """
    files = reader.mend(reader.sample() | {name: content})
    place = folder / "given"
    shutil.rmtree(place, ignore_errors=True)
    for each, data in files.items():
        (place / each).parent.mkdir(parents=True, exist_ok=True)
        (place / each).write_bytes(data)
    with torch.random.fork_rng(devices=[]):
        return outcome(lambda: reader.read(place, name), place, name)


# ---- models ------------------------------------------------------------------------------------------------------


def _make_language_model(folder: Path) -> None:
    model = LanguageModel(AWDLSTMConfig(len(VOCAB), 4, 5, 2))
    _save(folder, model, ())


def _make_classifier(folder: Path) -> None:
    model = TextClassifier(AWDLSTMConfig(len(VOCAB), 4, 5, 2), ClassifierConfig(2, 3))
    _save(folder, model, ("bad", "good"), shard_bytes=1200)


def _save(folder: Path, model: LanguageModel | TextClassifier, classes: tuple[str, ...], **options: Any) -> None:
    text = Artifact(model, VOCAB, TOKENIZER, classes)
    made = save_artifact(folder.with_name("made"), model, text, card={"history": [{"fit": 0, "epoch": 0}]}, **options)
    shutil.copytree(made, folder, dirs_exist_ok=True)


def _read_language_model(folder: Path, _: str) -> None:
    artifact = load_artifact(folder)
    tokens = artifact.tokenizer("The CAT saaaaat, the the the the the dog. Don't!")
    ids = torch.from_numpy(artifact.vocab.ids(tokens))[:, None]
    with torch.no_grad():
        if isinstance(artifact.model, LanguageModel):
            artifact.model(ids)


def _read_classifier(folder: Path, _: str) -> None:
    Predictor.load(folder, dtype="fp32")(["The cat sat.", "dogs"])


# ---- training states ---------------------------------------------------------------------------------------------


class Marked(Callback):
    """Has a tensor and JSON values as its state, saves where a crash would, and ends the fit there."""

    order = Order.SAVE

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.seen = [0, 0]
        self.last = torch.zeros(2)

    def after_batch(self, learn: Learner) -> None:
        self.seen[learn.step.training] += 1
        if self.folder is not None and learn.step.training and learn.progress.epoch == 1:
            learn.save(self.folder)
            raise KeyboardInterrupt

    def state_dict(self) -> dict[str, Any]:
        return {"seen": list(self.seen), "last": self.last}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seen = [int(number) for number in state["seen"][:2]]
        self.last = state["last"].reshape(2).clone()
        _ = self.seen[1]


def new_learner(*callbacks: Callback, seed: int = 0) -> Learner:
    torch.manual_seed(seed)
    loaders = Loaders(batches(2), batches(1, seed=1))
    return Learner(Net(), loaders, nn.functional.mse_loss, callbacks=callbacks, device="cpu")


def _make_state(folder: Path) -> None:
    place = folder.with_name("states")
    with contextlib.suppress(KeyboardInterrupt):
        new_learner(Marked(place)).fit(2, 1e-2)
    (state,) = place.glob("step-*")
    shutil.copytree(state, folder, dirs_exist_ok=True)


def everything(learn: Learner) -> dict[str, Any]:
    """Return copies of all that a state holds, and of the generators, for a comparison with `same`."""
    slots = [
        {name: value.clone() for name, value in learn.optimizer.state.get(param, {}).items()}
        for param in learn.model.parameters()
    ]
    hypers = [{key: value for key, value in g.items() if key != "params"} for g in learn.optimizer.param_groups]
    return {
        "weights": [value.clone() for value in learn.model.state_dict().values()],
        "slots": slots,
        "hypers": json.dumps(hypers, default=str),
        "history": json.dumps(learn.history.to_json()),
        "counters": (learn.fits_done, learn.fits_begun, learn.epochs_done, learn.trainable, learn.resumed is None),
        "callbacks": [callback.state_dict() for callback in learn.callbacks],
        "random": (torch.get_rng_state(), str(np.random.get_state())),  # noqa: NPY002
    }


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal, tensors in them included."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def _read_state(folder: Path, _: str) -> None:
    learn = new_learner(Marked())
    before = everything(learn)
    try:
        learn.resume(folder)
    except CheckpointError:
        if not same(before, everything(learn)):
            raise Harm("a state that was refused has changed the learner") from None
        raise
    learn.fit(2, 1e-2)


# ---- token stores ------------------------------------------------------------------------------------------------


def _store_maker(*labels: Any) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        texts = ["The cat sat.", "The dog.", "A cat, a dog.", "Sat."]
        documents = [Document(text, label, row) for row, (text, label) in enumerate(zip(texts, labels), 1)]
        store = TokenStore.build(folder.with_name("made"), documents, TOKENIZER, vocab=VOCAB)
        shutil.copytree(store.path or folder, folder, dirs_exist_ok=True)

    return make


def _read_store(folder: Path, _: str) -> None:
    store = TokenStore.open(folder)
    str(card(store, duplicates=False))
    for place in range(len(store)):
        store.vocab.to_tokens(store[place])
    store.gather(backward=True)
    part = store.subset([0, len(store) - 1])
    part.gather()
    if store.label_kind == "multi":
        _ = part.label_ids
    [store.classes[label] for label in store.labels if label >= 0 and store.label_kind == "single"]
    store.tokenizer("The CAT saaaaat.")


# ---- weights of other libraries ----------------------------------------------------------------------------------


def _weights_maker(new_format: bool) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        weights = {"model": Plain(len(TOKENS), 2).fastai(), "opt": {"lr": 1.0, "mom": (0.9, 0.9)}}
        torch.save(weights, folder / "model.pth", _use_new_zipfile_serialization=new_format)
        (folder / "itos.pkl").write_bytes(pickle.dumps(TOKENS))

    return make


def _import(folder: Path, _: str) -> None:
    # spaCy has no part in what is read, and takes the most time.
    with mock.patch("textxfer.importing.convert.SpacyTokenizer", lambda language, rules: RulesTokenizer(rules)):
        import_weights(folder / "model.pth", folder / "itos.pkl")


def _make_vocabularies(folder: Path) -> None:
    (folder / "itos.pkl").write_bytes(pickle.dumps(TOKENS, 2))
    (folder / "itos5.pkl").write_bytes(pickle.dumps(tuple(TOKENS), 5))
    (folder / "itos.json").write_text(json.dumps(TOKENS), encoding="utf-8")
    (folder / "itos.txt").write_text("xxunk\nxxpad\nthe\n", encoding="utf-8")


def _read_vocabulary(folder: Path, name: str) -> None:
    read_tokens(folder / name)


# ---- tables and texts --------------------------------------------------------------------------------------------

_CSV = b'text,label\n"The cat, sat.",good\nA dog.,bad\n"say ""no""\nmore",good\n'
_JSONL = b'{"text": "The cat.", "label": "good"}\n{"text": "A d\\u00f6g.", "label": "bad"}\n'
_TEXT = " = One = \n\nThe cat sat.\nIt sat.\n\n = Two = \n\nThe dog — ran.\n".encode()


def _packed(content: bytes) -> dict[str, bytes]:
    import zstandard

    return {
        "": content,
        ".gz": gzip.compress(content, mtime=0),
        ".xz": lzma.compress(content),
        ".zst": zstandard.ZstdCompressor().compress(content),
    }


def _files_maker(content: bytes, *names: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        for name in names:
            for ending, data in _packed(content).items():
                (folder / f"{name}{ending}").write_bytes(data)

    return make


def _read_table(folder: Path, name: str) -> None:
    list(read_csv(folder / name, "text", "label", delimiter=","))


def _read_lines(folder: Path, name: str) -> None:
    list(read_jsonl(folder / name, "text", "label"))


def _read_text(folder: Path, name: str) -> None:
    for breaks in ("wiki", "blank", "line"):
        list(read_text(folder / name, breaks, errors="replace" if breaks == "line" else "strict"))


def _make_parquet(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"text": ["The cat.", "A dog.", "No."] * 3, "label": ["good", "bad", "bad"] * 3})
    pq.write_table(table, folder / "data.parquet", compression="none")
    pq.write_table(table, folder / "snappy.parquet", compression="snappy", use_dictionary=True)


def _read_parquet(folder: Path, name: str) -> None:
    list(read_parquet(folder / name, "text", "label"))


# ---- archives, indices, cards ------------------------------------------------------------------------------------


def _make_archives(folder: Path) -> None:
    contents = {"top/a.txt": b"first", "top/deep/b.txt": b"second" * 40, "c.txt": b""}
    for name, mode in (("data.tar", "w"), ("data.tgz", "w:gz"), ("data.tar.xz", "w:xz")):
        with tarfile.open(folder / name, mode, format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
            for path, data in contents.items():
                member = tarfile.TarInfo(path if path != "c.txt" else "ü" * 60 + "/c.txt")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    with zipfile.ZipFile(folder / "data.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for path, data in contents.items():
            file.writestr(zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)


def _read_archive(folder: Path, name: str) -> None:
    around = folder.parent
    before = {path for path in around.rglob("*") if "out" not in path.parts}
    try:
        unpack(folder / name, folder / "out", max_bytes=MAX_UNPACKED)
    finally:
        if before != {path for path in around.rglob("*") if folder / "out" not in (path, *path.parents)}:
            raise Harm("files were made outside of the folder")
    total = 0
    for path in (folder / "out").rglob("*"):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise Harm(f"{path} is no plain file or folder")
        total += path.stat().st_size if path.is_file() else 0
    if total > MAX_UNPACKED:
        raise Harm(f"{total:,} bytes were unpacked")


def _make_index(folder: Path) -> None:
    files = [{"path": f"forward/{name}", "size": 3, "sha256": "0" * 64} for name in ("config.json", "vocab.json")]
    files.append({"path": "config.json", "size": 1234, "sha256": "ab" * 32})
    (folder / "index.json").write_text(json.dumps({"m": files}), encoding="utf-8")


def _read_index(folder: Path, name: str) -> None:
    def given(url: str, target: Path, **_: object) -> Path:
        return Path(shutil.copy(folder / name, target))

    with mock.patch.object(remote, "download", given):
        files = remote._files("m", f"https://host/{name}", False)
    for file in files:
        if not (folder / file.path).resolve().is_relative_to(folder.resolve()):
            raise Harm(f"{file.path} is outside of the folder")


def _make_run(folder: Path) -> None:
    card = {"command": "classify", "config": {"lr": 0.1}, "results": {"runs": [{"n": 1}]}}
    (folder / "run.json").write_text(json.dumps(card), encoding="utf-8")


def _show(folder: Path, _: str) -> None:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as errors:
        code = main(["show", str(folder)])
    if code:
        raise DataError(errors.getvalue())


READERS: dict[str, Reader] = {
    "language-model": Reader(_make_language_model, _read_language_model, damage.mend_artifact),
    "classifier": Reader(_make_classifier, _read_classifier, damage.mend_artifact),
    "state": Reader(_make_state, _read_state, damage.mend_state),
    "store": Reader(_store_maker("a", "b", None, "a"), _read_store, damage.mend_store),
    "store-several": Reader(_store_maker(("a", "b"), (), None, ("b",)), _read_store, damage.mend_store),
    "store-numbers": Reader(_store_maker(1.0, -2.5, None, 0.0), _read_store, damage.mend_store),
    "weights": Reader(_weights_maker(True), _import),
    "weights-2018": Reader(_weights_maker(False), _import),
    "vocabulary": Reader(_make_vocabularies, _read_vocabulary),
    "table": Reader(_files_maker(_CSV, "data.csv"), _read_table),
    "json-lines": Reader(_files_maker(_JSONL, "data.jsonl"), _read_lines),
    "text": Reader(_files_maker(_TEXT, "data.txt"), _read_text),
    "parquet": Reader(_make_parquet, _read_parquet),
    "archive": Reader(_make_archives, _read_archive),
    "index": Reader(_make_index, _read_index),
    "run": Reader(_make_run, _show),
}
