"""Nothing is asked of the network unless a command is asked to download; in a process where every try is an error."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

WATCH = """
import sys

asked = []

def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.Request"):
        asked.append((event, str(arguments)))
        raise RuntimeError(f"the network was asked: {event} {arguments}")

sys.addaudithook(watch)
"""

TOUR = """
import importlib, os, pickle, pkgutil
from dataclasses import replace
from pathlib import Path

import torch

import textxfer
for module in pkgutil.walk_packages(textxfer.__path__, "textxfer."):
    if not module.name.endswith(("__main__", "_triton")):
        importlib.import_module(module.name)
from tests.programs.old_nets import TOKENS, Plain
from tests.programs.toys import TINY, documents, task, write_csv
from textxfer import Predictor, presets, ulmfit
from textxfer.cli import main
from textxfer.datasets import docstrings
from textxfer.pretrained import find
from textxfer.text import SpacyTokenizer, TokenStore, read_csv

presets.PRESETS["small"] = replace(TINY, classify=replace(TINY.classify, stages=TINY.classify.stages[:1]))
place = Path(sys.argv[1])

# in Python
data = task(45)
lm = ulmfit.language_model(data, recipe=TINY)
lm.lr_find(n_steps=3)
lm.fit(1, 1e-3)
lm.save(place / "states")
lm.resume(place / "states")
clf = ulmfit.classifier(data, recipe=TINY)
clf.fit(1, 1e-3)
ulmfit.save(place / "clf", clf, data)
print(Predictor.load(place / "clf")("a red cat")[0].label)
print(find("en-small").name, SpacyTokenizer("de")("Ein Satz."))

# on the command line
table = write_csv(place / "data.csv", documents(30))
(place / "text.txt").write_text("a red cat was near\\n\\nthe dog\\n", encoding="utf-8")
torch.save(Plain(len(TOKENS), 1).fastai(), place / "old.pth")
(place / "itos.pkl").write_bytes(pickle.dumps(TOKENS))
p = lambda name: str(place / name)
rules = ["--tokenizer", "rules"]
for line in (
    ["pretrain", p("data.csv"), "--out", p("base"), "--store", p("ids"), *rules],
    ["finetune", p("data.csv"), "--base", p("base/model"), "--out", p("tuned")],
    ["classify", p("data.csv"), "--base", p("base/model"), "--out", p("run"), "--test", p("data.csv")],
    ["classify", p("data.csv"), "--base", "en-small", "--direction", "forward", "--out", p("x"), "--dry-run"],
    ["evaluate", p("run/model"), p("data.csv")],
    ["predict", p("run/model"), "a red cat"],
    ["generate", p("base/model"), "--tokens", "3"],
    ["show", p("base")],
    ["show", "en-small"],
    ["release", p("base"), "--name", "toy", "--out", p("toy"), "--test", p("text.txt")],
    ["import", p("old.pth"), p("itos.pkl"), "--out", p("old")],
):
    code = main(line)
    assert code == 0, (line, code)
    print(line[0])
    tried.add(line[0])
assert not asked, asked
print("DONE", *sorted(tried))
"""


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TEXTXFER_")}
    environment |= {"TEXTXFER_CACHE": str(folder / "cache"), "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
    command = [sys.executable, "-c", WATCH + "tried = set()\n" + textwrap.dedent(code), str(folder)]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=environment, check=False, timeout=900
    )


def test_no_command_asks_the_network(tmp_path: Path) -> None:
    done = run(TOUR, tmp_path)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    last = done.stdout.splitlines()[-1]
    assert last == "DONE classify evaluate finetune generate import predict pretrain release show"


@pytest.mark.parametrize(
    "code",
    [
        "from textxfer.datasets import load\nload('trec', 'train', progress=False)",
        "from textxfer.pretrained import find\nfind('en-large', url='http://127.0.0.1:9/x')",
        "import socket\nsocket.create_connection(('127.0.0.1', 9), 1)",
    ],
)
def test_what_is_asked_to_download_is_noticed(tmp_path: Path, code: str) -> None:
    """The same watch sees those who may download, so it would have seen the others."""
    done = run(f"try:\n{textwrap.indent(code, '    ')}\nexcept Exception:\n    pass\nprint(len(asked) > 0)", tmp_path)
    assert done.stdout.strip().endswith("True"), done.stdout + done.stderr
