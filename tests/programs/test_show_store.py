"""`textxfer show` on token stores."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.programs.toys import documents
from textxfer.cli import main
from textxfer.text import Document, RulesTokenizer, TokenStore
from textxfer.text.card import card


@pytest.fixture
def stores(tmp_path: Path) -> list[Path]:
    """Training and test part; the test part repeats one document under another label."""
    docs = documents(40)
    train = TokenStore.build(tmp_path / "train", docs, RulesTokenizer(), min_count=1)
    again = Document(docs[5].text, "number" if docs[5].label != "number" else "animal", 1)
    TokenStore.build(tmp_path / "test", [again, *documents(9, seed=1)], like=train)
    return [tmp_path / "train", tmp_path / "test"]


def test_the_card_of_a_store(stores, capsys):
    assert main(["show", str(stores[0])]) == 0
    assert capsys.readouterr().out.rstrip("\n") == str(card(TokenStore.open(stores[0])))


def test_several_stores_are_compared(stores, capsys):
    assert main(["show", *map(str, stores)]) == 0
    printed = capsys.readouterr().out
    assert f"shared with       {stores[1]}" in printed
    shared = printed.split("shared with")[1]
    assert "1 document here, 1 there, in 1 group; 1 group with different labels" in shared
    assert "6 and 1" in shared


def test_the_figures_as_json(stores, capsys):
    assert main(["show", "--json", *map(str, stores)]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["documents"] == 40
    assert figures["others"][str(stores[1])]["exact"]["rows"] == [[6, 1]]
    assert figures == card(TokenStore.open(stores[0]), {str(stores[1]): TokenStore.open(stores[1])}).to_dict()


def test_a_damaged_store(stores, capsys):
    (stores[0] / "vocab.json").write_bytes(b"nothing")
    for arguments in ([stores[0]], [stores[1], stores[0]]):
        assert main(["show", *map(str, arguments)]) == 2
        error = capsys.readouterr().err
        assert "textxfer show: error:" in error
        assert "vocab.json" in error
        assert "Traceback" not in error


def test_a_store_with_another_vocabulary(stores, tmp_path, capsys):
    TokenStore.build(tmp_path / "alien", documents(12, seed=2), RulesTokenizer(), min_count=4)
    assert main(["show", str(stores[0]), str(tmp_path / "alien")]) == 2
    error = capsys.readouterr().err
    assert f"{tmp_path / 'alien'}: the store's vocabulary has" in error
    assert "build it with like=" in error


def test_what_is_no_store(stores, tmp_path, capsys):
    assert main(["show", str(stores[0]), str(tmp_path / "none")]) == 2
    assert f"{tmp_path / 'none'}: no such folder" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(["show", str(tmp_path / "empty")]) == 2
    assert "holds no model, run, token store or training state" in capsys.readouterr().err
    assert main(["show", str(tmp_path / "empty"), "--json"]) == 2
    assert "no token store; only those are compared with others or shown as JSON" in capsys.readouterr().err
