"""What a killed process leaves, and folders that take the place of others."""

from __future__ import annotations

import errno
import os
import platform
import subprocess
import sys

import pytest
from safetensors import SafetensorError

from textxfer import files
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
    assert [f".a.{platform.node()}-{os.getpid()}.part"] in seen


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
