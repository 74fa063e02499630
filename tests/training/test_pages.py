from __future__ import annotations

from typing import Any

import pytest
import torch

from textxfer.training import pages
from textxfer.training.pages import keep_pages

CPU = torch.device("cpu")


class Library:
    def __init__(self) -> None:
        self.calls: list[tuple[int, ...]] = []

    def mallopt(self, *arguments: int) -> int:
        self.calls.append(arguments)
        return 1

    def malloc_trim(self, *arguments: int) -> int:
        self.calls.append(arguments)
        return 1


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    library = Library()
    monkeypatch.setattr(pages, "_glibc", lambda: library)
    return library


def test_contexts_within_each_other_set_and_reset_once(library: Library) -> None:
    with keep_pages(CPU):
        inside = list(library.calls)
        with keep_pages(CPU):
            pass
        assert library.calls == inside
    assert len(inside) == 2 and library.calls[-1] == (0,)


def test_an_error_resets_too(library: Library) -> None:
    with pytest.raises(KeyError), keep_pages(CPU):
        raise KeyError
    assert library.calls[-1] == (0,)


def test_nothing_is_set_for_another_device(library: Library) -> None:
    with keep_pages(torch.device("meta")):
        pass
    assert not library.calls


def test_without_glibc_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages.sys, "platform", "darwin")
    pages._glibc.cache_clear()
    try:
        with keep_pages(CPU):
            assert pages._glibc() is None
    finally:
        pages._glibc.cache_clear()


@pytest.mark.skipif(pages._glibc() is None, reason="the C library is not glibc")
def test_the_real_library_takes_every_setting() -> None:
    library: Any = pages._glibc()
    for option, value in {pages._MMAP_MAX: 0, pages._TRIM_THRESHOLD: pages._NEVER, **pages._USUAL}.items():
        assert library.mallopt(option, value) == 1
