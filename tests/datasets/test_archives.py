"""Archives: unpacked whole, or refused whole."""

from __future__ import annotations

import gzip
import io
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from textxfer import files
from textxfer.datasets import unpack
from textxfer.text.document import DataError

FILES = {"top/a.txt": b"first", "top/deep/er/b.txt": b"second" * 50_000, "empty.txt": b""}


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.size = kind, link, size
    return member


def make_tar(path: Path, files: dict[str, bytes], *special: tarfile.TarInfo, mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            tar.addfile(entry(name, size=len(content)), io.BytesIO(content))
        for member in special:
            tar.addfile(member)
    return path


def make_zip(path: Path, files: dict[str, bytes], mode: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            member = zipfile.ZipInfo(name)
            member.external_attr = mode << 16
            file.writestr(member, content, zipfile.ZIP_DEFLATED)
    return path


def found(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_refused(archive: Path, message: str, **limits: int) -> None:
    before = {path: path.stat().st_size for path in archive.parent.parent.rglob("*")}
    with pytest.raises(DataError, match=message):
        unpack(archive, archive.parent / "out", **limits)
    assert {path: path.stat().st_size for path in archive.parent.parent.rglob("*")} == before


@pytest.fixture
def inner(tmp_path: Path) -> Path:
    """A folder with another one around it, into which a bad archive could write."""
    (tmp_path / "inner").mkdir()
    return tmp_path / "inner"


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_tar(inner: Path, mode: str) -> None:
    folder = entry("./folder", tarfile.DIRTYPE)
    archive = make_tar(inner / "any.name", FILES, folder, mode=mode)
    assert unpack(archive, inner / "new" / "out") == inner / "new" / "out"
    assert found(inner / "new" / "out") == FILES
    assert (inner / "new" / "out" / "folder").is_dir()
    assert [path.name for path in (inner / "new").iterdir()] == ["out"]


def test_zip(inner: Path) -> None:
    with zipfile.ZipFile(make_zip(inner / "any.name", FILES), "a") as file:
        file.mkdir("folder")
    unpack(inner / "any.name", inner / "out")
    assert found(inner / "out") == FILES
    assert (inner / "out" / "folder").is_dir()


def test_many_files_are_flushed_all_at_once(inner: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[str] = []
    monkeypatch.setattr(files.os, "sync", lambda: flushed.append("all"))
    monkeypatch.setattr(files, "sync", lambda path: flushed.append(path.name))
    unpack(make_tar(inner / "a.tgz", FILES), inner / "out")
    assert {"a.txt", "b.txt", "empty.txt"} < set(flushed)
    assert "all" not in flushed
    flushed.clear()
    monkeypatch.setattr(files, "_MANY", 2)
    unpack(make_tar(inner / "a.tgz", FILES), inner / "many")
    assert flushed == ["all", inner.name]


def test_an_existing_folder_stays(inner: Path) -> None:
    (inner / "out").mkdir()
    with pytest.raises(FileExistsError, match="out exists already"):
        unpack(make_tar(inner / "a.tgz", FILES), inner / "out")
    assert found(inner / "out") == {}


def test_no_archive(inner: Path) -> None:
    with pytest.raises(FileNotFoundError):
        unpack(inner / "a.tgz", inner / "out")
    (inner / "a.tgz").write_bytes(b"<html>not here</html>")
    assert_refused(inner / "a.tgz", "neither a tar .* nor a zip")
    with pytest.raises(ValueError, match="max_bytes"):
        unpack(inner / "a.tgz", inner / "out", max_bytes=0)


BAD_NAMES = [
    ("../evil", "leads out"),
    ("top/../../evil", "leads out"),
    ("top/../evil", "leads out"),
    ("..\\evil", "leads out"),
    ("/tmp/evil", "absolute path"),
    ("C:\\evil", "absolute path"),
    ("c:evil", "absolute path"),
    ("\\\\host\\share\\evil", "absolute path"),
]


@pytest.mark.parametrize(("name", "why"), BAD_NAMES)
@pytest.mark.parametrize("make", [make_tar, make_zip])
def test_paths_that_lead_out(inner: Path, make: Callable[..., Path], name: str, why: str) -> None:
    archive = make(inner / "archive", {"good.txt": b"good", name: b"bad"})
    assert_refused(archive, f"member .*evil' .*{why}")


@pytest.mark.parametrize(
    "member",
    [
        entry("link", tarfile.SYMTYPE, "/etc/passwd"),
        entry("link", tarfile.SYMTYPE, "../../evil"),
        entry("link", tarfile.SYMTYPE, "good.txt"),
        entry("link", tarfile.LNKTYPE, "../../evil"),
        entry("link", tarfile.LNKTYPE, "good.txt"),
        entry("link", tarfile.CHRTYPE),
        entry("link", tarfile.BLKTYPE),
        entry("link", tarfile.FIFOTYPE),
    ],
)
def test_links_and_devices_in_a_tar(inner: Path, member: tarfile.TarInfo) -> None:
    assert_refused(make_tar(inner / "a.tgz", {"good.txt": b"good"}, member), "'link' is a link or a device")


def test_links_in_a_zip(inner: Path) -> None:
    archive = make_zip(inner / "a.zip", {"link": b"../../evil"}, mode=stat.S_IFLNK | 0o777)
    assert_refused(archive, "'link' is a link or a device")


def test_members_in_each_others_way(inner: Path) -> None:
    assert_refused(make_tar(inner / "a.tgz", {"a": b"file", "a/b": b"below"}), "'a/b' is in the way")
    assert_refused(make_tar(inner / "b.tgz", {"a/b": b"below", "a": b"file"}), "'a' is in it twice")
    assert_refused(make_tar(inner / "c.tgz", {"a": b"1"}, entry("a")), "'a' is in it twice")


@pytest.mark.parametrize("make", [make_tar, make_zip])
def test_a_bomb(inner: Path, make: Callable[..., Path]) -> None:
    archive = make(inner / "archive", {"good.txt": b"good", "bomb": bytes(5_000_000)})
    assert archive.stat().st_size < 10_000
    assert_refused(archive, "holds more than 1,000,000 bytes", max_bytes=1_000_000)
    unpack(archive, inner / "out", max_bytes=6_000_000)
    assert len(found(inner / "out")["bomb"]) == 5_000_000


def test_a_bomb_in_the_headers_of_a_tar(inner: Path) -> None:
    with tarfile.open(inner / "a.tgz", "w:gz", format=tarfile.PAX_FORMAT) as tar:
        member = entry("a")
        member.pax_headers = {"comment": "x" * 3_000_000}
        tar.addfile(member)
    assert_refused(inner / "a.tgz", "holds more than 1,000,000 bytes", max_bytes=1_000_000)


def test_a_member_that_is_large_by_its_header_alone(inner: Path) -> None:
    with gzip.open(inner / "a.tgz", "wb") as file:
        file.write(entry("a", size=1 << 40).tobuf())
    assert_refused(inner / "a.tgz", "holds more than")


def test_a_zip_that_lies_about_its_size(inner: Path) -> None:
    archive = make_zip(inner / "a.zip", {"a": bytes(100_000)})
    packed = archive.read_bytes()
    assert packed.count((100_000).to_bytes(4, "little")) == 2
    archive.write_bytes(packed.replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    assert_refused(archive, "damaged")


def damaged(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes(255 - byte for byte in content[middle : middle + 20]) + content[middle + 20 :]


@pytest.mark.parametrize("spoil", [damaged, lambda content: content[: len(content) // 2]])
@pytest.mark.parametrize("kind", ["w:gz", "w:xz", "zip"])
def test_damaged_archives(inner: Path, kind: str, spoil: Callable[[bytes], bytes]) -> None:
    noise = {f"{name}.txt": bytes((name * byte * byte) % 251 for byte in range(5_000)) for name in range(1, 9)}
    archive = make_zip(inner / "a", noise) if kind == "zip" else make_tar(inner / "a", noise, mode=kind)
    archive.write_bytes(spoil(archive.read_bytes()))
    assert_refused(archive, "damaged or cut short .*download it again")


def test_the_checksum_at_the_end_is_read(inner: Path) -> None:
    archive = make_tar(inner / "a.tgz", FILES)
    packed = archive.read_bytes()
    archive.write_bytes(packed[:-8] + bytes(4) + packed[-4:])
    assert_refused(archive, "damaged or cut short .*CRC")


def test_a_zip_with_a_password_or_an_unknown_method(inner: Path) -> None:
    packed = bytearray(make_zip(inner / "a.zip", {"a": b"text"}).read_bytes())
    central = packed.index(b"PK\x01\x02")
    secret = bytearray(packed)
    secret[central + 8] |= 1
    (inner / "a.zip").write_bytes(secret)
    assert_refused(inner / "a.zip", "'a' needs a password")
    packed[central + 10] = 77
    (inner / "a.zip").write_bytes(packed)
    assert_refused(inner / "a.zip", "'a' is packed in an unknown way")


def test_an_xz_file_that_is_no_tar(inner: Path) -> None:
    (inner / "a.xz").write_bytes(lzma.compress(b"text" * 1000))
    assert_refused(inner / "a.xz", "damaged")
