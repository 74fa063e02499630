"""Imported weights against fastai itself: the largest difference between the logits.

    python -W ignore -m benchmarks.import_check

fastai's nets are trained for a few steps, so that running means and optimizer are not those of the start, saved in each
of its ways, imported and run on the same tokens.
"""

from __future__ import annotations

import argparse
import pickle
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.peers_fastai import class_loader, classifier_learner, fastai, lm_learner, lm_loader, load_lm, quiet
from textxfer.importing import Imported, import_weights
from textxfer.models import AWDLSTMConfig, LanguageModel

CLASSES = ("a", "b", "c")
CLOSE = 1e-4
FILLERS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--tiny", action="store_true", help="small nets instead of 400, 1152, 3 layers")
    tiny = parser.parse_args().tiny
    torch.manual_seed(0)
    sizes = (120, 16, 24, 3) if tiny else (20_000, 400, 1152, 3)
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for name, difference in checks(Path(folder), AWDLSTMConfig(*sizes)):
            print(f"{name} | {difference:.2e}", flush=True)
            worst = max(worst, difference)
    if worst > CLOSE:
        raise SystemExit(f"the largest difference, {worst:.2e}, is above {CLOSE:.0e}")


def checks(folder: Path, config: AWDLSTMConfig) -> Iterator[tuple[str, float]]:
    """Yield what is compared, and the largest difference between two logits."""
    f = fastai()
    tokens = vocabulary(f, config.vocab)
    itos = folder / "itos.pkl"
    itos.write_bytes(pickle.dumps(tokens))
    docs = [f.TensorText(torch.randint(2, config.vocab - FILLERS, (30 + 7 * row,))) for row in range(12)]

    learn = lm_learner(lm_loader(docs, 4, 12, "cpu"), config, 0.1, "cpu")
    load_lm(learn, LanguageModel(config).state_dict())
    quiet(learn.fit)(1, 1e-3)
    expected = lm_logits(learn, docs)
    ways = {
        "learn.save": lambda place: quiet(learn.save)(place),
        "learn.save, with_opt=False": lambda place: quiet(learn.save)(place, with_opt=False),
        "torch.save, old format": lambda place: torch.save(
            learn.model.state_dict(), place.with_suffix(".pth"), _use_new_zipfile_serialization=False
        ),
    }
    for number, (way, save) in enumerate(ways.items()):
        save(folder / f"lm{number}")
        made = import_weights(folder / f"lm{number}.pth", itos)
        yield f"language model, {way}", largest(our_lm_logits(made, tokens, docs), expected)
    quiet(learn.save_encoder)(folder / "encoder")
    made = import_weights(folder / "encoder.pth", itos)
    bias = learn.model[1].decoder.bias.detach()[:-FILLERS]
    yield "encoder", largest(our_lm_logits(made, tokens, docs), [logits - bias for logits in expected])

    learn = classifier_learner(class_loader(docs, [row % 3 for row in range(12)], 4, "cpu", True), config, 3, "cpu")
    quiet(learn.fit)(1, 1e-3)
    quiet(learn.save)(folder / "classifier")
    made = import_weights(folder / "classifier.pth", itos, classes=CLASSES)
    yield "classifier", largest(our_class_logits(made, tokens, docs), class_logits(learn, docs))


def vocabulary(f: Any, size: int) -> list[str]:
    """Return a vocabulary as fastai 2 makes it, `xxfake` at its end included."""
    words = [f"w{number}" for number in range(size - len(f.defaults.text_spec_tok) - FILLERS)]
    return [*f.defaults.text_spec_tok, *words, *["xxfake"] * FILLERS]


def real(docs: list[Tensor]) -> list[Tensor]:
    """Return documents as plain tensors of ids."""
    return [torch.Tensor.as_subclass(doc, torch.Tensor) for doc in docs]


@torch.no_grad()
def lm_logits(learn: Any, docs: list[Tensor]) -> list[Tensor]:
    """Return fastai's logits of each document, (T, V - FILLERS)."""
    learn.model.eval()
    found = []
    for doc in real(docs):
        learn.model.reset()
        found.append(learn.model(doc[None])[0][0][:, :-FILLERS])
    return found


@torch.no_grad()
def our_lm_logits(made: Imported, tokens: list[str], docs: list[Tensor]) -> list[Tensor]:
    """Return our logits of each document, (T, V - FILLERS): the columns in the order of `tokens`, fillers left out."""
    model, place = made.artifact.model, places(made, tokens)
    assert isinstance(model, LanguageModel)
    return [model(place[doc][:, None]).logits[:, 0, place] for doc in real(docs)]


@torch.no_grad()
def class_logits(learn: Any, docs: list[Tensor]) -> list[Tensor]:
    """Return fastai's logits of each document, (C,)."""
    learn.model.eval()
    return [learn.model(doc[None])[0][0] for doc in real(docs)]


@torch.no_grad()
def our_class_logits(made: Imported, tokens: list[str], docs: list[Tensor]) -> list[Tensor]:
    """Return our logits of each document, (C,)."""
    model, place = made.artifact.model, places(made, tokens)
    return [model(place[doc][:, None], torch.tensor([len(doc)])).logits[0] for doc in real(docs)]


def places(made: Imported, tokens: list[str]) -> Tensor:
    """Return our id of each old one, fillers left out."""
    return torch.from_numpy(made.artifact.vocab.ids(tokens[:-FILLERS]))


def largest(ours: list[Tensor], theirs: list[Tensor]) -> float:
    """Return the largest absolute difference between two numbers."""
    return max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True))


if __name__ == "__main__":
    main()
