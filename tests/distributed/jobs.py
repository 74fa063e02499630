"""What the processes of the tests do; also run in one process, which tells what should come out.

`python -m tests.distributed.jobs FOLDER WORLD MINUTES RANK JOB ...` writes what each job returns to
`FOLDER/JOB-RANK.json` and the weights beside it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import save_file

from textxfer import distributed
from textxfer.batch import Loaders
from textxfer.callbacks import (
    Accumulate,
    ActivationReg,
    CarryHidden,
    ClipGrad,
    CSVLog,
    DataParallel,
    DiscriminativeLR,
    EarlyStop,
    GradualUnfreeze,
    SaveBest,
    SaveEvery,
    StopOnNonFinite,
    TemporalReg,
    WeightAverage,
    WindowRate,
)
from textxfer.callbacks._peers import agreed_token
from textxfer.distributed import PeerError
from textxfer.models import (
    AWDLSTMConfig,
    ClassifierConfig,
    LanguageModel,
    TextClassifier,
    token_loss,
)
from textxfer.text import ClassBatches, Document, LMBatches, RulesTokenizer, TokenStore
from textxfer.training import F1, Accuracy, Callback, Learner, Order, ParamSchedule, Perplexity, SlantedTriangular
from textxfer.training.seeds import set_seed

EPOCHS, LANES, BPTT = 4, 8, 10
WORDS = ["red", "green", "blue", "yellow", "cat", "dog", "bird", "fish", "one", "two", "three", "four"]


def store(n: int = 97, seed: int = 0) -> TokenStore:
    """Documents of 1 to 40 words in three classes."""
    rng = np.random.default_rng(seed)
    documents = []
    for row in range(n):
        label = int(rng.integers(3))
        words = rng.choice([*WORDS, *3 * WORDS[4 * label : 4 * label + 4]], int(rng.integers(1, 40)))
        documents.append(Document(" ".join(words), "abc"[label], row + 1))
    return TokenStore.build(None, documents, RulesTokenizer(), min_count=1)


STORE, HELD_OUT = store(), store(23, seed=1)


def lm_learner(place: distributed.Place, *parts: Callback, dropout: float = 0.0, train: Any = None) -> Learner:
    """A small language model on the process's share of eight lanes; with three metrics."""
    set_seed(0)
    config = AWDLSTMConfig(vocab=len(STORE.vocab), embed=8, hidden=12, layers=3).scaled(dropout)
    share = {"rank": place.rank, "world": place.world}
    if train is None:
        train = LMBatches(STORE, place.share(LANES), BPTT, vary_bptt=True, seed=3, **share)
    valid = LMBatches(HELD_OUT, place.share(LANES), BPTT, shuffle=False, **share)
    parts = (CarryHidden(), ActivationReg(), TemporalReg(), *parts)
    together = [DataParallel(bucket_mb=0.002)]
    metrics = [Perplexity(), Accuracy()]
    return Learner(
        LanguageModel(config),
        Loaders(train, valid),
        token_loss,
        metrics=metrics,
        callbacks=[*together, *parts],
        device="cpu",
    )


def class_learner(place: distributed.Place, *parts: Callback, n_last: int = 1, dropout: float = 0.0) -> Learner:
    """A small classifier; the last batch of an epoch has `n_last` documents, fewer than there are processes."""
    set_seed(0)
    encoder = AWDLSTMConfig(vocab=len(STORE.vocab), embed=8, hidden=12, layers=2).scaled(dropout)
    config = ClassifierConfig(3, dropout_pooled=dropout, dropout_head=dropout, bptt=7, max_tokens=20)
    share = {"rank": place.rank, "world": place.world}
    docs = np.arange(96 + n_last)
    train = ClassBatches(STORE, place.share(12), docs=docs, seed=3, **share)
    valid = ClassBatches(HELD_OUT, place.share(4), shuffle=False, **share)
    model = TextClassifier(encoder, config)
    with torch.no_grad():  # as far from zero as trained ones: else batch normalization blows rounding up a thousandfold
        model.encoder.embedding.weight.mul_(10)
        for lstm in model.encoder.lstms:
            for param in lstm.parameters():
                param.mul_(2)
    return Learner(
        model,
        Loaders(train, valid),
        torch.nn.functional.cross_entropy,
        metrics=[Accuracy(), F1()],
        callbacks=[*parts, ActivationReg(), TemporalReg(), DataParallel()],
        device="cpu",
    )


