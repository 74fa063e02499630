"""`make demo`: ULMFiT from the language model of the package to a saved classifier, on text that every machine has.

The task: from which library does this docstring come? The language model that comes with the package, which has read
Wikipedia, reads all training texts, learns to predict their words, and then becomes a classifier with few labels per
class; a classifier from random weights on the same labels stands beside it. A machine on which all of it would take too
long reads less text, or makes fewer passes: see `textxfer.sizing`.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from textxfer import plots, ulmfit
from textxfer.artifact import Artifact
from textxfer.datasets import docstrings, few_labels
from textxfer.evaluate import Evaluation, evaluate
from textxfer.files import new_folder, write_json
from textxfer.models import LanguageModel, TextClassifier
from textxfer.predict import Predictor
from textxfer.presets import SMALL
from textxfer.sizing import fit_to
from textxfer.task import TaskData, prepare
from textxfer.text import DataError, Document, TokenStore
from textxfer.training import Learner

# Few passes over the texts, with less dropout: four minutes on two cores that multiply bfloat16. One pass is too few:
# the classifier from random weights was better then (54.6 against 57.3 %).
RECIPE = replace(
    SMALL,
    finetune=replace(SMALL.finetune.with_epochs(3), dropouts=SMALL.finetune.dropouts.scaled(0.5)),
    classify=SMALL.classify.with_epochs(20),
)
MODEL, MAX_WORDS, N_TEST, MINUTES = "en-small", 80, 1000, 20.0
SENTENCES = (
    "Return the eigenvalues and right eigenvectors of a square array.",
    "Set the label of the x-axis and the position of the ticks.",
    "Applies a convolution over an input signal composed of several input planes.",
)


def main() -> None:
    """Run the demo and write models, plot and figures."""
    parser = argparse.ArgumentParser(prog="python -m textxfer.demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/demo"), help="folder for models and reports")
    parser.add_argument("--per-class", type=int, default=30, help="labels per class")
    parser.add_argument("--texts", type=int, default=8000, help="unlabelled texts for the language model")
    parser.add_argument("--seed", type=int, default=0, help="seed of split, weights and dropouts")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="most time for language model and classifier")
    options = parser.parse_args()
    began = time.perf_counter()
    try:
        run(options.out, options.per_class, options.texts, options.seed, options.minutes)
    except DataError as error:
        parser.error(str(error))
    print(f"\nall of it took {(time.perf_counter() - began) / 60:.1f} min")


def run(out: Path, per_class: int, n_texts: int, seed: int, minutes: float = MINUTES) -> None:
    """Run all steps of the demo.

    Args:
        out: Folder for models, plot and figures; replaced if it exists.
        per_class: Labels per class.
        n_texts: Unlabelled texts for the language model.
        seed: Seed of split, weights and dropouts.
        minutes: Most time for language model and classifier, > 0.

    Raises:
        DataError: Not even the least training fits into the time.
    """
    base = pretrained()
    data, held_out = read(base, out.parent, per_class, n_texts, seed)

    print(f"\n2  language model {MODEL}: predict the next word of every text", flush=True)
    sized = fit_to(data, base, minutes=minutes, recipe=RECIPE, test=held_out, seed=seed)
    print(sized.budget, flush=True)
    language = sized.finetune(base, seed=seed)
    assert language is not None  # there is a pretrained one

    print("\n3  classifier on top of it", flush=True)
    learn = ulmfit.classify(data, language.model.encoder, recipe=sized.recipe, seed=seed)
    transferred = report(learn, data, held_out)

    print("\n4  the same classifier from random weights, for comparison", flush=True)
    scratch = report(ulmfit.classify(data, recipe=sized.recipe, seed=seed), data, held_out)

    print(f"\n5  accuracy on {transferred.n:,} unseen texts, {per_class} labels per class")
    print(f"   with the language model {transferred.accuracy:.1%}, from scratch {scratch.accuracy:.1%}\n{transferred}")
    write(out, language, learn, data, {"transferred": transferred.to_dict(), "scratch": scratch.to_dict()})
    print(f"\n6  saved in {out}; loaded again, it says:")
    for text, prediction in zip(SENTENCES, Predictor.load(out / "model")(SENTENCES)):
        print(f"   {prediction.label:<10} {prediction.confidence:4.0%}  {text}")


def read(base: Artifact, cache: Path, per_class: int, n_texts: int, seed: int) -> tuple[TaskData, TokenStore]:
    """Read docstrings; return the texts to train on, few of them with labels, and others that are held out."""
    print("1  reading the docstrings of the installed libraries", flush=True)
    corpus = docstrings(cache=cache)
    split = few_labels([shortened(document) for document in corpus], per_class, seed)
    texts = sample(split.rest, n_texts, seed)
    data = prepare(split.train, unlabelled=texts, base=base, recipe=RECIPE)
    print(f"   {len(corpus):,} texts, cut after {MAX_WORDS} words; the task: from which library is each one?")
    print(f"   {per_class} labels for each of {', '.join(data.classes)}")
    print(f"   {data.train.n_tokens:,} tokens to read, {len(data.vocab):,} in the vocabulary", flush=True)
    return data, data.encode(sample(split.test, N_TEST, seed))


def pretrained() -> Artifact:
    """Return the language model that comes with the package, reading forward."""
    return ulmfit.pretrained(MODEL)["forward"]


def shortened(document: Document) -> Document:
    """Return a document's first words: enough to tell the library, and quick to read."""
    return replace(document, text=" ".join(document.text.split()[:MAX_WORDS]))


def sample(documents: list[Document], n: int, seed: int) -> list[Document]:
    """Choose documents at random; all of them if there are no more than `n`."""
    order = np.random.default_rng(seed).permutation(len(documents))[:n]
    return [documents[int(place)] for place in order]


def report(learn: Learner[TextClassifier], data: TaskData, held_out: TokenStore) -> Evaluation:
    """Evaluate a classifier on held-out texts."""
    predictor = Predictor(learn.model, Artifact(learn.model, data.vocab, data.tokenizer, data.classes))
    return evaluate(predictor.predict_store(held_out), held_out.labels, data.classes)


def write(
    out: Path,
    language: Learner[LanguageModel],
    learn: Learner[TextClassifier],
    data: TaskData,
    figures: dict[str, object],
) -> None:
    """Write models, plot and figures."""
    with new_folder(out, replace=True) as scratch:
        ulmfit.save(scratch / "model", learn, data)
        ulmfit.save(scratch / "language-model", language, data)
        if language.history:  # else the pretrained one was taken as it is
            plots.save_figure(plots.plot_losses(language.history), scratch / "language-model-losses.png")
        plots.save_figure(plots.plot_losses(learn.history), scratch / "losses.png")
        write_json(scratch / "results.json", figures)


if __name__ == "__main__":
    main()
