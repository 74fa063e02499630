"""textxfer: ULMFiT, transfer learning for text, composed of callbacks around an AWD-LSTM.

The recipe as functions is in `textxfer.ulmfit`, the callbacks are in `textxfer.callbacks`. Names are imported when they
are first used: the processes that tokenize a corpus do not wait for torch.
"""

from typing import TYPE_CHECKING

from textxfer._lazy import lazy

if TYPE_CHECKING:  # the same names as in _MODULES, for editors and type checkers
    from textxfer.artifact import load_artifact, save_artifact
    from textxfer.batch import Batch, Loaders
    from textxfer.generation import generate
    from textxfer.models import AWDLSTMConfig, ClassifierConfig, LanguageModel, TextClassifier, token_loss
    from textxfer.predict import Predictor
    from textxfer.text import (
        ClassBatches,
        DataError,
        Document,
        LMBatches,
        RulesTokenizer,
        SpacyTokenizer,
        TokenStore,
        Vocab,
        from_frame,
        from_texts,
        read_csv,
        read_folder,
        read_text,
    )
    from textxfer.training import (
        F1,
        Accuracy,
        Callback,
        Cosine,
        ErrorRate,
        History,
        Learner,
        Linear,
        Metric,
        OneCycle,
        Optimizer,
        Order,
        ParamSchedule,
        Perplexity,
        Piecewise,
        SlantedTriangular,
    )

_MODULES = {
    "textxfer.artifact": ["load_artifact", "save_artifact"],
    "textxfer.batch": ["Batch", "Loaders"],
    "textxfer.generation": ["generate"],
    "textxfer.models": ["AWDLSTMConfig", "ClassifierConfig", "LanguageModel", "TextClassifier", "token_loss"],
    "textxfer.predict": ["Predictor"],
    "textxfer.text": [
        "ClassBatches",
        "DataError",
        "Document",
        "LMBatches",
        "RulesTokenizer",
        "SpacyTokenizer",
        "TokenStore",
        "Vocab",
        "from_frame",
        "from_texts",
        "read_csv",
        "read_folder",
        "read_text",
    ],
    "textxfer.training": [
        "F1",
        "Accuracy",
        "Callback",
        "Cosine",
        "ErrorRate",
        "History",
        "Learner",
        "Linear",
        "Metric",
        "OneCycle",
        "Optimizer",
        "Order",
        "ParamSchedule",
        "Perplexity",
        "Piecewise",
        "SlantedTriangular",
    ],
}

__getattr__ = lazy(__name__, _MODULES)

__version__ = "0.1.0"

__all__ = [
    "F1",
    "AWDLSTMConfig",
    "Accuracy",
    "Batch",
    "Callback",
    "ClassBatches",
    "ClassifierConfig",
    "Cosine",
    "DataError",
    "Document",
    "ErrorRate",
    "History",
    "LMBatches",
    "LanguageModel",
    "Learner",
    "Linear",
    "Loaders",
    "Metric",
    "OneCycle",
    "Optimizer",
    "Order",
    "ParamSchedule",
    "Perplexity",
    "Piecewise",
    "Predictor",
    "RulesTokenizer",
    "SlantedTriangular",
    "SpacyTokenizer",
    "TextClassifier",
    "TokenStore",
    "Vocab",
    "from_frame",
    "from_texts",
    "generate",
    "load_artifact",
    "read_csv",
    "read_folder",
    "read_text",
    "save_artifact",
    "token_loss",
]
