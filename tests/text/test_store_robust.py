"""What a build leaves behind when it is interrupted, killed or out of disk space."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.text.samples import documents
from textxfer.text import store_build
from textxfer.text.document import DataError
from textxfer.text.store import TokenStore
from textxfer.text.tokenizer import RulesTokenizer

DOCS = documents(60)
KILLED = """
import sys
from textxfer.text import RulesTokenizer, TokenStore
texts = [f"document {i} says word{i % 977} again and again, as documents do" for i in range(60_000)]
print("started", flush=True)
TokenStore.build(sys.argv[1], texts, RulesTokenizer(), n_workers=int(sys.argv[2]))
print("done", flush=True)
"""


def contents(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="kills a process")
@pytest.mark.parametrize("n_workers", ["1", "2"])
def test_a_kill_at_any_moment_leaves_nothing_that_opens(tmp_path: Path, n_workers: str) -> None:
    store, rng = tmp_path / "store", random.Random(int(n_workers))
    killed = 0
    for attempt in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", KILLED, store, n_workers], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "started\n"
            time.sleep(rng.uniform(0.02, 0.25 * (attempt + 1)))
            process.send_signal(signal.SIGKILL)
            killed += process.stdout.read() == ""
        if store.exists():
            TokenStore.open(store)  # whole, or not there
    assert killed
    subprocess.run([sys.executable, "-c", KILLED, store, n_workers], check=True, capture_output=True)
    assert len(TokenStore.open(store)) == 60_000
    assert contents(tmp_path) == ["store"]  # what the killed ones had begun is gone


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(store_build, "write_ids", full)
    with pytest.raises(DataError, match=r"store: no room to write the store \(No space left on device\)"):
        TokenStore.build(tmp_path / "store", DOCS, RulesTokenizer())
    assert contents(tmp_path) == []


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if (
        mount is None
        or subprocess.run(
            [mount, "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("cannot mount a small tmpfs here")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_really_full_disk(tiny_disk: Path) -> None:
    small = TokenStore.build(tiny_disk / "small", DOCS[:3], RulesTokenizer())
    with pytest.raises(DataError, match="no room to write the store"):
        TokenStore.build(tiny_disk / "large", DOCS * 40, RulesTokenizer())
    assert contents(tiny_disk) == ["small"]
    with pytest.raises(DataError, match="no room to write the store"):
        TokenStore.build(tiny_disk / "small", DOCS * 40, RulesTokenizer(), overwrite=True)
    assert contents(tiny_disk) == ["small"]  # the old store stands
    assert len(TokenStore.open(tiny_disk / "small")) == len(small)


def test_an_interruption_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> Iterator[str]:
        yield "one"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        TokenStore.build(tmp_path / "store", interrupted(), RulesTokenizer())
    assert contents(tmp_path) == []


def test_the_scratch_folder_of_a_running_process_is_left_alone(tmp_path: Path) -> None:
    import platform

    other = tmp_path / f".store.{platform.node()}-{os.getppid()}.part"
    foreign = tmp_path / ".store.another-machine-1.part"
    other.mkdir()
    foreign.mkdir()
    TokenStore.build(tmp_path / "store", DOCS, RulesTokenizer())
    assert other.exists()
    assert foreign.exists()
