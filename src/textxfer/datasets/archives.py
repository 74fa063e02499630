"""Archives from the web, unpacked by somebody who does not trust them."""

from __future__ import annotations

import errno
import gzip
import lzma
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from textxfer.files import new_folder
from textxfer.text.document import DataError

MAX_UNPACKED = 2 << 30
"""Most bytes that an archive may hold, if nothing else is said."""
MAX_MEMBERS = 1 << 18
"""Most files and folders of an archive: each of them costs the disk more than its bytes."""
_LONGEST = 255
"""Bytes in the name of a file or folder, as file systems allow them."""
_LONGEST_PATH = 1024
_BLOCK = 1 << 20
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError, struct.error)
_MANY = f"is one too many: {MAX_MEMBERS:,} are unpacked"
# What the libraries let through of headers that were made up: numbers that are none, names in no encoding, unknown
# versions, places before the beginning.
_MADE_UP = (*_DAMAGED, ValueError, LookupError, OverflowError, NotImplementedError, MemoryError)


def unpack(archive: Path | str, folder: Path | str, *, max_bytes: int = MAX_UNPACKED) -> Path:
    """Unpack a tar archive (plain, gzip'd or xz'd) or a zip archive, whole or not at all.

    Files and folders inside `folder` are all that it makes. Paths that lead out of it, links and devices are refused,
    and the whole archive with them; links that would stay inside are, too, because none of the data sets needs them.

    Args:
        archive: The archive; its content, not its name, says of which kind it is.
        folder: The folder to make; it must not be there yet.
        max_bytes: Most bytes that the archive may hold, unpacked; a tar archive's own headers count, too.

    Returns:
        The folder.

    Raises:
        FileNotFoundError: No such archive.
        FileExistsError: The folder is there already.
        DataError: The archive is damaged, of an unknown kind, too large or refused; the message names the member. At
            most 262,144 members are unpacked, whose paths have at most 1,024 bytes.
        ValueError: `max_bytes` is below 1.
    """
    archive, folder = Path(archive), Path(folder)
    if max_bytes < 1:
        raise ValueError(f"max_bytes must be at least 1, not {max_bytes}")
    kind = _kind(archive)
    with new_folder(folder) as scratch:
        try:
            if kind == "zip":
                _unpack_zip(archive, scratch, max_bytes)
            else:
                _unpack_tar(archive, kind, scratch, max_bytes)
        except DataError:
            raise
        except _MADE_UP as error:
            raise _damaged(archive, error) from error
        except OSError as error:
            if error.errno not in (None, errno.EINVAL):  # the disk is full, or the like
                raise
            raise _damaged(archive, error) from error  # bz2's errors, and places before the beginning
    return folder


def _kind(archive: Path) -> str:
    if archive.exists() and not archive.is_file():
        raise DataError(f"{archive}: is no file, so no archive")
    with archive.open("rb") as file:
        start = file.read(512)
    for magic, kind in ((b"PK\x03\x04", "zip"), (b"\x1f\x8b", "gz"), (b"\xfd7zXZ\0", "xz")):
        if start.startswith(magic):
            return kind
    if start[257:262] == b"ustar":
        return "tar"
    raise DataError(f"{archive}: neither a tar (.tar, .tar.gz, .tgz, .tar.xz) nor a zip archive; is it the right file?")


