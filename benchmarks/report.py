"""The results as tables: `python -m benchmarks.report` writes benchmarks/README.md and the table of the README."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import results, summary
from benchmarks.tables import TABLES, Table
from textxfer.files import write_text

PAGE = Path(__file__).parent / "README.md"
_HEAD = """# Benchmarks

Each suite prints a check of correctness first, times all implementations in turn in one process, round after round, and
writes `results/<suite>-<device>.jsonl`. A peer that fails the check, or raises, is left out. Memory is that of a
further run in a process of its own, its workers included; on a GPU it is the largest amount allocated. Peers come with
the extra `bench` and `fastai-requirements.txt`.

```
make bench        # on the CPU, with TEXTXFER_DATA=... the folder of the data sets
make bench-gpu    # on a GPU; what was cut short another time: make bench-gpu ARGS=--missing
python -m benchmarks lm_step --quick    # one suite, tiny, nothing written
```

In all tables `median_ms` is the median time of a round and `iqr_ms` the distance of its quartiles. `ratio_to_<peer>` is
the time of the peer's fastest variant over the own, above 1 if ours is faster: the median over rounds of the ratio
within each round, in brackets the quartiles. `ceiling_share` is the share of the rate of one large matrix product, in
the same dtype and run, that the case's matrix products alone would need, or, for DistilBERT, its own; `rel_err...` the
relative error against float64 that was measured before.
"""
_KINDS = {"cpu": "", "cpu-fp32": ", CPU without bfloat16", "cuda": ", GPU"}


def section(title: str, tables: Sequence[Table], folder: Path = results.RESULTS) -> list[str]:
    """Return the paragraphs of a section: its tables for each kind of device, with the machines they come from."""
    parts: list[str] = []
    for kind, name in _KINDS.items():
        path = folder / f"{tables[0].suite}-{kind}.jsonl"
        if not path.exists():
            continue
        lines = results.read(path)
        parts.append(f"## {title}{name}")
        for table in tables:
            if rows := [_with_quartiles(line) for line in lines if line["case"].startswith(table.prefix)]:
                shown = [column for column in table.columns if any(row.get(column) is not None for row in rows)]
                parts += [table.text, results.table(rows, shown)]
        parts += _machines(lines)
    return parts


def _with_quartiles(line: dict[str, Any]) -> dict[str, Any]:
    """Return the line with each ratio as one cell: the median and, in brackets, the quartiles."""
    row = dict(line)
    for name, value in line.items():
        if f"{name}_q1" in line:
            row[name] = f"{value:.3g} ({line[f'{name}_q1']:.3g} to {line[f'{name}_q3']:.3g})"
    return row


def _machines(lines: Sequence[dict[str, Any]]) -> list[str]:
    """Return the different machines and versions that the lines come from."""
    described = (", ".join(f"{name} {value}" for name, value in line["versions"].items()) for line in lines)
    threads = sorted({line["threads"] for line in lines if "threads" in line})
    beside = f"; {' or '.join(map(str, threads))} threads" if threads else ""
    return [f"Machine and versions: {each}{beside}." for each in dict.fromkeys(described)]


def main() -> None:
    """Write the page and the table."""
    parts = [_HEAD.strip()]
    for title, tables in TABLES.items():
        parts += section(title, tables)
    write_text(PAGE, "\n\n".join(parts) + "\n")
    summary.write()
    print(f"written to {PAGE} and {summary.README}")


if __name__ == "__main__":
    main()
