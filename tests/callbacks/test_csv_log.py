"""One file, one header, one row per epoch, whatever happens."""

from __future__ import annotations

import csv

import pytest

from tests.callbacks.toys import Planned, fail, lm_learner, on
from textxfer.callbacks import CSVLog, SaveEvery
from textxfer.training import Accuracy, Perplexity


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def epochs(path):
    return [(int(row["fit"]), int(row["epoch"])) for row in rows(path)]


def test_rate_finder_validation_and_two_fits(tmp_path):
    """In fastai the first two empty the file (features.md, d 5)."""
    path = tmp_path / "log.csv"
    learn = lm_learner(CSVLog(path), metrics=[Perplexity()])
    learn.lr_find(n_steps=4)
    assert not path.exists()
    learn.fit(2, 1e-3)
    learn.validate()
    learn.lr_find(n_steps=4)
    learn.predict(learn.loaders.train)
    learn.fit_one_cycle(1, 1e-3)
    assert epochs(path) == [(0, 0), (0, 1), (1, 0)]
    assert path.read_text().count("train_loss") == 1
    for row, expected in zip(rows(path), learn.history):
        assert row.keys() == expected.keys()
        assert all(float(row[name]) == expected[name] for name in expected)


def test_what_others_write_after_the_rate_finder_stays(tmp_path):
    path = tmp_path / "log.csv"
    learn = lm_learner(CSVLog(path))
    learn.fit(1, 1e-3)
    learn.lr_find(n_steps=4)
    lm_learner(CSVLog(path)).fit(2, 1e-3)
    learn.fit(1, 1e-3)
    assert epochs(path) == [(0, 0), (0, 0), (0, 1), (1, 0)]


def test_rows_are_there_as_soon_as_the_epoch_is_done(tmp_path):
    path, seen = tmp_path / "log.csv", []
    lm_learner(CSVLog(path), on("after_epoch", lambda learn: seen.append(len(rows(path))))).fit(3, 1e-3)
    assert seen == [1, 2, 3]


def test_an_error_keeps_what_was_written(tmp_path):
    path = tmp_path / "log.csv"
    learn = lm_learner(
        CSVLog(path), on("before_epoch", lambda learn: fail(learn) if learn.progress.epoch == 2 else None)
    )
    with pytest.raises(Planned):
        learn.fit(3, 1e-3)
    learn.callbacks.pop()
    learn.fit(1, 1e-3)
    assert epochs(path) == [(0, 0), (0, 1), (1, 0)]


def test_an_existing_file_is_continued(tmp_path):
    path = tmp_path / "log.csv"
    for _ in range(2):
        lm_learner(CSVLog(path)).fit(1, 1e-3)
    assert epochs(path) == [(0, 0), (0, 0)]
    assert path.read_text().count("train_loss") == 1


def test_a_new_column_is_added(tmp_path):
    path = tmp_path / "log.csv"
    lm_learner(CSVLog(path)).fit(1, 1e-3)
    lm_learner(CSVLog(path), metrics=[Accuracy()]).fit(1, 1e-3)
    lm_learner(CSVLog(path)).fit(1, 1e-3)
    first, second, third = rows(path)
    assert list(first) == ["fit", "epoch", "train_loss", "valid_loss", "seconds", "accuracy"]
    assert first["accuracy"] == third["accuracy"] == "" != second["accuracy"]
    assert first["valid_loss"] and third["seconds"]


def test_an_epoch_that_was_stopped_has_empty_cells(tmp_path):
    path = tmp_path / "log.csv"
    stop = on("after_batch", lambda learn: learn.stop() if learn.progress.epoch else None)
    lm_learner(CSVLog(path), stop).fit(3, 1e-3)
    assert epochs(path) == [(0, 0), (0, 1)]
    assert rows(path)[0]["valid_loss"] and not rows(path)[1]["valid_loss"]


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_line_that_a_crash_cut_off_is_dropped(cut, tmp_path):
    path = tmp_path / "log.csv"
    learn = lm_learner(CSVLog(path))
    learn.fit(2, 1e-3)
    whole = path.read_text()
    path.write_text(whole[:-cut])
    learn.fit(1, 1e-3)
    assert epochs(path) == [(0, 0), (1, 0)]
    assert path.read_text().startswith(whole[: whole.index("\n0,1,") + 1])


@pytest.mark.parametrize("keeps", [True, False], ids=["same file", "file lost"])
def test_a_resumed_run_has_each_epoch_once(keeps, tmp_path):
    """The interrupted run had written two epochs more than the state that the run goes on from."""
    path, states = tmp_path / "log.csv", tmp_path / "states"

    def save(learn):
        if (learn.progress.epoch, learn.progress.batch) == (1, 1):
            learn.save(states)
        if learn.progress.epoch == 3:
            fail(learn)

    lm_learner(CSVLog(path)).fit(1, 1e-3)  # an earlier run's row stays
    with pytest.raises(Planned):
        lm_learner(CSVLog(path), on("after_batch", save, train_only=True)).fit(5, 1e-3)
    assert epochs(path) == [(0, 0), (0, 0), (0, 1), (0, 2)]
    if not keeps:
        path.unlink()
    learn = lm_learner(CSVLog(path))
    learn.resume(states)
    learn.fit(5, 1e-3)
    old = [(0, 0), (0, 0)] if keeps else []
    assert epochs(path) == [*old, (0, 1), (0, 2), (0, 3), (0, 4)]


def test_a_run_resumed_from_the_end_of_an_epoch_keeps_its_row(tmp_path):
    """The state must know of the row of the epoch after which it is saved, whatever the order of the list."""
    path, states = tmp_path / "log.csv", tmp_path / "states"

    def learner(*callbacks):
        return lm_learner(SaveEvery(states), CSVLog(path), *callbacks)

    with pytest.raises(Planned):
        learner(on("before_epoch", lambda learn: fail(learn) if learn.progress.epoch == 2 else None)).fit(3, 1e-3)
    learn = learner()
    learn.resume(states)
    learn.fit(3, 1e-3)
    assert epochs(path) == [(0, 0), (0, 1), (0, 2)]


@pytest.mark.parametrize("before", [0, 1])
def test_a_run_resumed_from_a_state_between_fits_has_each_epoch_once(before, tmp_path):
    path, states = tmp_path / "log.csv", tmp_path / "states"
    lm_learner(CSVLog(path)).fit(1, 1e-3)  # an earlier run's row stays
    learn = lm_learner(
        CSVLog(path), on("before_epoch", lambda learn: fail(learn) if learn.progress.epoch == 2 else None)
    )
    for _ in range(before):
        learn.fit(1, 1e-3)
    learn.save(states)
    with pytest.raises(Planned):
        learn.fit(3, 1e-3)
    again = lm_learner(CSVLog(path))
    again.resume(states)
    again.lr_find(n_steps=3)
    again.fit(3, 1e-3)
    assert epochs(path) == [(0, 0), *[(0, 0)] * before, (before, 0), (before, 1), (before, 2)]


def test_what_another_learner_has_written_stays(tmp_path):
    path = tmp_path / "log.csv"
    one, other = lm_learner(CSVLog(path)), lm_learner(CSVLog(path))
    one.fit(1, 1e-3)
    other.fit(2, 1e-3)
    one.lr_find(n_steps=3)
    one.fit(1, 1e-3)
    assert epochs(path) == [(0, 0), (0, 0), (0, 1), (1, 0)]


def test_the_folder_is_made(tmp_path):
    path = tmp_path / "a" / "b" / "log.csv"
    lm_learner(CSVLog(path)).fit(1, 1e-3)
    assert len(rows(path)) == 1
