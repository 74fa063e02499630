"""A web server for each test that asks for one, and never a proxy before it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.datasets.server import Site, serve


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serve() as running:
        yield running
