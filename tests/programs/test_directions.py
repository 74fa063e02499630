"""A classifier for each direction of reading, and the two as one."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.programs.toys import TINY, documents, task
from textxfer import ulmfit
from textxfer.artifact import ArtifactError
from textxfer.directions import Bidirectional, load_directions
from textxfer.predict import PairPredictor, Predictor


@pytest.fixture(scope="module")
def both() -> Bidirectional:
    return ulmfit.bidirectional(task(90), recipe=TINY, seed=1)


def texts() -> list[str]:
    return [document.text for document in documents(12, seed=5)]


def test_the_probabilities_are_the_mean_of_two_different_models(both: Bidirectional) -> None:
    pair = both.predictor(dtype="fp32")
    one, other = (part.probabilities(texts()) for part in pair.parts)
    assert np.abs(one - other).max() > 1e-3
    np.testing.assert_allclose(pair.probabilities(texts()), (one + other) / 2, atol=1e-6)
    assert [p.label for p in pair(texts())] == [pair.classes[i] for i in (one + other).argmax(axis=1)]


def test_the_backward_model_reads_from_the_end(both: Bidirectional) -> None:
    _, backward = both.predictor(dtype="fp32").parts
    as_forward = Predictor(backward.model, replace(backward.artifact, backward=False), dtype="fp32")
    turned = [" ".join(reversed(text.split())) for text in texts()]
    np.testing.assert_allclose(as_forward.probabilities(turned), backward.probabilities(texts()), atol=1e-6)


def test_one_folder_holds_both(both: Bidirectional, tmp_path: Path) -> None:
    folder = both.save(tmp_path / "pair")
    loaded = Predictor.load(folder, dtype="fp32")
    assert isinstance(loaded, PairPredictor)
    expected = both.predictor(dtype="fp32").probabilities(texts())
    np.testing.assert_allclose(loaded.probabilities(texts()), expected, atol=1e-6)
    assert list(load_directions(folder)) == ["forward", "backward"]
    assert list(load_directions(folder / "backward")) == ["backward"]
    both.save(folder)  # its own folder may be replaced, another may not
    (tmp_path / "other").mkdir()
    with pytest.raises(ArtifactError, match="no folder of two models"):
        both.save(tmp_path / "other")


def test_a_folder_with_the_wrong_half_is_refused(both: Bidirectional, tmp_path: Path) -> None:
    folder = both.save(tmp_path / "pair")
    shutil.rmtree(folder / "backward")
    with pytest.raises(ArtifactError, match="backward"):
        Predictor.load(folder)
    shutil.copytree(folder / "forward", folder / "backward")
    for load in (Predictor.load, load_directions):
        with pytest.raises(ArtifactError, match="reads forward"):
            load(folder)


def test_models_that_do_not_belong_together_are_refused(both: Bidirectional) -> None:
    forward, backward = both.predictor().parts
    with pytest.raises(ArtifactError, match="in this order"):
        PairPredictor(backward, forward)
    other = Predictor(backward.model, replace(backward.artifact, classes=("x", "y", "z")))
    with pytest.raises(ArtifactError, match="same list of classes"):
        PairPredictor(forward, other)


def test_pretrained_models_of_both_directions_are_needed(both: Bidirectional) -> None:
    only = {"forward": both.predictor().parts[0].artifact}
    with pytest.raises(ArtifactError, match="no pretrained model that reads backward"):
        ulmfit.bidirectional(both.data, only, recipe=TINY)  # type: ignore[arg-type]
