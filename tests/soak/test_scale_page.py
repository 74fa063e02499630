"""The tables and the picture of the page on scale, from lines as the benchmark writes them."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import scale_page
from benchmarks.scale_page import BEGIN, END, PAGE, draw, filled, parts
from benchmarks.scaling import FULL, link_of, predict, training_of


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    """Lines of both models, for a link of 1 ms and 1 GB/s."""
    found: list[dict[str, Any]] = []
    for model, seconds, megabytes in (("en-small", 0.1, 20.0), ("en-base", 1.0, 130.0)):
        tokens = 70 * FULL[model].batch
        alone = {"case": "lm-step", "model": model, "workers": 1, "median_ms": 1000 * seconds, "tokens": tokens}
        found.append(alone | {"iqr_ms": 1.0, "tokens_per_s": round(tokens / seconds)})
        two = {"case": "weak-lm-step", "workers": 2, "tokens": 2 * tokens, "sum_mb": megabytes}
        found.append(found[-1] | two | {"tokens_per_s": round(1.5 * tokens / seconds)})
    sums = (4_000, 4_000_000, 400_000_000)
    found += [{"case": f"all-reduce-{size}", "bytes": size, "median_ms": 2 + size / 1e6} for size in sums]
    predict(found)
    return found


def test_what_is_read_from_the_lines(rows: list[dict[str, Any]]) -> None:
    link, training = link_of(rows), training_of(rows, "en-base")
    assert (link.latency, link.bandwidth) == (pytest.approx(1e-3), pytest.approx(1e9))
    assert (training.seconds, training.tokens, training.gradients) == (1.0, 2240, 130_000_000)
    step = 1000 + 130 + 2 + 3 * 2  # two messages of the batch, one of the update
    assert rows[3]["predicted_ms"] == pytest.approx(step, abs=0.1)
    assert "predicted_ms" not in rows[0]


def test_a_table_for_each_place_of_the_page(rows: list[dict[str, Any]]) -> None:
    tables = parts(rows)
    page = filled(PAGE.read_text(encoding="utf-8"), tables)
    assert all(table in page for table in tables.values())
    assert filled(page, tables) == page
    assert tables["en-base"].splitlines()[2].startswith("| 1 | 1,000 | 0 | 2,240 | 100 % |")
    assert "| 4,000,000 | 6 | 6 |" in tables["sums"]
    with pytest.raises(ValueError, match="no place for the table 'sums'"):
        filled(f"{BEGIN.format('steps')} {END}", {"steps": "", "sums": ""})


def test_a_picture_of_each_model_over_each_link(rows: list[dict[str, Any]], tmp_path) -> None:
    assert draw(rows, tmp_path / "scale.svg").stat().st_size > 10_000
    assert next(iter(scale_page.links(rows))) == "one machine, measured"


def test_the_page_has_the_figures_that_were_measured() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert filled(page, parts(scale_page.read())) == page