def recipe(folder: Path) -> list[Callback]:
    """The callbacks of ULMFiT, and those that watch and save."""
    return [
        ParamSchedule(lr=SlantedTriangular()),
        DiscriminativeLR(),
        GradualUnfreeze(),
        ClipGrad(0.3),
        StopOnNonFinite(),
        EarlyStop(patience=5),
        CSVLog(folder / "log.csv"),
        SaveBest(folder / "best"),
        SaveEvery(folder / "states", batches=5),
    ]


def report(learn: Learner) -> dict[str, Any]:
    """What must be the same whatever the number of processes; seconds are not."""
    history = learn.history.to_json()
    for row in history["epochs"]:
        del row["seconds"]
    return {"history": history, "step": learn.history.steps["step"][-1], "n": learn.history.n_steps}


Job = Callable[[distributed.Place, Path], tuple[Learner | None, dict[str, Any]]]


def lm(place: distributed.Place, folder: Path) -> tuple[Learner, dict[str, Any]]:
    """Two fits of a language model with all callbacks: 50 updates and more."""
    learn = lm_learner(place, WindowRate(BPTT))
    learn.fit(EPOCHS, 4e-3, recipe(folder))
    learn.fit(1, 1e-3, [WeightAverage(decay=0.9), ClipGrad(0.3)])
    return learn, report(learn) | {"valid": learn.validate()}


def accumulated(place: distributed.Place, folder: Path) -> tuple[Learner, dict[str, Any]]:
    """The same with updates of three batches, and states in the midst of them."""
    learn = lm_learner(place, Accumulate(3))
    learn.fit(EPOCHS, 4e-3, recipe(folder))
    return learn, report(learn)


def classifier(place: distributed.Place, folder: Path) -> tuple[Learner, dict[str, Any]]:
    """A classifier with all callbacks, 54 updates."""
    learn = class_learner(place)
    learn.fit(6, 2e-3, recipe(folder))
    return learn, report(learn) | {"valid": learn.validate()}


class Break(Callback):
    """Raise an error behind a batch, on all processes alike."""

    order = Order.SAVE

    def __init__(self, epoch: int, batch: int) -> None:
        self.epoch, self.batch = epoch, batch

    def after_batch(self, learn: Learner) -> None:
        if learn.step.training and (learn.progress.epoch, learn.progress.batch) == (self.epoch, self.batch):
            raise KeyboardInterrupt


def broken(place: distributed.Place, folder: Path) -> tuple[Learner, dict[str, Any]]:
    """Dropout and held updates, interrupted behind a saved state; `resumed` goes on, `unbroken` is not interrupted."""
    parts = [Accumulate(2), ClipGrad(0.3), SaveEvery(folder.parent / "broken-states", batches=3)]
    learn = lm_learner(place, *parts, Break(1, 4), dropout=1.0)
    try:
        learn.fit_one_cycle(3, 4e-3)
    except KeyboardInterrupt:
        return learn, {}
    raise AssertionError("nothing was interrupted")


def resumed(place: distributed.Place, folder: Path) -> tuple[Learner, dict[str, Any]]:
    parts = [Accumulate(2), ClipGrad(0.3), SaveEvery(folder.parent / "broken-states", batches=3)]
    learn = lm_learner(place, *parts, dropout=1.0)
    learn.resume(folder.parent / "broken-states")
    learn.fit_one_cycle(3, 4e-3)
    return learn, report(learn)


