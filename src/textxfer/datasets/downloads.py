"""Files from the web: fetched whole, resumed after a break, checked before they get their name."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from textxfer.datasets._part import Part
from textxfer.datasets._transfer import BrokenError, Order, receive
from textxfer.locks import alone
from textxfer.text.document import DataError

MAX_BYTES = 4 << 30
"""Most bytes that are accepted of a file whose size is not known."""
_LONGEST_WAIT = 30.0


def download(
    url: str,
    target: Path | str,
    *,
    size: int | None = None,
    sha256: str | None = None,
    max_bytes: int = MAX_BYTES,
    retries: int = 4,
    timeout: float = 30.0,
    progress: bool = True,
    sleep: Callable[[float], None] = time.sleep,
) -> Path:
    """Fetch a file, unless it is there already.

    It is written to `<target>.part`. If the connection breaks, the rest is asked for, now or in a later call, as long
    as the server still has the same version (its ETag or date is kept in `<target>.part.json`). One process at a time
    downloads to a target; others wait for it (see `alone`).

    Args:
        url: The address, http or https.
        target: Where the file goes; its folder is made if it is not there.
        size: Bytes that the file has, if that is known.
        sha256: Its checksum, in hexadecimal digits, if that is known.
        max_bytes: Most bytes to accept if `size` is not known, from 1.
        retries: How often to try again after a broken connection or a busy server, from 0. The waits before are
            1, 2, 4, ... seconds, 30 at most.
        timeout: Seconds without an answer after which a connection counts as broken, > 0.
        progress: Whether to show how far it is, on standard error.
        sleep: Waits for a number of seconds.

    Returns:
        The target.

    Raises:
        ValueError: The address is not http or https, or an argument is out of range.
        DataError: The file cannot be had, is not the expected one, or the one at `target` is not.
    """
    _check_arguments(url, max_bytes, retries, timeout)
    order = Order(url, size, max_bytes if size is None else size, timeout, progress)
    target = Path(target)
    if _is_there(target, size, sha256):  # perhaps where nothing can be written, not even a lock
        return target
    with alone(target.with_name(f".{target.name}.lock")):
        if _is_there(target, size, sha256):  # another process brought it while this one waited
            return target
        if progress:
            print(f"downloading {url} to {target.absolute()}", file=sys.stderr, flush=True)
        part = Part(target)
        _fetch(order, part, retries, sleep)
        _check_part(order, part, sha256)
        part.finish()
    return target


def check_file(path: Path, size: int | None = None, sha256: str | None = None) -> None:
    """Check the length and the checksum of a file.

    Args:
        path: The file.
        size: Bytes that it must have; None: any number.
        sha256: Its checksum in hexadecimal digits; None: any.

    Raises:
        DataError: It is another file, or damaged.
    """
    if wrong := _difference(path, size, sha256):
        raise DataError(f"{path}: {wrong}; the file is damaged or another one: delete it and download it again")


def is_web_address(url: str) -> bool:
    """Whether an address is one of http or https with a host.

    Args:
        url: The address.
    """
    try:
        address = urlsplit(url)
    except ValueError:  # half of a bracket around an IPv6 address, for one
        return False
    return address.scheme in ("http", "https") and bool(address.netloc)


def _is_there(target: Path, size: int | None, sha256: str | None) -> bool:
    if target.exists():
        check_file(target, size, sha256)
        return True
    return False


def _fetch(order: Order, part: Part, retries: int, sleep: Callable[[float], None]) -> None:
    reason = ""
    for attempt in range(retries + 1):
        if attempt:
            sleep(min(2.0 ** (attempt - 1), _LONGEST_WAIT))
        try:
            receive(order, part)
            return
        except BrokenError as error:
            reason = str(error)
    kept = f"{part.length:,} bytes are kept, so try again later to get the rest" if part.length else "try again later"
    raise DataError(
        f"{order.url}: {reason}, given up after {retries + 1} attempts; {kept}, "
        f"or download the file by hand and put it at {part.target}"
    )


def _check_part(order: Order, part: Part, sha256: str | None) -> None:
    if wrong := _difference(part.path, order.size, sha256):
        part.remove()
        raise DataError(
            f"{order.url}: {wrong}; what came is removed: try again, "
            f"or download the right file by hand and put it at {part.target}"
        )


def _difference(path: Path, size: int | None, sha256: str | None) -> str | None:
    """Say how a file differs from the one that is expected; None if it does not."""
    length = path.stat().st_size
    if size is not None and length != size:
        return f"{length:,} bytes where {size:,} are expected"
    if sha256 is None:
        return None
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    return None if found == sha256.lower() else f"its SHA-256 is {found}, where {sha256.lower()} is expected"


def _check_arguments(url: str, max_bytes: int, retries: int, timeout: float) -> None:
    if not is_web_address(url):
        raise ValueError(f"url must begin with http:// or https:// and a host, not be {url!r}")
    if max_bytes < 1:
        raise ValueError(f"max_bytes must be at least 1, not {max_bytes}")
    if retries < 0:
        raise ValueError(f"retries must be at least 0, not {retries}")
    if not timeout > 0:
        raise ValueError(f"timeout must be above 0 seconds, not {timeout}")
