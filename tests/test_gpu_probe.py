"""How the probes of a GPU are run: without a GPU, and when one of them fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks import gpu_probe, gpu_probes, results
from benchmarks.driver import Options
from benchmarks.gpu_layer import Times
from benchmarks.gpu_probes import Line


def good(options: Options) -> Iterator[Line]:
    yield "first", Times([0.002, 0.004, 0.003], [0.001, 0.001, 0.001]), {"same": True}
    yield "second", None, {"kernels": ["a", "b"]}


def bad(options: Options) -> Iterator[Line]:
    yield "before", None, {}
    raise RuntimeError("cuDNN says no")


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_probes, "PROBES", (bad, good))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a card")


def test_without_a_gpu_nothing_is_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    gpu_probe.run_suite(Options(out=tmp_path))
    assert "gpu_probe needs a CUDA GPU" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_a_probe_that_fails_leaves_its_error_and_the_others_go_on(probes: None, tmp_path: Path) -> None:
    gpu_probe.run_suite(Options(device="cuda", out=tmp_path))
    before, error, first, second = results.read(tmp_path / "gpu_probe-cuda.jsonl")
    assert (before["case"], before["impl"], before["versions"]["gpu"]) == ("bad", "before", "a card")
    assert (error["impl"], error["error"]) == ("error", "RuntimeError: cuDNN says no")
    assert (first["median_ms"], first["min_ms"], first["host_ms"], first["same"]) == (3.0, 2.0, 1.0, True)
    assert second["kernels"] == ["a", "b"]


def test_an_error_that_leaves_the_gpu_unusable_is_written(
    probes: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unusable() -> None:
        raise RuntimeError("an illegal memory access was encountered")

    monkeypatch.setattr(torch.cuda, "empty_cache", unusable)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        gpu_probe.run_suite(Options(device="cuda", out=tmp_path))
    assert [line["impl"] for line in results.read(tmp_path / "gpu_probe-cuda.jsonl")] == ["before", "error"]


def test_some_probes_and_a_limit(probes: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gpu_probe.run_suite(Options(quick=True, only=("good",), seconds=1e-9, out=tmp_path))
    output = capsys.readouterr().out
    assert "good, first: median_ms 3.0, same True" in output
    assert "cut short" in output
    assert "second" not in output
    assert not list(tmp_path.iterdir())


def test_every_probe_says_what_it_is() -> None:
    assert all(probe.__doc__ for probe in gpu_probes.PROBES)
