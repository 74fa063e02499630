"""The command line and scripts under torchrun, also when a process is killed; two hosts, where there is root."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import weakref
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

from tests.distributed.launch import end, environment, start, torchrun
from tests.programs.toys import documents, write_csv
from textxfer import distributed
from textxfer.callbacks import _peers
from textxfer.callbacks._peers import Peers, wait_for_main
from textxfer.cli import main

WORDS = ["red", "green", "blue", "cat", "dog", "bird", "one", "two", "three", "four"]
OPTIONS = (
    *("--breaks", "blank", "--tokenizer", "rules", "--recipe", "small", "--embed", "12", "--hidden", "16"),
    *("--layers", "2", "--max-vocab", "100", "--epochs", "2", "--batch-size", "8", "--valid", "0.1"),
    *("--device", "cpu", "--precision", "fp32", "--save-minutes", "0.001"),
)
KILLED = ("tests/distributed/killed.py",)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    generator = random.Random(0)
    path.write_text("\n\n".join(" ".join(generator.choices(WORDS, k=30)) for _ in range(120)))
    return path


@pytest.fixture
def no_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RESTART_COUNT", raising=False)


def pretrain(text: Path, out: str) -> list[str]:
    return ["pretrain", str(text), *OPTIONS, "--store", str(text.parent / "ids"), "--out", str(text.parent / out)]


def weights(text: Path, out: str) -> dict[str, torch.Tensor]:
    return load_file(text.parent / out / "model" / "model.safetensors")


def test_a_killed_process_is_restarted_and_the_run_ends_as_an_unbroken_one(text: Path) -> None:
    whole = torchrun(pretrain(text, "whole"), "--standalone")
    assert whole.code == 0, whole.out
    assert whole.out.count("vocabulary:") == 1  # one process speaks
    broken = torchrun(["1", "6", *pretrain(text, "broken")], "--standalone", "--max-restarts", "1", script=KILLED)
    assert broken.code == 0, broken.out
    assert "started again by torchrun: going on from" in broken.out
    one, other = weights(text, "whole"), weights(text, "broken")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert not (text.parent / "broken.unfinished").exists()


@pytest.mark.usefixtures("no_restarts")
def test_what_needs_one_process_says_so(
    text: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("WORLD_SIZE", "2"), ("RANK", "1"), ("MASTER_ADDR", "localhost")):
        monkeypatch.setenv(name, value)
    assert main(["show", str(text)]) == 2
    assert "textxfer show (process 1): error: this command is run by one process" in capsys.readouterr().err


# ---- two hosts -----------------------------------------------------------------------------------------------------

SPACES, ADDRESSES = ("txf-a", "txf-b"), ("10.231.77.1", "10.231.77.2")


def ip(*arguments: str, check: bool = True) -> None:
    subprocess.run(["ip", *arguments], check=check, capture_output=True)


@pytest.fixture
def hosts() -> Iterator[tuple[str, ...]]:
    """Two network namespaces with a cable between them: what they share is the disk."""
    if os.name != "posix" or os.geteuid() != 0 or not Path("/usr/sbin/ip").exists():
        pytest.skip("network namespaces need root and the command ip")
    try:
        for space in SPACES:
            ip("netns", "add", space)
        ip("link", "add", "txf0", "netns", SPACES[0], "type", "veth", "peer", "name", "txf0", "netns", SPACES[1])
        for space, address in zip(SPACES, ADDRESSES):
            ip("-n", space, "address", "add", f"{address}/24", "dev", "txf0")
            for device in ("lo", "txf0"):
                ip("-n", space, "link", "set", device, "up")
    except subprocess.CalledProcessError as error:
        for space in SPACES:
            ip("netns", "delete", space, check=False)
        pytest.skip(f"no network namespaces here: {error.stderr.decode().strip()}")
    yield SPACES
    for space in SPACES:
        ip("netns", "delete", space, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("killed", [False, True])
def test_two_hosts(text: Path, hosts: tuple[str, ...], killed: bool) -> None:
    whole = torchrun(pretrain(text, f"one-host-{killed}"), "--standalone")
    assert whole.code == 0, whole.out
    out = f"two-hosts-{killed}"
    options = ["--nnodes", "2", "--nproc-per-node", "1", "--max-restarts", "2", "--rdzv-backend", "c10d"]
    options += ["--rdzv-endpoint", f"{ADDRESSES[0]}:29400", "--rdzv-id", out]
    program = [*KILLED, "1", "6", *pretrain(text, out)] if killed else ["-m", "textxfer", *pretrain(text, out)]
    processes = []
    for space, address in zip(hosts, ADDRESSES):
        python = ["ip", "netns", "exec", space, sys.executable, "-W", "ignore", "-m", "torch.distributed.run"]
        # Named, since the name of the machine does not lead to the address of a namespace.
        host = ["--local-addr", address, "--rdzv-conf", f"is_host={int(address == ADDRESSES[0])}"]
        env = environment(PYTHONWARNINGS="ignore", GLOO_SOCKET_IFNAME="txf0")
        processes.append(start([*python, *options, *host, *program], env))
    for ended in [end(process, 240) for process in processes]:
        assert ended.code == 0, ended.out
    one, other = weights(text, f"one-host-{killed}"), weights(text, out)
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.slow
def test_a_classifier_goes_on_after_a_restart(tmp_path: Path) -> None:
    table = write_csv(tmp_path / "texts.csv", documents())
    options = ["classify", str(table), "--tokenizer", "rules", "--lm-epochs", "1", "--epochs", "3", "--device", "cpu"]
    options += ["--precision", "fp32", "--save-minutes", "0.001", "--batch-size", "8"]
    whole = torchrun([*options, "--out", str(tmp_path / "whole")], "--standalone")
    assert whole.code == 0, whole.out
    command = ["0", "30", *options, "--out", str(tmp_path / "broken")]
    broken = torchrun(command, "--standalone", "--max-restarts", "1", script=KILLED)
    assert broken.code == 0, broken.out
    assert "started again by torchrun: going on from" in broken.out
    one, other = (load_file(tmp_path / out / "model" / "model.safetensors") for out in ("whole", "broken"))
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.slow
def test_the_scaling_benchmark_runs() -> None:
    command = [sys.executable, "-m", "benchmarks.scaling", "--quick"]
    ended = end(start(command, environment(PYTHONWARNINGS="ignore")), 120)
    assert ended.code == 0, ended.out
    assert [line.split(" | ")[1] for line in ended.out.splitlines() if line.startswith("| ")][2:] == ["1"] + 6 * ["2"]


def test_a_process_has_left_its_group_before_python_ends(tmp_path: Path) -> None:
    """Else one of its threads may abort the process at the very end, and torchrun starts everything again."""
    script = tmp_path / "script.py"
    script.write_text(
        "import atexit, os\n"
        "import torch.distributed as dist\n"
        "from textxfer import distributed\n"
        "from textxfer.callbacks._peers import join\n"
        "atexit.register(lambda: print(f'in a group: {dist.is_initialized()}', flush=True))\n"
        "place = distributed.start('cpu')\n"
        "with distributed.main_first():\n"
        "    assert join(place.device, 1.0).world == 2\n"
    )
    ended = torchrun([], "--standalone", script=[str(script)])
    assert ended.code == 0, ended.out
    assert ended.out.count("in a group: False") == 2


def test_nothing_keeps_a_group_that_its_owner_has_destroyed() -> None:
    """What is kept lives on with its threads, and those may abort the process when Python ends."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        world = weakref.ref(dist.group.WORLD)
        peers = Peers(timedelta(minutes=1))
        wait_for_main(peers, True)
        assert distributed.restarts() == 0
        extra = weakref.ref(_peers._known[world()]["patient"])
    finally:
        dist.destroy_process_group()
    assert world() is None and extra() is None
    assert not _peers._known


@pytest.mark.slow
def test_a_script_of_ones_own(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from tests.programs.toys import TINY, task\n"
        "from textxfer import distributed, ulmfit\n"
        "data = task(90)\n"
        "lm = ulmfit.finetune(data, None, recipe=TINY, precision='fp32', device='cpu')\n"
        "learn = ulmfit.classify(data, lm.model.encoder, recipe=TINY, precision='fp32', device='cpu')\n"
        "if distributed.is_main():\n"
        "    ulmfit.save(sys.argv[1], learn, data)\n"
        "    print('accuracy', learn.history[-1]['accuracy'])\n"
    )
    ended = torchrun([str(tmp_path / "model")], "--standalone", script=[str(script)])
    assert ended.code == 0, ended.out
    assert float(ended.out.rpartition("accuracy")[2]) > 0.5
    assert (tmp_path / "model" / "model.safetensors").is_file()
