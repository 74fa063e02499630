"""The built site on a loopback address, and a headless Chromium that looks at it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.site.browser import Browser, start

DOCS = Path(__file__).resolve().parents[2] / "build" / "docs"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="session")
def docs() -> Path:
    """Folder of the built site."""
    if not (DOCS / "index.html").is_file():
        pytest.skip("the documentation is not built: make docs")
    return DOCS


@pytest.fixture(scope="session")
def address(docs: Path) -> Iterator[str]:
    """Address of a server of the site, without a slash at the end."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(docs)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A headless Chromium with a profile of its own."""
    pytest.importorskip("selenium", reason="needs the extra `docs`")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("needs chromium and chromedriver")
    started = start(chromium, driver, tmp_path_factory.mktemp("profile"))
    yield started
    started.driver.quit()
