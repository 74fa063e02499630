"""Result lines of all suites: `benchmarks/results/<suite>-<device>.jsonl`, one JSON object a line."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from textxfer.files import write_text

RESULTS = Path(__file__).parent / "results"
_PACKAGES = (
    "textxfer",
    "torch",
    "numpy",
    "spacy",
    "fastai",
    "tokenizers",
    "scikit-learn",
    "transformers",
    "triton",
    "liger-kernel",
)


def row(suite: str, case: str, impl: str, seconds: Sequence[float], **figures: Any) -> dict[str, Any]:
    """Return a result line.

    Args:
        suite: The suite.
        case: What was measured.
        impl: Whose implementation.
        seconds: Wall time of each round.
        figures: Further fields; `device` if it is not the CPU.
    """
    middle = sorted(seconds)
    spread = quantiles(middle, n=4)[2] - quantiles(middle, n=4)[0] if len(middle) > 1 else 0.0
    device = figures.get("device", "cpu")
    times = {"rounds": len(middle), "median_ms": round(1000 * median(middle), 2), "iqr_ms": round(1000 * spread, 2)}
    return {
        "suite": suite,
        "case": case,
        "impl": impl,
        "device": device,
        **times,
        **figures,
        "versions": versions(device),
    }


def write(suite: str, rows: Iterable[dict[str, Any]], device: str = "cpu", folder: Path = RESULTS) -> Path:
    """Write the lines of a suite; lines of the same case and implementation that are there already are replaced."""
    rows = list(rows)
    path = folder / f"{suite}-{device}.jsonl"
    new = {_key(each) for each in rows}
    kept = [each for each in read(path) if _key(each) not in new] if path.exists() else []
    write_text(path, "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in [*kept, *rows]))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    """Read result lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def has(suite: str, case: str, device: str, *folders: Path) -> bool:
    """Whether one of the folders has a result of a case that is not an error."""
    paths = (folder / f"{suite}-{device}.jsonl" for folder in folders)
    lines = (line for path in paths if path.exists() for line in read(path))
    return any(line["case"] == case and "error" not in line for line in lines)


def table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> str:
    """Return lines as a Markdown table."""
    lines = [f"| {' | '.join(columns)} |", f"| {' | '.join('---' for _ in columns)} |"]
    lines += [f"| {' | '.join(_cell(each.get(column)) for column in columns)} |" for each in rows]
    return "\n".join(lines)


def versions(device: str = "cpu") -> dict[str, str]:
    """Return the versions and the machine that results depend on."""
    found = {"python": platform.python_version(), "cpu": _cpu()}
    if device == "cuda":
        import torch

        found |= {"gpu": torch.cuda.get_device_name(), "cuda": str(torch.version.cuda)}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _key(line: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(line.get(name) for name in ("suite", "case", "impl", "workers"))


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)
