"""The docstring corpus on a small made-up library, and the few-label split."""

from __future__ import annotations

import email.message
import gc
import subprocess
import sys
import sysconfig
import warnings
from collections import Counter
from pathlib import Path

import pytest

from textxfer.datasets import collect_docstrings, docstring_corpus, docstrings, few_labels
from textxfer.text.corpus import DataError, Document

SENTENCE = "This sentence has exactly ten words in it, no more."


def write(folder: Path, name: str, source: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source, encoding="utf-8")
    return folder


def texts(folder: Path, label: str = "alpha", min_words: int = 1, max_words: int = 1000) -> list[str]:
    found = collect_docstrings({label: folder}, min_words=min_words, max_words=max_words)
    assert [document.row for document in found] == list(range(1, len(found) + 1))
    return [document.text for document in found]


def test_docstrings_of_modules_classes_and_functions_at_any_depth(tmp_path: Path) -> None:
    source = '''"""Module."""
import os
def f():
    """Function.

    Not indented.
        Indented.
    """
    def inner(): "Inner."
class A:
    """Class."""
    async def method(self): "Method."
if os.name:
    try:
        def g(): "In a try."
    except OSError:
        def g(): "In a handler."
x = "no docstring"
def h():
    y = 1
    "not first, so no docstring"
'''
    assert texts(write(tmp_path, "a.py", source)) == [
        "Module.",
        "Function.\n\nNot indented.\n    Indented.",
        "Inner.",
        "Class.",
        "Method.",
        "In a try.",
        "In a handler.",
    ]


def test_texts_given_to_add_newdoc(tmp_path: Path) -> None:
    source = """
add_newdoc("m", "f", '''
    Whole.
    ''')
add_newdoc("m", "c", ("attribute", "Part."))
add_newdoc("m", "g", some_variable)
add_doc("m", "g", "Other.")
"""
    assert texts(write(tmp_path, "a.py", source)) == ["Whole.", "Part."]


def test_nothing_is_imported(tmp_path: Path) -> None:
    assert texts(write(tmp_path, "a.py", '"""Module."""\nraise SystemExit("imported")')) == ["Module."]


def test_files_are_read_in_order_of_path_and_some_are_left_out(tmp_path: Path) -> None:
    for name in (
        "b.py",
        "a/z.py",
        "a.py",
        "tests/a.py",
        "a/test/b.py",
        "test_c.py",
        "_vendor/d.py",
        "site-packages/e.py",
    ):
        write(tmp_path, name, f'"""{name}"""')
    write(tmp_path, "notes.txt", '"""notes"""')
    assert texts(tmp_path) == ["a.py", "a/z.py", "b.py"]


def test_foreign_sources_neither_warn_nor_fail(tmp_path: Path) -> None:
    write(tmp_path, "a.py", '"""Invalid escape."""\nx = "\\d"\ny = 1 is 1')
    write(tmp_path, "b.py", '"""Broken."""\ndef (:')
    (tmp_path / "c.py").write_bytes(b'"""Nul."""\0')
    (tmp_path / "d.py").write_bytes(b'"""\xff"""')
    (tmp_path / "e.py").write_bytes('# -*- coding: latin-1 -*-\n"""Encodé."""'.encode("latin-1"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert texts(tmp_path) == ["Invalid escape.", "Encodé."]


def test_what_no_text_file_can_hold_is_replaced(tmp_path: Path) -> None:
    write(tmp_path, "a.py", '"""Nul \\0 and surrogate \\ud800."""')
    assert texts(tmp_path) == ["Nul   and surrogate ?."]


@pytest.mark.parametrize(
    ("label", "text", "masked"),
    [
        (
            "numpy",
            "Use numpy as np, not NumPy.array or np.float32.",
            "Use thislib as thislib, not thislib.array or thislib.float32.",
        ),
        ("numpy", "An input of pandas, pd.", "An input of pandas, pd."),
        ("torch", "PyTorch and from_torch_x: torch.nn", "thislib and thislib: thislib.nn"),
        ("matplotlib", "plt mpl.rc splt", "thislib thislib.rc splt"),
        ("stdlib", "import torch", "import torch"),
    ],
)
def test_the_own_name_is_masked(tmp_path: Path, label: str, text: str, masked: str) -> None:
    assert texts(write(tmp_path, "a.py", f'"""{text}"""'), label) == [masked]


def test_length_limits(tmp_path: Path) -> None:
    write(tmp_path, "a.py", f'"""{SENTENCE}"""\ndef f():\n    """{SENTENCE}\n\n    {SENTENCE}"""')
    assert texts(tmp_path, min_words=10) == [SENTENCE, f"{SENTENCE}\n\n{SENTENCE}"]
    assert texts(tmp_path, min_words=11) == [f"{SENTENCE}\n\n{SENTENCE}"]
    assert texts(tmp_path, min_words=11, max_words=12) == [f"{SENTENCE}\n\nThis sentence"]
    with pytest.raises(ValueError, match="min_words"):
        texts(tmp_path, min_words=5, max_words=4)


def test_equal_texts_are_kept_once_or_if_ambiguous_not_at_all(tmp_path: Path) -> None:
    one = write(
        tmp_path / "one",
        "a.py",
        '"""Both."""\ndef f():\n    "Only  one."\ndef g():\n    "Only one."\ndef h(): "Of one"',
    )
    two = write(tmp_path / "two", "a.py", '"""Both."""\ndef f(): "Of two"')
    found = collect_docstrings({"one": one, "two": two}, min_words=1)
    # "Of one" and "Of two" become equal by masking, so they are ambiguous too.
    assert [(d.text, d.label) for d in found] == [("Only  thislib.", "one")]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: no such folder; .* alpha"):
        texts(tmp_path / "nowhere")


def test_garbage_collection_is_as_before(tmp_path: Path) -> None:
    texts(write(tmp_path, "a.py", '"""Module."""'))
    assert gc.isenabled()


def test_cache_is_written_once_read_back_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "lib", "a.py", f'"""{SENTENCE} {SENTENCE} ünï"""')
    monkeypatch.setattr(docstring_corpus, "_installed", lambda: {"alpha": folder})
    cache = tmp_path / "cache"
    fresh = docstrings(cache)
    assert fresh.documents == docstrings().documents == [Document(f"{SENTENCE} {SENTENCE} ünï", "alpha", 1)]
    assert fresh.counts() == {"alpha": 1}
    assert set(fresh.versions) == {"numpy", "pandas", "torch", "matplotlib", "spacy", "stdlib"}
    (file,) = cache.iterdir()

    monkeypatch.setattr(docstring_corpus, "_installed", lambda: pytest.fail("the cache was not used"))
    assert docstrings(cache) == fresh
    file.write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match="delete the file"):
        docstrings(cache)


