"""What a user would try first: logistic regression on TF-IDF, its strength chosen by cross-validation."""

from __future__ import annotations

from collections import Counter

import numpy as np

from experiments.tasks import Parts
from textxfer.evaluate import Evaluation, evaluate
from textxfer.text import DataError

_STRENGTHS = (1.0, 10.0, 100.0)
_FOLDS = 5


def tf_idf(parts: Parts, seed: int) -> Evaluation:
    """Train on words and pairs of words of the labelled documents, and judge on those held out.

    Raises:
        ImportError: scikit-learn, of the extra `bench`, is not installed.
    """
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import GridSearchCV
        from sklearn.pipeline import make_pipeline
    except ImportError as error:
        raise ImportError("TF-IDF with logistic regression needs scikit-learn: pip install scikit-learn") from error
    labels = [str(document.label) for document in parts.labelled]
    pipeline = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        LogisticRegression(max_iter=2_000, random_state=seed),
    )
    folds = min(_FOLDS, *Counter(labels).values())
    search = GridSearchCV(pipeline, {"logisticregression__C": _STRENGTHS}, cv=folds) if folds > 1 else pipeline
    search.fit([document.text for document in parts.labelled], labels)
    classes = [str(name) for name in search.classes_]
    probabilities = search.predict_proba([document.text for document in parts.held_out])
    place = {name: index for index, name in enumerate(classes)}
    if unseen := {str(document.label) for document in parts.held_out} - place.keys():
        raise DataError(f"no labelled document of the class {min(unseen)!r}, which is held out: give more --labels")
    true = np.asarray([place[str(document.label)] for document in parts.held_out])
    return evaluate(probabilities, true, classes)
