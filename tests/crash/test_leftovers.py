"""What a killed process leaves, and folders that take the place of others."""

from __future__ import annotations

import errno
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from safetensors import SafetensorError

from textxfer import files, locks
from textxfer.files import new_folder, remove_folder, remove_leftovers, replacing, system_errors, write_text


@pytest.fixture(scope="module")
def dead() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_next_write_removes_what_a_dead_process_left(tmp_path, dead):
    host = platform.node()
    (tmp_path / f".a.json.{host}-{dead}.part").write_text("{")
    (tmp_path / f".b.json.{host}-{dead}.part").write_text("{")
    (tmp_path / f".a.json.{host}-{os.getppid()}.part").write_text("of a process that runs")
    (tmp_path / f".a.json.another-{dead}.part").write_text("of another machine")
    write_text(tmp_path / "a.json", "{}")
    left = {f".b.json.{host}-{dead}.part", f".a.json.{host}-{os.getppid()}.part", f".a.json.another-{dead}.part"}
    assert set(names(tmp_path)) == {"a.json", *left}
    remove_leftovers(tmp_path)
    assert set(names(tmp_path)) == {"a.json", *left} - {f".b.json.{host}-{dead}.part"}


@pytest.mark.parametrize("at_once", [True, False])
def test_a_folder_takes_the_place_of_another(tmp_path, monkeypatch, at_once):
    if not at_once:
        monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old").touch()
    with new_folder(tmp_path / "a", replace=True) as scratch:
        (scratch / "new").touch()
        assert names(tmp_path / "a") == ["old"]
    assert names(tmp_path) == ["a"]
    assert names(tmp_path / "a") == ["new"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux exchanges names in one step")
def test_two_folders_exchange_their_names(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    assert files._exchange(tmp_path / "a", tmp_path / "b")
    assert (names(tmp_path / "a"), names(tmp_path / "b")) == (["b"], ["a"])
    assert not files._exchange(tmp_path / "a", tmp_path / "missing")


def test_a_folder_whose_replacement_died_gets_its_name_back(tmp_path, dead):
    old = tmp_path / f".a.{platform.node()}-{dead}.old"
    old.mkdir()
    (old / "file").touch()
    with pytest.raises(FileExistsError), new_folder(tmp_path / "a"):
        pass
    assert names(tmp_path) == ["a"]
    assert names(tmp_path / "a") == ["file"]


def test_a_folder_is_removed_under_another_name(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").touch()
    seen = []
    remove = files.shutil.rmtree
    monkeypatch.setattr(
        files.shutil, "rmtree", lambda *args, **options: seen.append(names(tmp_path)) or remove(*args, **options)
    )
    remove_folder(tmp_path / "a")
    remove_folder(tmp_path / "a")
    assert names(tmp_path) == []
    assert any(len(now) == 1 and now[0].startswith(f".a.{platform.node()}-{os.getpid()}-") for now in seen)


def test_what_this_process_left_is_not_taken_for_what_it_writes(tmp_path):
    stem = f".a.{platform.node()}-{os.getpid()}"
    (tmp_path / f"{stem}.old").mkdir()  # of a thread that died, or of an earlier process of the same number
    (tmp_path / f"{stem}-0123abcd.part").mkdir()
    with new_folder(tmp_path / "b") as scratch:
        remove_leftovers(tmp_path)
        assert names(tmp_path) == [scratch.name, "a"]


@pytest.mark.skipif(locks.fcntl is None, reason="needs locks")
@pytest.mark.parametrize("process", ["own", "dead"])
def test_what_somebody_has_locked_is_left_alone_whatever_its_number(tmp_path, dead, process):
    """Two containers may have one name, and number their processes alike."""
    number = os.getpid() if process == "own" else dead
    other = tmp_path / f".a.{platform.node()}-{number}-0123abcd.part"
    other.mkdir()
    lock = locks.hold(other)
    assert lock is not None
    write_text(tmp_path / "a", "")
    assert names(tmp_path) == [other.name, "a"]
    os.close(lock)
    write_text(tmp_path / "a", "")
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("with_locks", [True, False])
def test_threads_write_the_same_folder_and_file(tmp_path, monkeypatch, with_locks):
    if not with_locks:
        monkeypatch.setattr(locks, "fcntl", None)
    together = Barrier(4, timeout=30)

    def write(number: int) -> None:
        for _ in range(10):
            together.wait()
            with new_folder(tmp_path / "a", replace=True) as scratch:
                (scratch / "file").write_text(f"{number}")
            write_text(tmp_path / "b", f"{number}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert names(tmp_path) == ["a", "b"]
    assert names(tmp_path / "a") == ["file"]


def test_a_folder_that_appeared_meanwhile_is_not_replaced(tmp_path):
    with pytest.raises(FileExistsError, match="a exists already"), new_folder(tmp_path / "a") as scratch:
        (scratch / "mine").touch()
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "another's").touch()
    assert names(tmp_path) == ["a"]
    assert names(tmp_path / "a") == ["another's"]


@pytest.mark.skipif(os.name != "posix", reason="makes links")
@pytest.mark.parametrize("dangling", [False, True])
@pytest.mark.parametrize("at_once", [True, False])
def test_a_folder_behind_a_link_is_written_where_the_link_leads(tmp_path, monkeypatch, at_once, dangling):
    if not at_once:
        monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    disk = tmp_path / "disk"
    (tmp_path / "link").symlink_to(disk / "a")
    if not dangling:
        (disk / "a").mkdir(parents=True)
    for name in ("one", "two"):
        with new_folder(tmp_path / "link", replace=True) as scratch:
            (scratch / name).touch()
        assert (names(tmp_path), names(disk), names(disk / "a")) == (["disk", "link"], ["a"], [name])
    remove_folder(tmp_path / "link")
    assert (names(tmp_path), names(disk)) == (["disk", "link"], [])


@pytest.mark.skipif(os.name != "posix", reason="makes links")
def test_a_link_that_was_left_is_removed_and_not_what_it_leads_to(tmp_path, dead):
    (tmp_path / "disk").mkdir()
    (tmp_path / f".a.{platform.node()}-{dead}.part").symlink_to(tmp_path / "disk")
    write_text(tmp_path / "a", "")
    assert names(tmp_path) == ["a", "disk"]


def test_a_full_disk_names_the_file(tmp_path):
    def full() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match=r"No space left on device: '.*b\.txt'"), replacing(tmp_path / "b.txt"):
        full()
    with pytest.raises(OSError, match=r"No space left on device: '.*folder'"), new_folder(tmp_path / "folder"):
        full()
    assert names(tmp_path) == []


def test_a_full_disk_names_the_tensors(tmp_path):
    """What safetensors raises on a full disk is no OSError; a real full disk is in the rounds of crash testing."""
    full = SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    with pytest.raises(OSError, match=r"No space left on device: '.*/a'") as error, system_errors(tmp_path / "a"):
        raise full
    assert error.value.errno == errno.ENOSPC
    with pytest.raises(SafetensorError, match="no header"), system_errors(tmp_path / "a"):
        raise SafetensorError("no header")


@pytest.mark.parametrize("moment", ["before", "failing"])
def test_what_is_being_replaced_is_never_lost(tmp_path, monkeypatch, moment):
    """Ended, or with a disk that fails, between the two renames of systems that cannot exchange names in one step."""
    monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    target, rename = tmp_path / "a", Path.rename
    with new_folder(target) as scratch:
        (scratch / "precious").touch()

    def renamed(self: Path, to: Path) -> Path:
        if moment == "failing" and self.name.endswith(".part"):
            raise OSError(errno.EIO, "the disk fails")
        rename(self, to)
        if moment == "before" and to.name.endswith(".old"):
            raise KeyboardInterrupt
        return to

    monkeypatch.setattr(Path, "rename", renamed)
    with pytest.raises((OSError, KeyboardInterrupt)), new_folder(target, replace=True) as scratch:
        (scratch / "new").touch()
    assert (names(tmp_path), names(target)) == (["a"], ["precious"])


def test_writers_that_cannot_exchange_names_do_not_disturb_each_other(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_exchange", lambda one, other: False)

    def write(number: int) -> None:
        for _ in range(20):
            with new_folder(tmp_path / "a", replace=True) as scratch:
                (scratch / "file").write_text(f"{number}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert (names(tmp_path), names(tmp_path / "a")) == (["a"], ["file"])


@pytest.mark.skipif(locks.fcntl is None, reason="needs locks")
def test_a_lock_is_free_though_another_process_has_a_copy_of_it(tmp_path):
    path = tmp_path / "file"
    path.touch()
    lock = locks.hold(path)
    assert lock is not None
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], pass_fds=[lock]) as other:
        locks.free(lock)
        again = locks.hold(path, wait=False)
        assert again is not None
        locks.free(again)
        other.kill()
