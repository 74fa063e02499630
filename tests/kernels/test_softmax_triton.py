"""The kernel on a GPU; without one, where Triton is installed, in its interpreter and as the code it compiles to."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest
import torch

CASES = [
    (dtype, tolerance, vocab)
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 4e-3))
    for vocab in (1, 100, 4096, 60_001)
]
COMPILE = """
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from textxfer.kernels.softmax_triton import _BLOCK, _WARPS, _softmax

signature = {"logits": "*bf16", "target": "*i64", "losses": "*fp32", "n_words": "i32", "BLOCK": "constexpr"}
source = ASTSource(fn=_softmax, signature=signature, constexprs={"BLOCK": _BLOCK})
print(compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": _WARPS}).asm["ptx"])
"""


def compare(device: str | torch.device, dtype: torch.dtype, tolerance: float, vocab: int) -> None:
    """Compare losses and probabilities with torch's in float64."""
    from textxfer.kernels.softmax_triton import softmax_in_place

    logits = (4 * torch.randn(33, vocab, device=device)).to(dtype)
    target = torch.randint(0, vocab, (33,), device=device)
    logits[1, target[1]] = -300 if vocab > 1 else 0
    p = logits.clone()
    losses = softmax_in_place(p, target)
    expected = torch.nn.functional.cross_entropy(logits.double(), target, reduction="none")
    torch.testing.assert_close(losses.double(), expected, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(p.double(), logits.double().softmax(dim=1), rtol=0, atol=tolerance)


def run_without_gpu(folder: Path, *arguments: str, **settings: str) -> str:
    """Run Python, which Triton's settings must stand in the environment of; return what it printed."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU, which runs the kernel itself")
    if find_spec("triton") is None:
        pytest.skip("Triton is not installed")
    environment = {**os.environ, "TRITON_CACHE_DIR": str(folder), **settings}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if "only 0-dimensional arrays can be converted" in done.stderr:
        pytest.skip("the interpreter of this Triton does not work with this NumPy")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.cuda
@pytest.mark.parametrize("dtype, tolerance, vocab", CASES)
def test_equals_torchs_functions(gpu: torch.device, dtype: torch.dtype, tolerance: float, vocab: int) -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    compare(gpu, dtype, tolerance, vocab)


@pytest.mark.cuda
def test_runs_where_the_logits_are_whatever_the_current_device_is(gpu: torch.device) -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    if torch.cuda.device_count() < 2:
        pytest.skip("there is one CUDA GPU, and this needs two")
    compare(torch.device("cuda", 1), torch.float32, 1e-5, 100)


def test_the_launch_is_on_the_device_of_the_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[object] = []

    @contextmanager
    def device_of(tensor: torch.Tensor) -> Iterator[None]:
        events.append(tensor)
        yield
        events.append("back")

    triton, language = ModuleType("triton"), ModuleType("triton.language")
    triton.language = language  # type: ignore[attr-defined]
    triton.jit = lambda kernel: {(2,): lambda *_, **options: events.append("launch")}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "triton", triton)
    monkeypatch.setitem(sys.modules, "triton.language", language)
    monkeypatch.delitem(sys.modules, "textxfer.kernels.softmax_triton", raising=False)
    monkeypatch.setattr(torch.cuda, "device_of", device_of)
    logits = torch.zeros(2, 3)
    import_module("textxfer.kernels.softmax_triton").softmax_in_place(logits, torch.zeros(2, dtype=torch.int64))
    del sys.modules["textxfer.kernels.softmax_triton"]  # made of stand-ins
    assert events == [logits, "launch", "back"]


def test_equals_torchs_functions_in_the_interpreter(tmp_path: Path) -> None:
    printed = run_without_gpu(tmp_path, __file__, TRITON_INTERPRET="1")
    assert printed.split() == ["compared"] * len(CASES)


def test_the_targets_logit_is_read_before_anything_can_overwrite_it(tmp_path: Path) -> None:
    code = run_without_gpu(tmp_path, "-c", COMPILE)
    # Those of the target's id and of its logit are the only loads without a mask.
    places = [found.start() for found in re.finditer(r"^\s*ld\.global", code, re.MULTILINE)]
    assert len(places) == 2
    assert max(places) < code.index("bar.sync")


if __name__ == "__main__":  # for the interpreter, which is chosen when Triton is imported
    torch.manual_seed(0)
    for case in CASES:
        compare("cpu", *case)
        print("compared")
