"""The experiments at toy size: cells, splits, results that can be gone on with, tables and the page."""

from __future__ import annotations

import gzip
import math
import shutil
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments import __main__ as command
from experiments import cells, published, report, runner
from experiments.cells import Cell, as_json, keep, read_lines
from experiments.summary import Row, compare, rows_of
from experiments.tables import TABLES, Options, cells_of
from experiments.tasks import Task, digest, load_task, parts_of, spread
from tests.programs.toys import TINY, documents, task, write_csv
from textxfer import ulmfit
from textxfer.text import DataError
from textxfer.variants import VARIANTS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set in the place of TREC, and a pretrained pair."""
    folder = tmp_path_factory.mktemp("experiments")
    for split, n in (("train", 60), ("test", 21)):
        text = write_csv(folder / "plain.csv", documents(n, seed=n)).read_bytes()
        path = folder / "data" / "trec" / f"{split}.csv.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(text))
    data = task()
    for backward in (False, True):
        learn = ulmfit.pretrain(data, recipe=TINY, backward=backward)
        ulmfit.save(folder / "pair" / ("backward" if backward else "forward"), learn, data, backward=backward)
    (folder / "pair" / "pair.json").write_text('{"format": 1, "directions": ["forward", "backward"]}')
    load_task.cache_clear()
    return folder


@pytest.fixture
def go(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run the command with a tiny recipe and results in a folder of their own."""
    monkeypatch.setattr(runner, "preset", lambda name: TINY)

    def run(table: str, *arguments: str) -> int:
        given = {"--model": folder / "pair", "--data-root": folder / "data"}
        given |= {"--out": tmp_path / "results", "--cache": folder / "cache"}
        return command.main([table, *(str(part) for pair in given.items() for part in pair), *arguments])

    return run


def results(tmp_path: Path) -> list[dict[str, Any]]:
    return cells.read_lines("trec", tmp_path / "results")


def test_test_error_in_both_directions(go, tmp_path: Path):
    assert go("test-error", "--seeds", "2", "--rows", "ulmfit") == 0
    ours = [line for line in results(tmp_path) if line["cell"]["method"] == "textxfer"]
    assert [line["cell"]["seed"] for line in ours] == [0, 1]
    for line in ours:
        assert set(line["errors"]) == {"forward", "backward"}
        assert (line["labelled"], line["texts"], line["held_out"]) == (60, 60, 21)
        assert 0 <= line["error"] <= 1
        assert line["command"].startswith("python -m experiments test-error --model")
    page = (tmp_path / "README.md").read_text()
    assert "| both directions;" in page
    assert "| 3.60 |" in page


def test_the_baseline(go, tmp_path: Path, capsys):
    pytest.importorskip("sklearn", reason="the baseline needs scikit-learn, of the extra `bench`")
    assert go("low-shot", "--seeds", "1", "--labels", "12", "--rows", "tf-idf") == 0
    assert results(tmp_path)[0]["error"] < 1 / 3
    assert "| TF-IDF + logistic regression |" in (tmp_path / "README.md").read_text()
    assert go("low-shot", "--seeds", "1", "--labels", "2", "--rows", "tf-idf") == 1
    assert "no labelled document of the class" in capsys.readouterr().err


