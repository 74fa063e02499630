"""The demo at a small size: every step of it, with made-up texts in place of the docstrings."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from tests.programs.toys import TINY, documents, task
from textxfer import demo, ulmfit
from textxfer.artifact import Artifact


@pytest.fixture
def _tiny(monkeypatch):
    monkeypatch.setattr(demo, "docstrings", lambda cache: documents(120))
    monkeypatch.setattr(demo, "RECIPE", TINY)
    learn = ulmfit.pretrain(data := task(), recipe=TINY)
    base = Artifact(learn.model, data.vocab, data.tokenizer)
    monkeypatch.setattr(demo, "pretrained", lambda: base)


@pytest.mark.usefixtures("_tiny")
def test_all_steps(tmp_path, capsys):
    demo.run(tmp_path / "demo", per_class=8, n_texts=40, seed=0)
    printed = capsys.readouterr().out
    steps = re.findall(r"^(\d)  \w", printed, flags=re.MULTILINE)
    assert steps == ["1", "2", "3", "4", "5", "6"]
    assert "with the language model" in printed and "from scratch" in printed
    names = {path.name for path in (tmp_path / "demo").iterdir()}
    assert names == {"model", "language-model", "losses.png", "language-model-losses.png", "results.json"}
    answers = printed.split("loaded again, it says:")[1].strip().splitlines()
    assert len(answers) == len(demo.SENTENCES)


def test_texts_are_cut_after_some_words():
    text = " ".join(f"w{i}" for i in range(500))
    (long,) = documents(1)
    assert demo.shortened(replace(long, text=text)).text.split() == text.split()[: demo.MAX_WORDS]


def test_a_sample_is_seeded_and_without_repeats():
    docs = documents(50)
    chosen = demo.sample(docs, 20, seed=3)
    assert chosen == demo.sample(docs, 20, seed=3)
    assert len({document.row for document in chosen}) == 20
    assert len(demo.sample(docs, 99, seed=3)) == 50