def unbroken(place: distributed.Place, folder: Path) -> tuple[Learner, dict[str, Any]]:
    parts = [Accumulate(2), ClipGrad(0.3), SaveEvery(folder.parent / "unbroken-states", batches=3)]
    learn = lm_learner(place, *parts, dropout=1.0)
    learn.fit_one_cycle(3, 4e-3)
    return learn, report(learn)


def broken_plain(place: distributed.Place, folder: Path) -> tuple[Learner, dict[str, Any]]:
    """Without dropout, so that another number of processes can go on from the state."""
    learn = lm_learner(place, Accumulate(2), SaveEvery(folder.parent / "plain-states", batches=3), Break(1, 4))
    try:
        learn.fit_one_cycle(3, 4e-3)
    except KeyboardInterrupt:
        return learn, {}
    raise AssertionError("nothing was interrupted")


def resumed_plain(place: distributed.Place, folder: Path) -> tuple[Learner, dict[str, Any]]:
    learn = lm_learner(place, Accumulate(2), SaveEvery(folder.parent / "plain-states", batches=3))
    learn.resume(folder.parent / "plain-states")
    learn.fit_one_cycle(3, 4e-3)
    return learn, report(learn)


class Once(Callback):
    """Do something on one process when a batch begins."""

    def __init__(self, rank: int, action: Callable[[Learner], Any], batch: int = 1) -> None:
        self.rank, self.action, self.batch = rank, action, batch

    def before_batch(self, learn: Learner) -> None:
        if distributed.start("cpu").rank == self.rank and learn.progress.batch == self.batch and learn.step.training:
            self.action(learn)


class EndOfEpoch(Callback):
    """Stop one process at the end of the second epoch or of its training, as a limit of time would."""

    order = Order.REPORT

    def __init__(self, rank: int, event: str) -> None:
        self.rank, self.event = rank, event

    def after_train(self, learn: Learner) -> None:
        self._stop(learn, "after_train")

    def after_epoch(self, learn: Learner) -> None:
        self._stop(learn, "after_epoch")

    def _stop(self, learn: Learner, event: str) -> None:
        if event == self.event and distributed.start("cpu").rank == self.rank and learn.progress.epoch == 1:
            learn.stop()


def _error(run: Callable[[], Any]) -> str:
    try:
        run()
    except (PeerError, ValueError) as error:
        return str(error)
    return "no error"


def mismatches(place: distributed.Place, folder: Path) -> tuple[None, dict[str, Any]]:
    """Processes that do different things: each must be an error on all of them."""
    share = {"rank": place.rank, "world": place.world}
    found = {}
    learn = lm_learner(place, Once(1, lambda learn: learn.freeze()))
    found["freeze"] = _error(lambda: learn.fit(1, 1e-3))
    learn = lm_learner(place)
    found["epochs"] = _error(lambda: learn.fit(1 + place.rank, 1e-3))
    learn = lm_learner(place, *([] if place.rank else [ClipGrad()]))
    found["callbacks"] = _error(lambda: learn.fit(1, 1e-3))
    learn = lm_learner(place, train=LMBatches(STORE, 4, BPTT))
    found["loader"] = _error(lambda: learn.fit(1, 1e-3))
    batches = list(LMBatches(STORE, 4, BPTT, **share))
    learn = lm_learner(place, train=_Shorter(batches, len(batches) - place.rank))
    found["length"] = _error(lambda: learn.fit(1, 1e-3))
    learn = lm_learner(place, Once(1, _noise, batch=2))
    found["weights"] = _error(lambda: learn.fit(2, 1e-3))
    return None, found


def _noise(learn: Learner) -> None:
    with torch.no_grad():
        next(learn.model.parameters()).add_(1e-3)


class _Shorter:
    """A loader that ends sooner than it says."""

    def __init__(self, batches: list[Any], n: int) -> None:
        self.batches, self.n = batches, n

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Any:
        return iter(self.batches[: self.n])


