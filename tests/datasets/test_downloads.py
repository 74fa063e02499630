"""Downloads from a real server: whole, broken, resumed, changed in between, wrong."""

from __future__ import annotations

import hashlib
import json
import random
import re
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.datasets.server import Site
from textxfer.datasets import _transfer, downloads
from textxfer.datasets.downloads import check_file
from textxfer.locks import alone
from textxfer.text.document import DataError

CONTENT = random.Random(1).randbytes(200_000)
SUM = hashlib.sha256(CONTENT).hexdigest()

download = partial(downloads.download, progress=False, sleep=lambda seconds: None)


@pytest.fixture
def address(site: Site) -> str:
    site.files["/a.zip"] = CONTENT
    return f"{site.url}/a.zip"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_whole_file(site: Site, address: str, tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "a.zip"
    assert download(address, target, size=len(CONTENT), sha256=SUM.upper()) == target
    assert target.read_bytes() == CONTENT
    assert names(target.parent) == {"a.zip"}
    assert site.ranges_asked == [None]
    assert site.asked[0]["accept-encoding"] == "identity"
    assert "urllib" not in site.asked[0]["user-agent"]


def test_a_file_that_is_there_is_checked_and_not_fetched(site: Site, address: str, tmp_path: Path) -> None:
    target = tmp_path / "a.zip"
    target.write_bytes(CONTENT)
    download(address, target, sha256=SUM)
    target.write_bytes(CONTENT[:-1])
    with pytest.raises(DataError, match=r"a\.zip: 199,999 bytes where 200,000 are expected.*delete it"):
        download(address, target, size=len(CONTENT))
    assert site.asked == []


def test_an_empty_file_of_known_size(site: Site, tmp_path: Path) -> None:
    site.files["/empty"] = b""
    assert download(f"{site.url}/empty", tmp_path / "empty", size=0).read_bytes() == b""
    assert names(tmp_path) == {"empty"}


def test_a_file_that_is_there_needs_no_lock(
    site: Site, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path) -> None:
        raise PermissionError(f"{path}: a folder that cannot be written")

    monkeypatch.setattr(downloads, "alone", refused)
    (tmp_path / "a.zip").write_bytes(CONTENT)
    assert download(address, tmp_path / "a.zip", sha256=SUM) == tmp_path / "a.zip"


@pytest.mark.parametrize("validators", [{"ETag": '"one"'}, {"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}])
def test_a_broken_connection_is_resumed(site: Site, address: str, tmp_path: Path, validators: dict[str, str]) -> None:
    site.validators, site.cuts = validators, [120_000]
    download(address, tmp_path / "a.zip", size=len(CONTENT), sha256=SUM)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert site.ranges_asked == [None, "bytes=120000-"]
    assert site.asked[1]["if-range"] == next(iter(validators.values()))
    assert names(tmp_path) == {"a.zip"}


@pytest.mark.parametrize("validators", [{}, {"ETag": 'W/"weak"'}])
def test_without_a_strong_validator_it_starts_over(
    site: Site, address: str, tmp_path: Path, validators: dict[str, str]
) -> None:
    site.validators, site.cuts = validators, [120_000]
    download(address, tmp_path / "a.zip", sha256=SUM)
    assert site.ranges_asked == [None, None]


def test_attempts_end_and_a_later_call_goes_on(site: Site, address: str, tmp_path: Path) -> None:
    site.cuts = [10_000, 20_000, 30_000]
    waits: list[float] = []
    message = r"ended after 60,000 of 200,000 bytes, given up after 3 attempts; 60,000 bytes are kept.*by hand.*a\.zip"
    with pytest.raises(DataError, match=message):
        download(address, tmp_path / "a.zip", retries=2, sleep=waits.append)
    assert waits == [1.0, 2.0]
    assert (tmp_path / "a.zip.part").read_bytes() == CONTENT[:60_000]
    assert names(tmp_path) == {"a.zip.part", "a.zip.part.json"}
    download(address, tmp_path / "a.zip", sha256=SUM)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert site.ranges_asked == [None, "bytes=10000-", "bytes=30000-", "bytes=60000-"]


def test_waits_grow_to_half_a_minute(site: Site, address: str, tmp_path: Path) -> None:
    site.statuses = [503] * 8
    waits: list[float] = []
    download(address, tmp_path / "a.zip", retries=8, sleep=waits.append)
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]


def test_a_server_that_ignores_ranges(site: Site, address: str, tmp_path: Path) -> None:
    site.cuts, site.ranges = [120_000], False
    download(address, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert site.ranges_asked == [None, "bytes=120000-"]


def test_a_file_that_changed_is_not_spliced(site: Site, address: str, tmp_path: Path) -> None:
    site.cuts = [120_000]
    with pytest.raises(DataError, match="given up after 1 attempts"):
        download(address, tmp_path / "a.zip", retries=0)
    site.files["/a.zip"], site.validators = CONTENT[::-1], {"ETag": '"two"'}
    download(address, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT[::-1]
    assert site.asked[1]["if-range"] == '"one"'


def test_a_changed_file_is_noticed_if_the_server_ignores_if_range(site: Site, address: str, tmp_path: Path) -> None:
    site.cuts, site.extra = [120_000], {"ETag": '"two"'}
    download(address, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert site.ranges_asked == [None, "bytes=120000-", None]


def test_a_part_from_another_address_is_not_used(site: Site, address: str, tmp_path: Path) -> None:
    site.files["/b.zip"], site.cuts = CONTENT[::-1], [120_000]
    with pytest.raises(DataError):
        download(address, tmp_path / "a.zip", retries=0)
    download(f"{site.url}/b.zip", tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT[::-1]


def test_damaged_notes_mean_starting_over(site: Site, address: str, tmp_path: Path) -> None:
    for notes in ("{", "[]", json.dumps({"url": address, "validator": 1})):
        (tmp_path / "a.zip.part").write_bytes(b"rubbish")
        (tmp_path / "a.zip.part.json").write_text(notes, encoding="utf-8")
        download(address, tmp_path / "a.zip", sha256=SUM).unlink()
    assert site.ranges_asked == [None] * 3


@pytest.mark.parametrize("header", ["bytes 5-199999/200000", "bytes 120000-x/200000", ""])
def test_a_wrong_content_range_is_refused(site: Site, address: str, tmp_path: Path, header: str) -> None:
    site.cuts, site.extra = [120_000], {"Content-Range": header}
    with pytest.raises(DataError, match=re.escape(f"asked for the bytes from 120000 on, the answer is {header!r}")):
        download(address, tmp_path / "a.zip")
    assert names(tmp_path) == set()


def put_part(folder: Path, url: str, content: bytes) -> None:
    (folder / "a.zip.part").write_bytes(content)
    (folder / "a.zip.part.json").write_text(json.dumps({"url": url, "validator": '"one"'}), encoding="utf-8")


def test_a_part_that_is_whole_already(site: Site, address: str, tmp_path: Path) -> None:
    put_part(tmp_path, address, CONTENT)
    download(address, tmp_path / "a.zip", sha256=SUM)  # the server answers 416
    assert site.ranges_asked == ["bytes=200000-"]
    (tmp_path / "a.zip").unlink()
    put_part(tmp_path, address, CONTENT)
    download(address, tmp_path / "a.zip", size=len(CONTENT), sha256=SUM)  # it is not asked at all
    assert len(site.asked) == 1


@pytest.mark.parametrize("size", [None, len(CONTENT)])
def test_a_part_that_is_too_long_is_dropped(site: Site, address: str, tmp_path: Path, size: int | None) -> None:
    put_part(tmp_path, address, CONTENT + b"more")
    download(address, tmp_path / "a.zip", size=size)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert site.ranges_asked[-1] is None


def test_a_wrong_checksum(address: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"SHA-256 is {SUM}, where {'0' * 64} is expected; what came is removed"):
        download(address, tmp_path / "a.zip", sha256="0" * 64)
    assert names(tmp_path) == set()


def test_a_wrong_size_is_refused_before_a_byte_is_read(address: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has 200,000 bytes, 199,999 are expected"):
        download(address, tmp_path / "a.zip", size=199_999)
    with pytest.raises(DataError, match="has 200,000 bytes, at most 199,999 are expected"):
        download(address, tmp_path / "a.zip", max_bytes=199_999)
    assert names(tmp_path) == set()


def test_bytes_without_end_are_cut_off(
    site: Site, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.lengths = False
    blocks: list[bytes] = []
    read = _transfer._read
    monkeypatch.setattr(_transfer, "_read", lambda response: blocks.append(read(response)) or blocks[-1])
    with pytest.raises(DataError, match="more than 100,000 bytes came"):
        download(address, tmp_path / "a.zip", max_bytes=100_000)
    assert sum(map(len, blocks)) < len(CONTENT)
    assert names(tmp_path) == set()
    with pytest.raises(DataError, match=r"ended after 200,000 of 200,001 bytes"):
        download(address, tmp_path / "a.zip", size=200_001, retries=0)
    download(address, tmp_path / "b.zip", sha256=SUM)


@pytest.mark.parametrize("status", [403, 404, 410])
def test_what_is_not_there_is_asked_for_once(site: Site, address: str, tmp_path: Path, status: int) -> None:
    site.statuses = [status]
    target = tmp_path / "a.zip"
    with pytest.raises(DataError) as caught:
        download(address, target)
    assert f"{address}: HTTP status {status}" in str(caught.value)
    assert f"put it at {target}" in str(caught.value)
    assert len(site.asked) == 1
    assert names(tmp_path) == set()


def test_an_answer_without_content_is_no_file(site: Site, address: str, tmp_path: Path) -> None:
    site.statuses = [204]
    with pytest.raises(DataError, match="HTTP status 204 where 200 is needed"):
        download(address, tmp_path / "a.zip")


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"127\.0\.0\.1:1/a: no connection \(.*\), given up after 2 attempts; try again"
    ):
        download("http://127.0.0.1:1/a", tmp_path / "a", retries=1)


def test_a_silent_server_times_out(site: Site, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent:
        def pop(self, index: int) -> int:
            time.sleep(0.3)
            return 0

    monkeypatch.setattr(site, "cuts", Silent())
    with pytest.raises(DataError, match="timed out"):
        download(address, tmp_path / "a.zip", timeout=0.05, retries=0)


@pytest.mark.parametrize(
    "url", ["file:///etc/hosts", "ftp://127.0.0.1/a", "/etc/hosts", "https:///a", "http://[::1/a", ""]
)
def test_only_the_web_is_read(url: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="http"):
        download(url, tmp_path / "a")


def test_a_redirection_is_followed(site: Site, address: str, tmp_path: Path) -> None:
    site.moved["/old"], site.cuts = address, [120_000]
    download(f"{site.url}/old", tmp_path / "a.zip", sha256=SUM)
    assert [(asked["path"], asked.get("range")) for asked in site.asked] == [
        ("/old", None),
        ("/a.zip", None),
        ("/old", "bytes=120000-"),
        ("/a.zip", "bytes=120000-"),
    ]


@pytest.mark.parametrize("where", ["file:///etc/hosts", "ftp://127.0.0.1:1/a", "data:,text"])
def test_a_redirection_leads_to_the_web_only(site: Site, tmp_path: Path, where: str) -> None:
    site.moved["/old"] = where
    with pytest.raises(DataError, match=r"HTTP status 302|unknown url type"):
        download(f"{site.url}/old", tmp_path / "a")
    assert names(tmp_path) == set()


@pytest.mark.parametrize("where", ["http://a..b/a", f"http://{'a' * 64}.b/a", "http://127.0.0.1:port/a"])
def test_what_is_no_address_is_refused_at_once(site: Site, tmp_path: Path, where: str) -> None:
    site.moved["/old"] = where
    for url in (where, f"{site.url}/old", f"{site.url}/ö", f"{site.url}/a b"):
        with pytest.raises(DataError, match="is no address, or leads to none"):
            download(url, tmp_path / "a", sleep=lambda seconds: pytest.fail("it waits to ask again"))
    assert names(tmp_path) == set()


@pytest.mark.parametrize("arguments", [{"max_bytes": 0}, {"retries": -1}, {"timeout": 0.0}])
def test_arguments_out_of_range(arguments: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        download("http://127.0.0.1:1/a", tmp_path / "a", **arguments)


def test_several_at_once_fetch_it_once(site: Site, address: str, tmp_path: Path) -> None:
    errors: list[BaseException] = []

    def fetch() -> None:
        try:
            download(address, tmp_path / "a.zip", sha256=SUM)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=fetch) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(site.asked) == 1
    assert names(tmp_path) == {"a.zip"}


def test_the_lock_is_held_by_one(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        for _ in range(20):
            with alone(tmp_path / "lock"):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.001)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert len(most) == 80
    assert names(tmp_path) == set()


def test_progress_goes_to_standard_error(
    address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_transfer, "_LOG_SECONDS", 0.0)
    monkeypatch.setattr(_transfer, "_MEGA", 1_000)
    download(address, tmp_path / "a.zip", progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    first, *lines = err.splitlines()
    assert first == f"downloading {address} to {tmp_path / 'a.zip'}"
    assert lines[-1].startswith("a.zip, MB: 200/200 [")
    assert lines[-1].endswith(" MB/s]")
    download(address, tmp_path / "b.zip", progress=False)
    assert capsys.readouterr() == ("", "")


def test_check_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(CONTENT)
    check_file(path, len(CONTENT), SUM)
    check_file(path)
    with pytest.raises(DataError, match=f"SHA-256 is {SUM}.*delete it"):
        check_file(path, sha256="1" * 64)
