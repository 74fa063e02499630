"""The tables and the picture of nbs/reference/scale.md: `python -m benchmarks.scale_page` writes them anew.

They are made from the lines that `python -m benchmarks.scaling` has written. The prose around them stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import results, scale_model
from benchmarks.scale_model import Link, Training
from benchmarks.scaling import FULL, link_of, training_of
from textxfer.files import write_text
from textxfer.plots import save_figure
from textxfer.training.figures import MARKERS, STYLES, legend, log_ticks, new_axes

PAGE = Path(__file__).parents[1] / "nbs" / "reference" / "scale.md"
BEGIN, END = "<!-- {}: written by python -m benchmarks.scale_page -->", "<!-- end -->"
NETWORKS: Mapping[str, Link] = {
    "10 Gbit/s, assumed": Link(50e-6, 1.25e9),
    "1 Gbit/s, assumed": Link(100e-6, 0.125e9),
}
"""Networks between hosts, of which there were none to measure: what such a network is sold as."""

Rows = Sequence[Mapping[str, Any]]


def read() -> list[dict[str, Any]]:
    """Return the result lines."""
    return results.read(results.RESULTS / "scaling-cpu.jsonl")


def links(rows: Rows) -> dict[str, Link]:
    """Return the links to reckon with, the measured one first."""
    return {"one machine, measured": link_of(rows), **NETWORKS}


def parts(rows: Rows) -> dict[str, str]:
    """Return the tables by their names on the page."""
    found = {"steps": _steps(rows), "sums": _sums(rows), "networks": _networks(rows)}
    for model in FULL:
        found[model] = _markdown(scale_model.table(training_of(rows, model), link_of(rows)))
    return found


def filled(page: str, tables: Mapping[str, str]) -> str:
    """Return the page with its tables written anew.

    Args:
        page: Its text; each table stands between two comments.
        tables: The tables by name.

    Raises:
        ValueError: The page has no place for one of them.
    """
    for name, table in tables.items():
        before, begin, rest = page.partition(BEGIN.format(name))
        _, end, after = rest.partition(END)
        if not begin or not end:
            raise ValueError(f"the page has no place for the table {name!r}: {BEGIN.format(name)} ... {END}")
        page = f"{before}{begin}\n\n{table}\n\n{end}{after}"
    return page


def draw(rows: Rows, path: Path) -> Path:
    """Draw the efficiency by number of processes, of both models over each link."""
    ax = new_axes(height=4.0)
    worlds = scale_model.WORLDS
    for colour, model in enumerate(FULL):
        training = training_of(rows, model)
        for style, (name, link) in enumerate(links(rows).items()):
            shares = [100 * training.efficiency(link, world) for world in worlds]
            look = {"color": f"C{colour}", "linestyle": STYLES[style], "marker": MARKERS[style], "markersize": 4}
            ax.plot(worlds, shares, label=f"{model}, {name.partition(',')[0]}", **look)
    ax.set(xscale="log", xlabel="processes", ylabel="efficiency, %", ylim=(0, 103))
    log_ticks(ax.xaxis)
    ax.minorticks_off()
    ax.set_xticks(list(worlds), [str(world) for world in worlds])
    legend(ax)
    return save_figure(ax, path)


def _steps(rows: Rows) -> str:
    return _markdown(
        {
            "model": row["model"],
            "processes": row["workers"],
            "lanes of each": row["tokens"] // 70 // row["workers"],
            "step, ms": f"{row['median_ms']:,.0f}",
            "quartiles apart by": f"{row['iqr_ms']:,.0f}",
            "model says": f"{row['predicted_ms']:,.0f}" if "predicted_ms" in row else "",
            "tokens/s": f"{row['tokens_per_s']:,}",
        }
        for row in sorted((row for row in rows if "model" in row), key=lambda row: list(FULL).index(row["model"]))
    )


def _sums(rows: Rows) -> str:
    link = link_of(rows)
    return _markdown(
        {
            "bytes": f"{row['bytes']:,}",
            "measured, ms": f"{row['median_ms']:.3g}",
            "model says": f"{1000 * link.sum_seconds(row['bytes'], 2):.3g}",
        }
        for row in rows
        if "bytes" in row
    )


def _networks(rows: Rows) -> str:
    return _markdown(
        _over(training_of(rows, model), name, link, world)
        for model in FULL
        for name, link in links(rows).items()
        for world in (8, 64)
    )


def _over(training: Training, name: str, link: Link, world: int) -> dict[str, Any]:
    needed = training.accumulation(link, world)
    return {
        "model": training.name,
        "network": name,
        "processes": world,
        "efficiency": f"{100 * training.efficiency(link, world):.0f} %",
        "hours": f"{training.hours(link, world):,.1f}",
        "batches for 90 %": needed or "never",
        "hours then": f"{training.hours(link, world, needed):,.1f}" if needed else "",
    }


def _markdown(rows: Any) -> str:
    rows = list(rows)
    columns = list(rows[0])
    lines = [f"| {' | '.join(columns)} |", f"| {' | '.join('---:' if n else '---' for n in range(len(columns)))} |"]
    return "\n".join([*lines, *(f"| {' | '.join(_cell(row[name]) for name in columns)} |" for row in rows)])


def _cell(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def main() -> None:
    """Write the tables into the page and draw its picture."""
    rows = read()
    write_text(PAGE, filled(PAGE.read_text(encoding="utf-8"), parts(rows)))
    print(f"written to {PAGE} and {draw(rows, PAGE.with_name('scale.svg'))}")


if __name__ == "__main__":
    main()