class _Bounded:
    """A stream that fails when it yields more than it may: headers of a tar archive can be bombs, too."""

    def __init__(self, stream: IO[bytes], archive: Path, max_bytes: int) -> None:
        self._stream = stream
        self._archive = archive
        self._max_bytes = self._left = max_bytes

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes."""
        block = self._stream.read(min(size, self._left + 1))
        self._left -= len(block)
        if self._left < 0:
            raise _too_large(self._archive, self._max_bytes)
        return block


def _unpack_tar(archive: Path, kind: str, scratch: Path, max_bytes: int) -> None:
    opener = {"gz": gzip.open, "xz": lzma.open}.get(kind, open)
    total = count = 0
    with opener(archive, "rb") as plain:
        bounded = _Bounded(plain, archive, max_bytes)  # type: ignore[arg-type]
        # tarfile's own extraction filter is not needed: it guards `extract`, which is not called here.
        with tarfile.open(fileobj=bounded, mode="r|") as tar:  # type: ignore[call-overload]
            for member in tar:
                path = _inside(archive, scratch, member.name)
                total, count = total + member.size, count + 1
                if member.size < 0 or count > MAX_MEMBERS:
                    raise _refused(archive, member.name, "has a negative size" if member.size < 0 else _MANY)
                if total > max_bytes:  # a sparse file says that it is large, and has few bytes in the stream
                    raise _too_large(archive, max_bytes)
                if member.isdir():
                    _make_folder(archive, path, member.name)
                elif member.isreg() and (content := tar.extractfile(member)) is not None:
                    with content:
                        _write(archive, path, member.name, content)
                else:
                    raise _refused(archive, member.name, "is a link or a device")
        while bounded.read(_BLOCK):  # to the end, where the packer's checksum is
            continue


def _unpack_zip(archive: Path, scratch: Path, max_bytes: int) -> None:
    with zipfile.ZipFile(archive) as file:
        members = file.infolist()
        if sum(member.file_size for member in members) > max_bytes:
            raise _too_large(archive, max_bytes)
        if len(members) > MAX_MEMBERS:
            raise _refused(archive, members[MAX_MEMBERS].filename, _MANY)
        for member in members:
            path = _inside(archive, scratch, member.filename)
            mode = stat.S_IFMT(member.external_attr >> 16)
            if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _refused(archive, member.filename, "is a link or a device")
            if member.flag_bits & 1:
                raise _refused(archive, member.filename, "needs a password")
            if member.is_dir():
                _make_folder(archive, path, member.filename)
                continue
            try:
                content = file.open(member)  # yields no more than file_size bytes, and checks them
            except NotImplementedError:
                raise _refused(archive, member.filename, "is packed in an unknown way") from None
            with content:
                _write(archive, path, member.filename, content)


def _inside(archive: Path, scratch: Path, name: str) -> Path:
    """Return where a member goes, after making sure that this is inside the folder, on any system."""
    windows, posix = PureWindowsPath(name), PurePosixPath(name)
    if windows.drive or windows.root or posix.is_absolute():
        raise _refused(archive, name, "has an absolute path")
    if ".." in windows.parts or ".." in posix.parts:
        raise _refused(archive, name, "leads out of the folder")
    parts = [part.encode("utf-8", "surrogatepass") for part in posix.parts]
    long = sum(map(len, parts)) + len(parts) > _LONGEST_PATH or any(len(part) > _LONGEST for part in parts)
    if not name or long or not _is_name(name):
        raise _refused(archive, name[:_LONGEST], "has a name that no file can have")
    return scratch / posix


def _is_name(name: str) -> bool:
    """Whether a name has no control characters, and only characters that a file system takes."""
    if any(character < " " or character == "\x7f" for character in name):
        return False
    try:
        name.encode("utf-8", "surrogateescape")  # names of old archives are in other encodings than UTF-8
    except UnicodeEncodeError:
        return False
    return True


def _make_folder(archive: Path, path: Path, name: str) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise _refused(archive, name, "is in the way of another member") from None


def _write(archive: Path, path: Path, name: str, content: IO[bytes]) -> None:
    _make_folder(archive, path.parent, name)
    try:
        with path.open("xb") as file:
            shutil.copyfileobj(content, file, _BLOCK)
    except (FileExistsError, IsADirectoryError):
        raise _refused(archive, name, "is in it twice") from None


def _damaged(archive: Path, error: Exception) -> DataError:
    what = f"{error!s:.500}" or type(error).__name__
    return DataError(f"{archive}: the archive is damaged or cut short ({what}); delete it and download it again")


def _refused(archive: Path, name: str, why: str) -> DataError:
    return DataError(f"{archive}: the member {name!r} {why}; nothing was unpacked: get the archive from its publisher")


def _too_large(archive: Path, max_bytes: int) -> DataError:
    return DataError(f"{archive}: holds more than {max_bytes:,} bytes; nothing was unpacked: is it the right archive?")
