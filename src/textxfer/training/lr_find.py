"""The learning rate finder (Smith 2017): a short training in which the rate grows from step to step."""

from __future__ import annotations

import copy
import math
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from textxfer.batch import Batch, Loader, Loaders, batches_from, epoch_length
from textxfer.training.callback import Callback, Order
from textxfer.training.figures import BLUE, GREEN, ORANGE, legend, new_axes
from textxfer.training.history import History
from textxfer.training.metric import MetricGroup
from textxfer.training.metrics import Loss
from textxfer.training.param_schedule import ParamSchedule
from textxfer.training.state import capture, restore

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from textxfer.training.learner import Learner
