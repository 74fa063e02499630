"""One attempt at a download: ask for what is missing, check what the answer says of itself, add it to the part."""

from __future__ import annotations

import re
import sys
import time
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse, InvalidURL
from urllib import request
from urllib.error import HTTPError

from textxfer.datasets._part import Part
from textxfer.display import choose_display
from textxfer.text.document import DataError

AGENT = "textxfer (data sets)"  # some servers turn away urllib's own name
_BLOCK = 1 << 16
_MEGA = 1_000_000
_LOG_SECONDS = 10.0
_TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)\s*")


class BrokenError(Exception):
    """This attempt came to nothing, the next one may not."""


@dataclass(frozen=True)
class Order:
    """What to fetch.

    Args:
        url: The address.
        size: Bytes that the file must have; None if that is not known.
        limit: Most bytes to accept.
        timeout: Seconds without an answer after which the connection counts as broken.
        progress: Whether to show how far it is.
    """

    url: str
    size: int | None
    limit: int
    timeout: float
    progress: bool


def receive(order: Order, part: Part) -> None:
    """Fetch what the part lacks.

    Raises:
        BrokenError: The connection broke, or the server is busy; what came is in the part.
        DataError: The server has not got the file, or another one; or it is asked at what is no address.
    """
    if order.size is not None and part.length > order.size:
        part.remove()
    if order.size is not None and part.length == order.size:
        part.path.touch()  # of an empty file there is no part yet
        return
    validator = part.validator(order.url) if part.length else None
    try:
        response = _opener().open(_request(order.url, part.length, validator), timeout=order.timeout)
    except HTTPError as error:
        with error:
            _refused(error, order, part)
        return
    except (InvalidURL, UnicodeError) as error:  # to ask again would not help
        what = f"is no address, or leads to none ({error}); write spaces and what is not ASCII as %20 and so on"
        raise DataError(f"{order.url}: {what}") from error
    except (OSError, HTTPException) as error:
        raise BrokenError(f"no connection ({_reason(error)})") from error
    with response:
        _check_answer(response, order, part, validator)
        _copy(response, order, part)


def _opener() -> request.OpenerDirector:
    """Return an opener that speaks HTTP and nothing else: a redirection must not lead to a local file."""
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler(),
        request.HTTPHandler(),
        request.HTTPSHandler(),
        request.HTTPRedirectHandler(),
        request.HTTPDefaultErrorHandler(),
        request.HTTPErrorProcessor(),
        request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _request(url: str, have: int, validator: str | None) -> request.Request:
    # Packed on the way, the bytes would not be those of the file.
    headers = {"User-Agent": AGENT, "Accept-Encoding": "identity"}
    if validator is not None:
        headers |= {"Range": f"bytes={have}-", "If-Range": validator}
    return request.Request(url, headers=headers)


def _refused(error: HTTPError, order: Order, part: Part) -> None:
    """Return if the error means that the part is whole already."""
    if error.code == 416:
        total = _range(error.headers.get("Content-Range"))[1]
        if part.length and part.length == total and order.size in (None, total):
            return
        part.remove()
        raise BrokenError("the part on this machine does not fit the server's file")
    if error.code in _TRY_AGAIN:
        raise BrokenError(f"HTTP status {error.code} ({error.reason})")
    raise DataError(
        f"{order.url}: HTTP status {error.code} ({error.reason}); the address may have changed: "
        f"download the file by hand and put it at {part.target}"
    )


def _check_answer(response: HTTPResponse, order: Order, part: Part, validator: str | None) -> None:
    """Prepare the part for what is coming, or refuse it."""
    if response.status == 206 and validator is not None:
        start, total = _range(response.headers.get("Content-Range"))
        if start != part.length:
            asked, answer = part.length, response.headers.get("Content-Range")
            part.remove()
            raise DataError(f"{order.url}: asked for the bytes from {asked} on, the answer is {answer!r}; try again")
        if _changed(response, validator):
            part.remove()
            raise BrokenError("the server's file changed in between")
    elif response.status == 200:
        total = response.length
        part.begin(order.url, _validator(response))
    else:
        raise DataError(f"{order.url}: HTTP status {response.status} where 200 is needed; is the address right?")
    _check_total(total, order, part)


def _check_total(total: int | None, order: Order, part: Part) -> None:
    if total is None or (total == order.size) or (order.size is None and total <= order.limit):
        return
    part.remove()
    wanted = f"at most {order.limit:,}" if order.size is None else f"{order.size:,}"
    raise DataError(f"{order.url}: the file has {total:,} bytes, {wanted} are expected; it is not the right file")


def _copy(response: HTTPResponse, order: Order, part: Part) -> None:
    have = part.length
    end = have + response.length if response.length is not None else order.size
    meter = _Meter(part.target.name, have, end) if order.progress else None
    try:
        with part.append() as file:
            while block := _read(response):
                have += len(block)
                if have > order.limit:
                    break
                file.write(block)
                if meter is not None:
                    meter.show(have)
    finally:
        if meter is not None:
            meter.close()
    if have > order.limit:
        part.remove()
        raise DataError(f"{order.url}: more than {order.limit:,} bytes came; it is not the right file")
    if end is not None and have < end:
        raise BrokenError(f"the connection ended after {have:,} of {end:,} bytes")


def _read(response: HTTPResponse) -> bytes:
    try:
        return response.read(_BLOCK)
    except (OSError, HTTPException) as error:
        raise BrokenError(f"the connection broke ({_reason(error)})") from error


def _validator(response: HTTPResponse) -> str | None:
    """Return what If-Range accepts: a strong ETag, or else the date of the last change."""
    etag = response.headers.get("ETag")
    return etag if etag and etag.startswith('"') else response.headers.get("Last-Modified")


def _changed(response: HTTPResponse, validator: str) -> bool:
    now = response.headers.get("ETag" if validator.startswith('"') else "Last-Modified")
    return now is not None and now != validator


def _range(header: str | None) -> tuple[int | None, int | None]:
    """Return the first byte and the length of the file, from a Content-Range."""
    found = _RANGE.fullmatch(header or "")
    if found is None:
        return None, None
    start, total = found.groups()
    return None if start is None else int(start), None if total == "*" else int(total)


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", error)) or type(error).__name__


class _Meter:
    """Shows megabytes: a bar in a terminal, elsewhere lines now and then; on standard error, beside the results."""

    def __init__(self, name: str, start: int, end: int | None) -> None:
        total = None if end is None else end // _MEGA
        self._display = choose_display(sys.stderr, _LOG_SECONDS, f"{name}, MB", total, start // _MEGA)
        self._start = start
        self._began = self._shown = time.monotonic()

    def show(self, have: int) -> None:
        """Show how many bytes there are, if it is time."""
        now = time.monotonic()
        if now - self._shown >= self._display.seconds:
            self._shown = now
            self._display.show(have // _MEGA, f"{(have - self._start) / _MEGA / (now - self._began):.1f} MB/s")

    def close(self) -> None:
        """Take the bar away."""
        self._display.close()
