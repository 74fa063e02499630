"""The training framework: knows nothing of text or LSTMs."""

from textxfer.chance import own_generator
from textxfer.training.callback import Callback, Order
from textxfer.training.checkpoint import checkpoints
from textxfer.training.groups import LayerGroup, Optimizer
from textxfer.training.history import History
from textxfer.training.learner import Learner
from textxfer.training.lr_find import LRFinderResult
from textxfer.training.metrics import F1, Accuracy, ErrorRate, Loss, Mean, Metric, Perplexity
from textxfer.training.param_schedule import ParamSchedule
from textxfer.training.schedule import (
    Constant,
    Cosine,
    Linear,
    OneCycle,
    Piecewise,
    Schedule,
    SlantedTriangular,
    schedule_from_dict,
)
from textxfer.training.seeds import set_seed
from textxfer.training.state import CheckpointError
from textxfer.training.step import Progress, Step, StepError

__all__ = [
    "F1",
    "Accuracy",
    "Callback",
    "CheckpointError",
    "Constant",
    "Cosine",
    "ErrorRate",
    "History",
    "LRFinderResult",
    "LayerGroup",
    "Learner",
    "Linear",
    "Loss",
    "Mean",
    "Metric",
    "OneCycle",
    "Optimizer",
    "Order",
    "ParamSchedule",
    "Perplexity",
    "Piecewise",
    "Progress",
    "Schedule",
    "SlantedTriangular",
    "Step",
    "StepError",
    "checkpoints",
    "own_generator",
    "schedule_from_dict",
    "set_seed",
]