def stops(place: distributed.Place, folder: Path) -> tuple[Learner, dict[str, Any]]:
    """One process stops at batch 2 or behind an epoch, or finds what is no number: all stop there."""
    learn = lm_learner(place, Once(1, lambda learn: learn.stop(), batch=2))
    learn.fit(2, 1e-3)
    done = learn.history.n_steps
    guard = StopOnNonFinite()
    bad = lm_learner(place, guard, Once(1, _break_input, batch=3))
    bad.fit(1, 1e-3)
    figures = {"batches": done, "bad batches": bad.history.n_steps, "report": guard.report}
    for rank, event in product(range(2), ("after_train", "after_epoch")):
        late = lm_learner(place, EndOfEpoch(rank, event))
        late.fit(3, 1e-3)
        figures[f"{event}, stopped by {rank}"] = [len(late.history), "valid_loss" in late.history[-1]]
    return bad, figures


def _break_input(learn: Learner) -> None:
    (ids,), *_ = [learn.step.inputs[:1]]
    hidden = [(torch.full_like(h, torch.nan), c) for h, c in learn.step.inputs[1]]
    learn.step.inputs = (ids, hidden)


def rates(place: distributed.Place, folder: Path) -> tuple[None, dict[str, Any]]:
    """The rate finder."""
    learn = lm_learner(place)
    found = learn.lr_find(n_steps=12)
    return None, {"lrs": list(found.lrs), "losses": list(found.losses)}


def streams(place: distributed.Place, folder: Path) -> tuple[None, dict[str, Any]]:
    """Random numbers: those within a batch differ between the processes, those outside do not."""
    drawn: dict[str, list[float]] = {"inside": [], "outside": []}

    class Draw(Callback):
        def after_forward(self, learn: Learner) -> None:
            if learn.step.training:
                drawn["inside"].append(float(torch.rand(())))

        def after_batch(self, learn: Learner) -> None:
            if learn.step.training:
                drawn["outside"].append(float(torch.rand(())))

    lm_learner(place, Draw(), dropout=1.0).fit(1, 1e-3)
    return None, drawn


def hang(place: distributed.Place, folder: Path) -> tuple[None, dict[str, Any]]:
    """Process 1 sleeps in the midst of training; how long does process 0 wait?"""
    learn = lm_learner(place, Once(1, lambda learn: time.sleep(60), batch=2))
    began = time.monotonic()
    message = _error(lambda: learn.fit(1, 1e-3)) if place.is_main else learn.fit(1, 1e-3)
    return None, {"message": message, "seconds": time.monotonic() - began}


JOBS: dict[str, Job] = {
    job.__name__: job
    for job in (
        *(lm, accumulated, classifier, broken, resumed, unbroken, broken_plain, resumed_plain),
        *(mismatches, stops, rates, streams, hang),
    )
}


def run(name: str, place: distributed.Place, folder: Path) -> None:
    """Run a job and write what it returns."""
    learn, figures = JOBS[name](place, folder / name)
    (folder / f"{name}-{place.rank}.json").write_text(json.dumps(figures))
    if learn is not None:
        weights = {name: value.detach().clone() for name, value in learn.model.state_dict().items()}
        save_file(weights, folder / f"{name}-{place.rank}.safetensors")


def main(folder: str, world: str, minutes: str, rank: str, *names: str) -> None:
    torch.set_num_threads(1)
    store = dist.FileStore(f"{folder}/meeting", int(world))
    token = agreed_token(store, int(rank), int(world), timedelta(minutes=1))  # until all are there, however slowly
    group = {"store": dist.PrefixStore(token, store), "rank": int(rank), "world_size": int(world)}
    dist.init_process_group("gloo", timeout=timedelta(minutes=float(minutes)), **group)
    for name in names:
        run(name, distributed.start("cpu"), Path(folder))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
