"""The results as tables: `python -m benchmarks.report` writes benchmarks/README.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks import results
from textxfer.files import write_text

PAGE = Path(__file__).parent / "README.md"
_HEAD = """# Benchmarks

Each suite prints a check of correctness first, times all implementations in turn in one process, round after round, and
writes `results/<suite>-<device>.jsonl`. Ratios are medians over rounds of the same run; memory is that of a further run
in a process of its own, its workers included. Peers come with the extra `bench` and `fastai-requirements.txt`.

```
make bench    # with TEXTXFER_DATA=... the folder of the data sets
```
"""


def tokenize_tables(rows: list[dict[str, Any]]) -> list[str]:
    """Return the part of the page about text to ids."""
    sections: list[tuple[str, str, list[str]]] = [
        (
            "imdb-train",
            "Training reviews of IMDb, from texts to ids; textxfer also hashes the texts and writes a store. The case "
            "says how many reviews.",
            ["case", "impl", "workers", "tokens_per_s", "ratio_to_fastai", "ratio_to_one_worker", "peak_rss_mb"],
        ),
        (
            "wikipedia-en",
            "A corpus streamed from packed files to a store on disk, and a quarter of it.",
            ["case", "workers", "documents", "tokens", "tokens_per_s", "peak_rss_mb"],
        ),
        ("lm-batches", "Batches for language models, 64 lanes, windows of 70.", ["case", "tokens", "tokens_per_s"]),
        (
            "fastai-tokens",
            "Documents whose tokens differ from fastai's: preset `fastai-exact`, and preset `fastai` by cause.",
            ["case", "documents", "exact_differs", *(f"repaired_differs_{c}" for c in ("entities", "case", "other"))],
        ),
    ]
    parts = ["## Text to ids"]
    for prefix, title, columns in sections:
        if found := [row for row in rows if row["case"].startswith(prefix)]:
            parts += [title, results.table(found, columns)]
    versions = ", ".join(f"{name} {value}" for name, value in rows[-1]["versions"].items())
    return [*parts, f"Machine and versions: {versions}."]


def main() -> None:
    """Write the page."""
    parts = [_HEAD.strip()]
    path = results.RESULTS / "tokenize-cpu.jsonl"
    if path.exists():
        parts += tokenize_tables(results.read(path))
    write_text(PAGE, "\n\n".join(parts) + "\n")
    print(f"written to {PAGE}")


if __name__ == "__main__":
    main()
