"""The training framework: knows nothing of text or LSTMs."""

from textxfer.training.callback import Callback, Order, Progress, Step, StepError
from textxfer.training.checkpoint import checkpoints
from textxfer.training.groups import LayerGroup, Optimizer
from textxfer.training.history import History
from textxfer.training.learner import Learner
from textxfer.training.state import CheckpointError, set_seed