def test_a_second_run_does_what_is_missing(go, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    assert go("classifier-tuning", "--seeds", "1", "--rows", "full", "last") == 0
    first = results(tmp_path)
    assert [line["cell"]["variant"] for line in first] == ["full", "last"]
    ran: list[Cell] = []
    run = runner.run
    monkeypatch.setattr(runner, "run", lambda cell, *rest: ran.append(cell) or run(cell, *rest))
    assert go("classifier-tuning", "--seeds", "1", "--rows", "full", "last", "chain-thaw") == 0
    assert [cell.variant for cell in ran] == ["chain-thaw"]
    assert [line for line in results(tmp_path) if line["cell"]["variant"] != "chain-thaw"] == first
    assert "3 cells, 2 done" in capsys.readouterr().out


def test_another_model_of_the_same_name_is_not_taken_for_the_first(go, folder: Path, tmp_path: Path, capsys):
    model = shutil.copytree(folder / "pair", tmp_path / "model")
    arguments = ("lm-tuning", "--rows", "lm-none", "--epochs", "1", "--model", str(model), "--seeds")
    assert go(*arguments, "1") == 0
    assert go(*arguments, "1") == 0
    data = task()
    learn = ulmfit.pretrain(data, recipe=TINY, seed=1)
    shutil.rmtree(model / "forward")
    ulmfit.save(model / "forward", learn, data)
    with pytest.raises(SystemExit):
        go(*arguments, "2")
    message = f"--model {model}: 1 of the cells in {tmp_path / 'results'} are of another model of that name"
    assert message in " ".join(capsys.readouterr().err.split())
    assert len(results(tmp_path)) == 1


def test_rows_with_the_same_language_model_share_it(go, folder: Path, tmp_path: Path):
    before = {path.name for path in (folder / "cache").glob("*")}
    assert go("classifier-tuning", "--seeds", "1", "--rows", "full+discr", "freez", "--epochs", "1") == 0
    added = {path.name for path in (folder / "cache").glob("*")} - before
    assert len(added) <= 1
    times = {line["seconds"]["forward"]["language_model"] for line in results(tmp_path)}
    assert len(times) == 1


@pytest.mark.parametrize("table", ["pretraining", "lm-quality", "lm-tuning"])
def test_tables_of_the_language_model(go, tmp_path: Path, table: str):
    assert go(table, "--seeds", "1", "--epochs", "1") == 0
    lines = results(tmp_path)
    assert {line["cell"]["split"] for line in lines} == {"valid"}
    assert {line["held_out"] for line in lines} == {6}
    page = (tmp_path / "README.md").read_text()
    assert "pairs of rows stand as in the paper" in page


def test_a_row_without_pretraining_has_no_model_to_start_from(go, tmp_path: Path):
    assert go("classifier-tuning", "--seeds", "1", "--rows", "scratch", "--epochs", "1") == 0
    (line,) = results(tmp_path)
    assert line["model_sha256"] is None
    assert "language_model" not in line["seconds"]["forward"]


def test_low_shot(go, tmp_path: Path):
    rows = ("--rows", "ulmfit", "labelled-only", "scratch")
    assert go("low-shot", "--seeds", "1", "--labels", "12", "30", "--texts", "40", "--epochs", "1", *rows) == 0
    lines = results(tmp_path)
    assert len(lines) == 2 * 3
    assert {(line["cell"]["method"], line["texts"]) for line in lines if line["labelled"] == 12} == {
        ("textxfer", 40),
        ("textxfer", 12),
        ("scratch", 12),
    }
    assert (tmp_path / "results" / "trec-low-shot.png").read_bytes().startswith(b"\x89PNG")


def test_a_dry_run_trains_nothing(go, tmp_path: Path, capsys):
    assert go("classifier-tuning", "--seeds", "2", "--dry-run") == 0
    assert capsys.readouterr().out.count("to do") == 20
    assert not (tmp_path / "results").exists()


def test_a_cell_that_cannot_run_fails_alone(go, tmp_path: Path, capsys):
    assert go("low-shot", "--seeds", "1", "--labels", "9000") == 1
    assert "trec has 60 labelled documents, not 9,000: give fewer --labels" in capsys.readouterr().err
    assert results(tmp_path) == []


def test_unknown_tables_and_data_sets(go, capsys):
    with pytest.raises(SystemExit):
        go("table-7")
    assert "there is no table 'table-7'; there are test-error, low-shot" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        go("low-shot", "--rows", "full")
    assert "has no such row; it has ulmfit, labelled-only, scratch, tf-idf" in capsys.readouterr().err
    assert go("lm-tuning", "--seeds", "1", "--data", "wikipedia-en") == 1
    assert "no such data set with classes" in capsys.readouterr().err


@pytest.mark.parametrize("line", [b'{"cell": ', b"[]", b"", b"\xff\xfe"])
def test_damaged_results_are_named(line: bytes, go, tmp_path: Path, capsys):
    path = cells.path_of("trec", tmp_path / "results")
    path.parent.mkdir()
    path.write_bytes(b'{"cell": {"data": "trec"}}\n' + line + b"\n")
    for table in ("lm-tuning", "report"):
        with pytest.raises(SystemExit):
            go(table)
        assert f"{path}, line 2 is damaged" in capsys.readouterr().err


def test_a_readme_of_something_else_is_left_alone(go, tmp_path: Path, capsys):
    (tmp_path / "README.md").write_text("# My project\n")
    for table in ("lm-tuning", "report"):
        with pytest.raises(SystemExit):
            go(table)
        assert "README.md is there already, and is no page of experiments" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    assert (tmp_path / "README.md").read_text() == "# My project\n"


def small_task() -> Task:
    return Task(documents(90), documents(21, seed=1), documents(30, seed=2, labelled=False))


def test_every_beginning_of_the_order_has_the_mix_of_all():
    train = [document for document in documents(90) if document.label != "number" or document.row % 2]
    share = Counter(document.label for document in train)["number"] / len(train)
    order = spread(train, seed=3)
    assert sorted(order) == list(range(len(train)))
    for n in (15, 30, 60):
        found = sum(train[place].label == "number" for place in order[:n]) / n
        assert abs(found - share) <= 1 / n
    assert spread(train, seed=4) != order


def test_fewer_labels_are_some_of_the_more_and_the_texts_stay():
    few, more = (parts_of(Cell(data="trec", labels=n, texts=50), small_task()) for n in (10, 30))
    assert few.labelled == more.labelled[:10]
    texts = [sorted(digest([type(d)(d.text)]) for d in [*p.labelled, *p.further]) for p in (few, more)]
    assert texts[0] == texts[1]
    assert len(texts[0]) == 50
    assert all(document.label is None for document in few.further)


def test_fewer_texts_than_labelled_documents_are_refused():
    assert len(parts_of(Cell(data="trec", labels=10, texts=10), small_task()).further) == 0
    with pytest.raises(DataError, match=r"reads the 10 labelled documents, so not 9 texts: give at least --texts 10"):
        parts_of(Cell(data="trec", labels=10, texts=9), small_task())


def test_held_out_texts_are_read_only_when_asked_for():
    held_out = {document.text for document in small_task().test}
    plain = parts_of(Cell(data="trec"), small_task())
    assert not held_out & {document.text for document in [*plain.labelled, *plain.further]}
    asked = parts_of(Cell(data="trec", transductive=True), small_task())
    assert held_out <= {document.text for document in asked.further}


def test_a_tenth_of_the_training_documents_is_held_out():
    parts = parts_of(Cell(data="trec", split="valid"), small_task())
    assert (len(parts.labelled), len(parts.held_out), len(parts.further)) == (81, 9, 30)


def test_tables_list_their_cells_once():
    for table in TABLES:
        wanted = cells_of(Options(table=table, seeds=2))
        assert len(set(wanted)) == len(wanted)
    shared = cells_of(Options(table="bidirectionality", seeds=1))
    assert set(shared) < set(cells_of(Options(table="test-error", seeds=1)))


def test_the_paper_has_a_figure_for_every_variant():
    assert set(published.VALIDATION) == set(VARIANTS)


def test_means_and_spreads():
    lines = [
        {"cell": cells.as_json(Cell(data="trec", seed=seed)), "error": error, "total_seconds": 60.0}
        for seed, error in enumerate((0.05, 0.07))
    ]
    (row,) = rows_of(lines)
    assert row.mean == pytest.approx(6)
    assert row.spread == pytest.approx(math.sqrt(2))
    assert str(row) == "6.00 ± 1.41 (2)"


def test_order_of_rows_against_the_papers():
    def row(*errors: float) -> Row:
        return Row(Cell(data="trec"), dict(enumerate(errors)), 1.0)

    rows = {"a": row(5, 6), "b": row(7, 7), "c": row(6, 6.5)}
    order = compare(rows, {"a": 5.0, "b": 6.0, "c": 7.0})
    assert order.agree == 2
    ((better, worse, by, error),) = order.disagree
    assert (better, worse, by) == ("c", "b", 0.75)
    assert error == pytest.approx(0.25)


def test_rows_with_equal_means_do_not_stand_in_the_papers_order():
    def row(*errors: float) -> Row:
        return Row(Cell(data="trec"), dict(enumerate(errors)), 1.0)

    rows = {"a": row(100 * (1 - 0.9), 100 * (1 - 0.8)), "b": row(20, 10), "c": row(30, 30)}
    assert rows["a"].mean != rows["b"].mean  # by rounding alone
    order = compare(rows, {"a": 5.0, "b": 6.0, "c": 7.0})
    assert (order.agree, order.equal, order.disagree) == (2, (("a", "b"),), ())
    (text,) = report._order(rows, {"a": 5.0, "b": 6.0, "c": 7.0}, {"a": "A", "b": "B", "c": "C"})
    assert text == "Order: 2 of 3 pairs of rows stand as in the paper. Equal here, and not there: A and B."


def test_two_commands_keep_their_results_side_by_side(tmp_path: Path) -> None:
    def keep_many(labels: int) -> None:
        for seed in range(20):
            keep({"cell": as_json(Cell(data="trec", labels=labels, seed=seed)), "error": 0.1}, tmp_path)

    with ThreadPoolExecutor(2) as pool:  # as good as two processes: the lock is one of files
        list(pool.map(keep_many, (1, 2)))
    assert len(read_lines("trec", tmp_path)) == 40
    assert [path.name for path in tmp_path.iterdir()] == ["trec.jsonl"]


def test_an_error_of_ours_lets_the_cells_that_run_finish(
    go, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(cell: Cell, *_: Any) -> dict[str, Any]:
        if cell.variant == "last":
            raise RuntimeError("a defect")
        time.sleep(0.5)
        facts = {"labelled": 54, "held_out": 6, "total_seconds": 60.0, "versions": {}}
        return {"cell": as_json(cell), "error": 0.25, **facts}

    monkeypatch.setattr(runner, "run", run)
    monkeypatch.setattr(command, "ProcessPoolExecutor", lambda jobs, *_: ThreadPoolExecutor(jobs))
    with pytest.raises(RuntimeError, match="a defect"):
        go("classifier-tuning", "--seeds", "1", "--jobs", "2", "--rows", "full", "last")
    assert "failed: data trec, variant last" in capsys.readouterr().err
    assert [line["error"] for line in results(tmp_path)] == [0.25]


@pytest.mark.slow
def test_processes_end_with_a_command_that_is_killed(folder: Path, tmp_path: Path) -> None:
    arguments = ["lm-tuning", "--model", folder / "pair", "--data-root", folder / "data", "--out", tmp_path / "results"]
    arguments += ["--cache", tmp_path / "cache", "--seeds", "1", "--jobs", "2", "--lm-epochs", "100000"]
    command = [sys.executable, "-W", "ignore", "-m", "experiments", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        ends = time.monotonic() + 120
        while len(list(tmp_path.glob("cache/*.lock"))) < 2:  # both train
            assert process.poll() is None and time.monotonic() < ends
            time.sleep(0.2)
        process.kill()
        process.communicate(timeout=30)  # to the end of the output, which the processes have in common


def page_of(tmp_path: Path, *found: Cell, errors: tuple[float, ...] = (0.2, 0.3, 0.4, 0.5)) -> str:
    """The page of cells that have these error rates."""
    facts = {"labelled": 12, "held_out": 21, "total_seconds": 60.0, "versions": {"textxfer": "0"}}
    for cell, error in zip(found, errors):
        directions = {"forward": error, "backward": error} if cell.reading == "both" else {cell.reading: error}
        keep({"cell": as_json(cell), "error": error, "errors": directions, **facts}, tmp_path / "results")
    return report.write(tmp_path / "results").read_text()


def test_what_has_read_the_held_out_texts_is_marked_and_takes_no_other_place(tmp_path: Path) -> None:
    plain = Cell(data="trec", labels=100, model="en-small")
    page = page_of(tmp_path, plain, replace(plain, transductive=True))
    assert "| ULMFiT from en-small, all texts, forward | 20.00 (1) |" in page
    assert "| ULMFiT from en-small, all texts and the held-out ones (*transductive*), forward | 30.00 (1) |" in page


def test_few_labels_by_other_recipes_and_readings_have_a_row_of_their_own(tmp_path: Path) -> None:
    plain = Cell(data="trec", labels=100, model="en-small")
    scratch = replace(plain, method="scratch", model=None, texts=0, epochs=30)
    found = [plain, replace(plain, recipe="paper"), scratch, replace(scratch, reading="both")]
    page = page_of(tmp_path, *found)
    for row in (
        "| ULMFiT from en-small, all texts, forward | 20.00 (1) |",
        "| ULMFiT from en-small, all texts, forward, recipe `paper` | 30.00 (1) |",
        "| from scratch, 30 epochs | 40.00 (1) |",
        "| from scratch, 30 epochs, both | 50.00 (1) |",
    ):
        assert row in page


def test_no_pretrained_model_is_called_so(tmp_path: Path) -> None:
    page = page_of(tmp_path, Cell(data="trec", labels=100, texts=50))
    assert "| ULMFiT without pretraining, 50 texts, forward | 20.00 (1) |" in page


def test_ablations_of_another_direction_have_a_table_of_their_own(tmp_path: Path) -> None:
    plain = Cell(data="trec", split="valid", variant="ulmfit", model="en-small")
    other = replace(plain, variant="no-pretraining")
    backward = [replace(cell, reading="backward") for cell in (plain, other)]
    page = page_of(tmp_path, plain, other, *backward)
    assert page.count("### Pretraining (table 4)") == 2
    assert "| Without pretraining | 30.00 (1) | 10.67 | 1.0 |" in page
    assert "pretrained model `en-small`, read backward." in page
    assert "| Without pretraining | 50.00 (1) |  | 1.0 |" in page  # the paper read forward


def test_each_table_has_a_picture_of_its_own(tmp_path: Path) -> None:
    plain = [Cell(data="trec", split="valid", variant=f"lm-{name}", model="en-small") for name in ("none", "full")]
    plain.append(replace(plain[0], variant="ulmfit"))
    found = [*plain, *(replace(cell, lm_epochs=1) for cell in plain)]
    page = page_of(tmp_path, *found, errors=(0.1, 0.2, 0.3, 0.9, 0.8, 0.7))
    pictures = [line.partition("(")[2].rstrip(")") for line in page.splitlines() if line.startswith("![")]
    assert pictures == ["results/trec-table-6.png", "results/trec-table-6-2.png"]
    assert len({(tmp_path / picture).read_bytes() for picture in pictures}) == 2


def test_the_page_says_which_rows_are_at_their_best_epoch(tmp_path: Path) -> None:
    plain = Cell(data="trec", split="valid", variant="ulmfit", model="en-small")
    page = page_of(tmp_path, plain, replace(plain, variant="lm-full"))
    assert "best epoch" not in page
    page = page_of(tmp_path, replace(plain, variant="full"))
    assert page.count("all rows but ULMFiT stop early: they show their best epoch on these same documents") == 1


def test_the_papers_figures_stand_beside_the_same_directions(tmp_path: Path) -> None:
    page = page_of(tmp_path, *(Cell(data="imdb", reading=each) for each in ("both", "forward", "backward")))
    shown = "; recipe `small`, no pretrained model | "
    assert f"| both directions{shown}20.00 (1) | 4.60 |" in page
    assert f"| forward{shown}30.00 (1) | 5.30 |" in page
    assert f"| backward{shown}40.00 (1) |  |" in page


def test_the_page_that_is_committed_is_that_of_the_results(tmp_path: Path):
    for path in cells.RESULTS.glob("*.jsonl"):
        (tmp_path / "results").mkdir(exist_ok=True)
        (tmp_path / "results" / path.name).write_bytes(path.read_bytes())
    page = report.write(tmp_path / "results")
    assert page.read_text() == (cells.RESULTS.parent / "README.md").read_text()


def test_lines_of_before_an_option_was_there_belong_to_the_same_row_and_cell(tmp_path: Path) -> None:
    old = {"cell": {"data": "trec", "seed": 0}, "error": 0.1, "total_seconds": 60.0}
    new = {"cell": as_json(Cell(data="trec", seed=1)), "error": 0.2, "total_seconds": 60.0}
    (row,) = rows_of([old, new])
    assert dict(row.errors) == pytest.approx({0: 10.0, 1: 20.0})
    keep(old, tmp_path)
    keep({**new, "cell": as_json(Cell(data="trec", seed=0))}, tmp_path)
    assert [line["error"] for line in read_lines("trec", tmp_path)] == [0.2]


def test_the_dropouts_of_the_language_model_can_be_scaled() -> None:
    plain, half = runner.recipe_of(Cell(data="imdb")), runner.recipe_of(Cell(data="imdb", lm_dropout=0.5))
    assert half.finetune.dropouts == plain.finetune.dropouts.scaled(0.5)
    assert half.classify == plain.classify