def test_other_versions_are_another_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "lib", "a.py", f'"""{SENTENCE} {SENTENCE}"""')
    monkeypatch.setattr(docstring_corpus, "_installed", lambda: {"alpha": folder})
    docstrings(tmp_path / "cache")
    monkeypatch.setattr(docstring_corpus, "_version", lambda name: "0")
    docstrings(tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_finding_the_sources_imports_no_library() -> None:
    code = (
        "import sys; from textxfer.datasets import docstring_corpus as c; folders = c._installed();"
        "assert all(folder.is_dir() for folder in folders.values()), folders;"
        "assert not {'pandas', 'matplotlib', 'spacy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_part_of_the_real_standard_library() -> None:
    folder = Path(sysconfig.get_path("stdlib")) / "email"
    found = collect_docstrings({"stdlib": folder})
    assert 50 < len(found) < 1000
    assert all(12 <= len(document.text.split()) <= 2000 and document.label == "stdlib" for document in found)
    assert found == collect_docstrings({"stdlib": folder})
    expected = " ".join((email.message.Message.get_payload.__doc__ or "").split())
    assert expected in {" ".join(document.text.split()) for document in found}


@pytest.mark.slow
def test_the_whole_corpus_as_installed() -> None:
    corpus = docstrings()
    assert 15_000 < len(corpus) < 30_000
    assert set(corpus.counts()) == {"numpy", "pandas", "torch", "matplotlib", "spacy", "stdlib"}
    assert min(corpus.counts().values()) >= 300
    assert not [d for d in corpus if d.label != "stdlib" and d.label is not None and d.label in d.text.lower()]


def labelled(**sizes: int) -> list[Document]:
    names = [name for name, size in sizes.items() for _ in range(size)]
    return [Document(f"text {row}", name, row) for row, name in enumerate(names, 1)]


def test_few_labels_are_disjoint_stratified_and_complete() -> None:
    documents = labelled(a=50, b=20, c=10)
    split = few_labels(documents, 3, seed=1)
    assert Counter(d.label for d in split.train) == {"a": 3, "b": 3, "c": 3}
    assert Counter(d.label for d in split.test) == {"a": 10, "b": 4, "c": 2}
    assert {d.label for d in split.rest} == {None}
    rows = [d.row for part in (split.train, split.rest, split.test) for d in part]
    assert sorted(rows) == [d.row for d in documents]
    assert [d.row for d in split.rest] == sorted(d.row for d in split.rest)


def test_few_labels_depend_on_the_seed_alone() -> None:
    documents = labelled(a=50, b=20)
    small, large = few_labels(documents, 3, seed=1), few_labels(documents, 8, seed=1)
    assert small == few_labels(documents, 3, seed=1)
    assert small.test == large.test
    assert {d.row for d in small.train} < {d.row for d in large.train}
    assert small.test != few_labels(documents, 3, seed=2).test


@pytest.mark.parametrize(
    ("sizes", "per_class", "share", "message"),
    [
        ({"a": 9, "b": 4}, 4, 0.2, r"class 'b' has 4 documents, too few for 1 to test and 4"),
        ({"a": 9}, 0, 0.2, "per_class"),
        ({"a": 9}, 1, 1.0, "test_share"),
    ],
)
def test_few_labels_refuses_what_cannot_be(sizes: dict[str, int], per_class: int, share: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        few_labels(labelled(**sizes), per_class, test_share=share)


def test_few_labels_needs_labels() -> None:
    with pytest.raises(DataError, match="row 7: no label"):
        few_labels([Document("text", "a", 6), Document("text", None, 7)], 1)
