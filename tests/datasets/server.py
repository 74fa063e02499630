"""A web server on this machine that can be told to misbehave."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    """What the server has, how it answers, and what it was asked.

    Attributes:
        files: Content by path, such as `/a.zip`.
        validators: Headers that tell versions apart: ETag or Last-Modified.
        ranges: Whether it answers to Range.
        lengths: Whether it says how long an answer is.
        cuts: After how many bytes each of the coming answers breaks off; none left: they are whole.
        moved: New addresses by path.
        statuses: Status codes of the coming answers, before it serves anything.
        extra: Headers that replace those of partial answers.
        asked: Headers of the requests so far.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    validators: dict[str, str] = field(default_factory=lambda: {"ETag": '"one"'})
    ranges: bool = True
    lengths: bool = True
    cuts: list[int] = field(default_factory=list)
    moved: dict[str, str] = field(default_factory=dict)
    statuses: list[int] = field(default_factory=list)
    extra: dict[str, str] = field(default_factory=dict)
    asked: list[dict[str, str]] = field(default_factory=list)

    @property
    def ranges_asked(self) -> list[str | None]:
        """The Range header of each request."""
        return [headers.get("range") for headers in self.asked]


class _Handler(BaseHTTPRequestHandler):
    site: Site

    def do_GET(self) -> None:
        site = self.site
        site.asked.append({name.lower(): value for name, value in self.headers.items()} | {"path": self.path})
        if site.statuses:
            self._answer(site.statuses.pop(0), b"", {})
        elif self.path in site.moved:
            self._answer(302, b"", {"Location": site.moved[self.path]})
        elif self.path not in site.files:
            self._answer(404, b"no such thing", {})
        else:
            self._serve(site.files[self.path])

    def _serve(self, content: bytes) -> None:
        asked = self.headers.get("Range")
        if asked is None or not self.site.ranges or self.headers.get("If-Range") not in self.site.validators.values():
            self._answer(200, content, self.site.validators)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start >= len(content):
            self._answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
            return
        headers = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        self._answer(206, content[start:], headers | self.site.validators | self.site.extra)

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.site.lengths:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.site.cuts.pop(0)] if self.site.cuts and body else body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def serve() -> Iterator[Site]:
    """Run a server on a free port of 127.0.0.1 while the block runs."""
    site = Site()
    handler = type("Handler", (_Handler,), {"site": site})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        site.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()
