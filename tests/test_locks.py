from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from textxfer import locks
from textxfer.locks import alone, hold

pytestmark = pytest.mark.skipif(locks.fcntl is None, reason="needs locks")


def test_one_at_a_time_and_no_error_when_the_file_goes_away_in_between(tmp_path):
    inside, most = [], 0

    def enter(number: int) -> None:
        nonlocal most
        for _ in range(400):
            with alone(tmp_path / "lock"):
                inside.append(number)
                most = max(most, len(inside))
                inside.remove(number)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(enter, range(6)))
    assert most == 1
    assert not list(tmp_path.iterdir())


def test_a_lock_file_that_is_removed_between_two_questions_is_made_again(tmp_path, monkeypatch):
    asked = []

    def gone(descriptor: int) -> os.stat_result:
        if not asked:
            (tmp_path / "lock").unlink()
        asked.append(descriptor)
        return fstat(descriptor)

    fstat = os.fstat
    monkeypatch.setattr(locks.os, "fstat", gone)
    with alone(tmp_path / "lock"):
        assert (tmp_path / "lock").exists()
    assert len(asked) == 2


def test_holding_files_and_folders(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file"):
        lock = hold(path)
        assert lock is not None
        with pytest.raises(BlockingIOError):
            hold(path, wait=False)
        os.close(lock)
        lock = hold(path, wait=False)
        assert lock is not None
        os.close(lock)
    with pytest.raises(FileNotFoundError):
        hold(tmp_path / "none")


def test_where_there_are_no_locks_nobody_waits(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "fcntl", None)
    assert hold(tmp_path) is None
    with alone(tmp_path / "lock"), alone(tmp_path / "lock"):
        pass
