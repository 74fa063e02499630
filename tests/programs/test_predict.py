"""Predictions do not depend on what else is asked."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tests.programs.toys import TINY, documents, task
from textxfer import ulmfit
from textxfer.predict import Predictor
from textxfer.text import DataError


@pytest.fixture(scope="module")
def trained():
    data = task(150)
    return data, ulmfit.classify(data, recipe=TINY)


@pytest.fixture(scope="module")
def predictor(trained, tmp_path_factory):
    data, learn = trained
    return Predictor.load(ulmfit.save(tmp_path_factory.mktemp("model") / "m", learn, data))


def test_it_has_learned_the_task(predictor):
    unseen = documents(60, seed=7)
    hits = [p.label == d.label for p, d in zip(predictor([d.text for d in unseen]), unseen)]
    assert sum(hits) >= 45  # chance: 20


def test_alone_and_in_a_batch_agree(predictor):
    texts = [d.text * (1 + i % 7) for i, d in enumerate(documents(40, seed=8))]
    together = predictor.probabilities(texts)
    alone = np.concatenate([predictor.probabilities([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-5)


def test_answers_come_in_the_order_of_the_texts(predictor):
    texts = [d.text for d in documents(25, seed=9)]
    order = np.random.default_rng(0).permutation(25)
    np.testing.assert_allclose(
        predictor.probabilities([texts[i] for i in order]), predictor.probabilities(texts)[order], atol=1e-5
    )


def test_small_batches_change_nothing(trained, predictor):
    _, learn = trained
    texts = [d.text for d in documents(30, seed=10)]
    small = Predictor(learn.model, predictor.artifact, tokens_per_batch=32).probabilities(texts)
    np.testing.assert_allclose(predictor.probabilities(texts), small, atol=1e-5)


def test_the_loaded_model_is_the_trained_one(trained, predictor):
    _, learn = trained
    texts = [d.text for d in documents(10, seed=11)]
    kept = Predictor(learn.model, predictor.artifact)
    np.testing.assert_allclose(kept.probabilities(texts), predictor.probabilities(texts), atol=1e-6)


def test_one_text_and_a_stream(predictor):
    texts = [d.text for d in documents(7, seed=12)]
    (alone,) = predictor(texts[0])
    streamed = list(predictor.stream(iter(texts), chunk=3))
    assert [p.label for p in streamed] == [p.label for p in predictor(texts)]
    assert streamed[0].label == alone.label
    assert alone.confidence == max(alone.probabilities.values())
    assert list(alone.probabilities) == sorted(alone.probabilities, key=lambda name: -alone.probabilities[name])


def test_no_texts_and_unseen_words(predictor):
    assert predictor([]) == []
    assert predictor(["zyzzyva"])[0].label in predictor.classes


def test_an_empty_text_is_named(predictor):
    with pytest.raises(DataError, match="text 2"):
        predictor(["one red cat", "  "])


def test_a_mapping_is_no_list_of_texts(predictor):
    for classify in (predictor, lambda texts: list(predictor.stream(texts))):
        with pytest.raises(TypeError, match="of a dict take the values"):
            classify({"text": "the cat"})


def test_a_single_text_is_no_list_of_letters(predictor):
    with pytest.raises(TypeError, match="not a single one"):
        predictor.probabilities("the cat")
    with pytest.raises(TypeError, match="not a single one"):
        list(predictor.stream("the cat"))


def test_any_iterable_of_texts(predictor):
    texts = ["the red cat", "one of two", "a bird"]
    expected = predictor.probabilities(texts)
    for given in (tuple(texts), np.array(texts), pd.Series(texts, index=[5, 0, 7]), iter(texts)):
        assert (predictor.probabilities(given) == expected).all()
    for nothing in ((), np.array([], dtype=str), pd.Series([], dtype=str), iter(())):
        assert predictor(nothing) == []
    with pytest.raises(TypeError, match="not iterable"):
        predictor(None)


def test_a_stream_counts_its_texts_from_its_beginning(predictor):
    answers = predictor.stream(["a cat", "a dog", "a bird", " "], chunk=3)
    assert [next(answers).label for _ in range(3)] == ["animal"] * 3
    with pytest.raises(DataError, match=r"^text 4: the text is empty"):
        next(answers)
    with pytest.raises(TypeError, match=r"^text 2 is of type int"):
        list(predictor.stream(["a cat", 5], chunk=1))


@pytest.mark.parametrize("chunk", [0, -1])
def test_a_stream_needs_chunks(predictor, chunk):
    with pytest.raises(ValueError, match="chunk must be at least 1"):
        next(predictor.stream(["a cat"], chunk=chunk))
