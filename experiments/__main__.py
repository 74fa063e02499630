"""`python -m experiments TABLE ...` runs what a table lacks; `python -m experiments report` writes the page."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from multiprocessing import get_context

from experiments import cells, report, runner
from experiments.cells import Cell, Line
from experiments.tables import TABLES, Options, cells_of
from textxfer.artifact import ArtifactError
from textxfer.options import add_options, parse
from textxfer.text import DataError

_EXPECTED = (DataError, ArtifactError, ImportError)
"""What a cell may fail by, so that the others go on; any other error is ours and ends the command."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return the exit code: 0, 1 if a cell failed, 2 for options that cannot be used."""
    typed = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(prog="python -m experiments", description=__doc__)
    add_options(parser, Options)
    options = parse(Options, parser.parse_args(typed))
    if options.table not in (*TABLES, "report"):
        parser.error(f"there is no table {options.table!r}; there are {', '.join(TABLES)}, and report")
    try:
        report.page_of(options.out)  # refused now, not when hours are over
        if options.table == "report":
            report.write(options.out)
            return 0
        wanted = cells_of(options)
        done = cells.done(wanted, options.out)
        runner.check_models(done, options.out)
    except _EXPECTED as error:
        parser.error(str(error))
    to_do = [cell for cell in wanted if cell not in done]
    print(f"{options.table}: {len(wanted)} cells, {len(wanted) - len(to_do)} done", flush=True)
    if options.dry_run:
        for cell in wanted:
            print(f"{'to do' if cell in to_do else 'done '}  {cell}")
        return 0
    failed = _run_all(to_do, options, f"python -m experiments {' '.join(typed)}")
    report.write(options.out)
    return 1 if failed else 0


def _run_all(to_do: Sequence[Cell], options: Options, command: str) -> int:
    """Run cells, write each result as soon as it is there, and return how many failed."""
    failed = 0
    results = _in_turn(to_do, options, command) if options.jobs == 1 else _side_by_side(to_do, options, command)
    for number, (cell, result) in enumerate(results, 1):
        if isinstance(result, Exception):
            failed += 1
            print(f"{number}/{len(to_do)}  failed: {cell}: {result}", file=sys.stderr, flush=True)
        else:
            cells.keep(result, options.out)
            minutes = result["total_seconds"] / 60
            print(f"{number}/{len(to_do)}  error {result['error']:.2%}, {minutes:.1f} min: {cell}", flush=True)
    return failed


def _in_turn(to_do: Sequence[Cell], options: Options, command: str) -> Iterator[tuple[Cell, Line | Exception]]:
    for cell in to_do:
        try:
            yield cell, runner.run(cell, options.data_root, options.cache, command)
        except _EXPECTED as error:
            yield cell, error


def _side_by_side(to_do: Sequence[Cell], options: Options, command: str) -> Iterator[tuple[Cell, Line | Exception]]:
    threads = max((os.cpu_count() or 1) // options.jobs, 1)
    # Started anew, not forked: torch's threads do not survive a fork.
    pool = ProcessPoolExecutor(options.jobs, get_context("spawn"), runner.begin_process, (threads,))
    with pool:
        futures: dict[Future[Line], Cell] = {
            pool.submit(runner.run, cell, options.data_root, options.cache, command): cell for cell in to_do
        }
        unexpected: Exception | None = None
        try:
            for future in as_completed(futures):
                if future.cancelled():
                    continue
                try:
                    yield futures[future], future.result()
                except _EXPECTED as error:
                    yield futures[future], error
                except Exception as error:  # one of ours: no more cells are given out, but those that run are kept
                    unexpected = unexpected or error
                    for other in futures:
                        other.cancel()
                    yield futures[future], error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    if unexpected is not None:
        raise unexpected


if __name__ == "__main__":
    sys.exit(main())
