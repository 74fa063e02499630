"""What all tests share: one or two threads, fixed seeds, no display, and where the real data are."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]

os.environ.setdefault("MPLBACKEND", "Agg")
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or min(2, os.cpu_count() or 1)))


@pytest.fixture(autouse=True)
def _seeds() -> None:
    """Start every test from the same state of the global generators, whatever ran before it."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - the state that checkpoints save is this one
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the real data sets; the test is skipped where they are absent. Mark such tests with `data`."""
    configured = os.environ.get("TEXTXFER_DATA")
    folder = Path(configured) if configured else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the real data are not at {folder}; TEXTXFER_DATA can say where they are")
    return folder


@pytest.fixture
def gpu() -> torch.device:
    """The CUDA GPU; the test is skipped where there is none. Mark such tests with `cuda`."""
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA GPU")
    return torch.device("cuda")
