"""Sizes that files claim are checked before memory is taken for them, and what is packed has a limit."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.hostile.guard import outcome
from tests.hostile.readers import READERS, attempt
from textxfer.datasets import archives, unpack
from textxfer.importing import read_weights
from textxfer.text import lines, read_csv, read_folder, read_jsonl, read_text

HUGE = [10**12, (1 << 31) - 1, 1 << 62, 10**30, -1, -(1 << 60)]


def json_with(reader: str, name: str, change: Callable[[dict], object]) -> bytes:
    value = json.loads(READERS[reader].sample()[name])
    change(value)
    return json.dumps(value).encode()


@pytest.mark.parametrize("number", HUGE)
@pytest.mark.parametrize("field", ["vocab", "embed", "hidden", "layers", "pad_id"])
def test_sizes_of_a_model(tmp_path: Path, field: str, number: int) -> None:
    config = json_with("language-model", "config.json", lambda config: config["encoder"].update({field: number}))
    message = attempt(READERS["language-model"], tmp_path, "config.json", config)
    assert message is not None and ("config.json" in message)


@pytest.mark.parametrize("number", HUGE)
@pytest.mark.parametrize("field", ["head_hidden", "classes"])
def test_sizes_of_a_head(tmp_path: Path, field: str, number: int) -> None:
    config = json_with("classifier", "config.json", lambda config: config["classifier"].update({field: number}))
    message = attempt(READERS["classifier"], tmp_path, "config.json", config)
    assert message is not None and "config.json" in message


def test_shards_that_claim_rows_they_do_not_have(tmp_path: Path) -> None:
    for rows in ([0, 1 << 60], [-5, 7], [7, 0], [float("inf"), 1], ["0", "9" * 5000], [0], None):
        config = json_with(
            "classifier",
            "config.json",
            lambda config, rows=rows: next(iter(config["shards"].values()))["rows"].update(
                {"encoder.embedding.weight": rows}
            ),
        )
        assert attempt(READERS["classifier"], tmp_path, "config.json", config) is not None, rows


def safetensors(header: dict, data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize(
    "content",
    [
        struct.pack("<Q", 1 << 60) + b"{}",
        safetensors({"decoder_bias": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}),
        safetensors({"decoder_bias": {"dtype": "F32", "shape": [1 << 62, 8], "data_offsets": [0, 0]}}),
        safetensors({"decoder_bias": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, bytes(4)),
        safetensors({"decoder_bias": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}, bytes(4)),
        safetensors({"decoder_bias": {"dtype": "F32", "shape": [1], "data_offsets": [10**18, 10**18 + 4]}}, bytes(4)),
        safetensors({"decoder_bias": {"dtype": "C64", "shape": [1], "data_offsets": [0, 8]}}, bytes(8)),
    ],
)
@pytest.mark.parametrize(
    ("reader", "name"),
    [("language-model", "model.safetensors"), ("state", "model.safetensors"), ("state", "state.safetensors")],
)
def test_headers_of_weights(tmp_path: Path, reader: str, name: str, content: bytes) -> None:
    message = attempt(READERS[reader], tmp_path, name, content)
    assert message is not None


@pytest.mark.parametrize("kind", ["C64", "F8_E4M3", "U64", "BOOL"])
def test_weights_of_another_type(tmp_path: Path, kind: str) -> None:
    sample = READERS["language-model"].sample()["model.safetensors"]
    length = struct.unpack("<Q", sample[:8])[0]
    header = json.loads(sample[8 : 8 + length])
    size = {"C64": 8, "F8_E4M3": 1, "U64": 8, "BOOL": 1}[kind]
    at = 0
    for entry in (entry for name, entry in header.items() if name != "__metadata__"):
        n = int(np.prod(entry["shape"])) * size
        entry |= {"dtype": kind, "data_offsets": [at, at + n]}
        at += n
    message = attempt(READERS["language-model"], tmp_path, "model.safetensors", safetensors(header, bytes(at)))
    assert message is not None and f"numbers of type {kind}" in message


@pytest.mark.parametrize("name", ["documents", "tokens"])
@pytest.mark.parametrize("number", [*HUGE, 0, 1 << 60, 2.5, "3", None, True])
def test_sizes_of_a_store(tmp_path: Path, name: str, number: object) -> None:
    meta = json_with("store", "meta.json", lambda meta: meta.update({name: number}))
    assert attempt(READERS["store"], tmp_path, "meta.json", meta) is not None


def npy(values: list[int] | np.ndarray, header: bytes | None = None) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(values))
    return buffer.getvalue() if header is None else b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


SHAPES = {
    "negative": b"{'descr': '<i8', 'fortran_order': False, 'shape': (-1,), }",
    "endless": b"{'descr': '<i8', 'fortran_order': False, 'shape': (1152921504606846976,), }",
    "objects": b"{'descr': '|O', 'fortran_order': False, 'shape': (4,), }",
    "code": b"{'descr': __import__('os').system('true'), 'fortran_order': False, 'shape': (4,), }",
    "deep": b"(" * 60_000,
    "string": b"'" * 101,
    "nothing": b"",
}


@pytest.mark.parametrize("header", SHAPES.values(), ids=SHAPES)
def test_headers_of_arrays(tmp_path: Path, header: bytes) -> None:
    for content in (npy([], header), npy([], header.ljust(117) + b"\n") + bytes(32)):
        message = attempt(READERS["store"], tmp_path, "labels.npy", content)
        assert message is not None and "labels.npy" in message


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        (
            "offsets",
            [0, 1 << 62, (1 << 63) - 1, -(1 << 62), 21],
            "offsets",
        ),  # each difference is positive, or overflows
        ("offsets", [0, 5, 3, 14, 21], "offsets"),
        ("labels", [0, 7, -1, 0], "label without a class"),
        ("labels", [0, -7, -1, 0], "labels do not fit"),
    ],
)
def test_numbers_that_point_outside(tmp_path: Path, name: str, values: list[int], message: str) -> None:
    sample = READERS["store"].sample()
    tokens = json.loads(sample["meta.json"])["tokens"]
    values = [tokens if value == 21 else value for value in values]
    assert message in (attempt(READERS["store"], tmp_path, f"{name}.npy", npy(values)) or "")


def test_ids_that_no_token_has(tmp_path: Path) -> None:
    content = bytearray(READERS["store"].sample()["ids.bin"])
    content[2:4] = b"\xff\xff"
    assert "id 65535" in (attempt(READERS["store"], tmp_path, "ids.bin", bytes(content)) or "")


def test_counts_of_classes_whose_sum_overflows(tmp_path: Path) -> None:
    counts = [(1 << 63) - 1, (1 << 63) - 1, 2, 3]
    message = attempt(READERS["store-several"], tmp_path, "labels.npy", npy(counts))
    assert message is not None and "do not fit their counts" in message


# ---- bombs -------------------------------------------------------------------------------------------------------


def harmless(read: Callable[[], object], folder: Path, name: str) -> str:
    message = outcome(read, folder, name)
    assert message is not None, "it was read"
    return message


@pytest.mark.parametrize(("pack", "ending"), [(gzip.compress, ".gz"), (lzma.compress, ".xz")])
@pytest.mark.parametrize("line", [b"a" * (1 << 16), b"a\n" * (1 << 15)])
def test_text_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Callable, ending: str, line: bytes) -> None:
    """A packed line or document beyond the limit is refused as soon as it is; here the limit is lower, to save time."""
    assert lines.LONGEST_PACKED == 1 << 26
    monkeypatch.setattr(lines, "LONGEST_PACKED", 1 << 22)
    packed = pack(line * (1 << 9))
    assert len(packed) < 1 << 17
    (tmp_path / f"a.txt{ending}").write_bytes(packed)
    path = tmp_path / f"a.txt{ending}"
    assert "longer than 4,194,304" in harmless(lambda: list(read_text(path)), tmp_path, path.name)
    assert "longer than 4,194,304" in harmless(lambda: list(read_folder(tmp_path, "a.txt*")), tmp_path, path.name)
    if b"\n" not in line:
        assert "longer than 4,194,304" in harmless(lambda: list(read_jsonl(path)), tmp_path, path.name)
        assert "longer than 4,194,304" in harmless(lambda: list(read_csv(path, "text")), tmp_path, path.name)


def test_a_plain_file_may_have_any_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONGEST_PACKED", 1 << 10)
    (tmp_path / "a.txt").write_text("word " * 1000)
    (document,) = read_text(tmp_path / "a.txt")
    assert len(document.text) == 5000


def test_a_frame_that_unpacks_to_very_much_at_once(tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard")
    packed = zstandard.ZstdCompressor().compress((b" " * 1023 + b"\n") * (96 << 10))
    assert len(packed) < 20_000
    (tmp_path / "a.txt.zst").write_bytes(packed)
    assert "no documents" in harmless(lambda: list(read_text(tmp_path / "a.txt.zst")), tmp_path, "a.txt.zst")


def test_weights_in_a_packed_zip_file(tmp_path: Path) -> None:
    """torch itself would unpack them: a small file could take all memory."""
    torch.save({"0.encoder.weight": torch.zeros(1 << 20)}, tmp_path / "plain.pth")
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(tmp_path / "model.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for member in plain.namelist():
            packed.writestr(member, plain.read(member))
    assert (tmp_path / "model.pth").stat().st_size < 20_000
    message = harmless(lambda: read_weights(tmp_path / "model.pth"), tmp_path, "model.pth")
    assert "is packed, which torch does not do" in message


def tuples(depth: int) -> bytes:
    """A pickle of a dict whose key is a tuple of two equal tuples, and so on: comparing it takes 2 ** depth steps."""
    doubled = b"".join(
        b"h" + bytes([number]) + b"h" + bytes([number]) + b"\x86q" + bytes([number + 1]) for number in range(depth)
    )
    return b"\x80\x02)q\x00" + doubled + b"0" * depth + b"0}h" + bytes([depth]) + b"K\x01s."


@pytest.mark.parametrize("new_format", [True, False])
def test_tuples_of_tuples_without_end(tmp_path: Path, new_format: bool) -> None:
    path = tmp_path / "model.pth"
    assert len(pickle.loads(tuples(3))) == 1
    if new_format:
        torch.save({"a": torch.ones(1)}, path)
        with zipfile.ZipFile(path) as file:
            parts = {name: file.read(name) for name in file.namelist()}
        with zipfile.ZipFile(path, "w") as file:
            for name, data in parts.items():
                file.writestr(name, tuples(60) if name.endswith("data.pkl") else data)
    else:
        head = [pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
        path.write_bytes(b"".join(head) + tuples(60) + pickle.dumps([], 2))
    assert "tuples of tuples" in harmless(lambda: read_weights(path), tmp_path, "model.pth")


# ---- archives ----------------------------------------------------------------------------------------------------


def tar_of(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(bytes(max(member.size, 0))))
    return path


def zip_of(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(zipfile.ZipInfo(name), b"x")
    return path


NAMES = {
    "a\nb": "no file can have",
    "a\x1b[2Jb": "no file can have",
    "a" * 256: "no file can have",
    "/".join(["d"] * 600): "no file can have",
    "a/" * 3000 + "b": "no file can have",
}


@pytest.mark.parametrize("name", NAMES, ids=lambda name: repr(name)[:20])
def test_names_that_no_file_can_have(tmp_path: Path, name: str) -> None:
    for archive in (tar_of(tmp_path / "a.tgz", tarfile.TarInfo(name)), zip_of(tmp_path / "a.zip", name)):
        message = harmless(lambda archive=archive: unpack(archive, tmp_path / "out"), tmp_path, archive.name)
        assert NAMES[name] in message
        assert len(message) < 1000
        assert not (tmp_path / "out").exists()


def test_a_name_with_nul_ends_there_or_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("axb.txt", b"1")
    content = (tmp_path / "a.zip").read_bytes().replace(b"axb.txt", b"a\0b.txt")
    (tmp_path / "a.zip").write_bytes(content)
    outcome(lambda: unpack(tmp_path / "a.zip", tmp_path / "out"), tmp_path, "a.zip")
    assert {path.name for path in tmp_path.rglob("*")} <= {"a.zip", "out", "a"}


def test_names_that_differ_in_case_are_both_there_or_refused(tmp_path: Path) -> None:
    """A file system that takes them for one must not let the second replace the first."""
    archive = zip_of(tmp_path / "a.zip", "Read", "READ")
    message = outcome(lambda: unpack(archive, tmp_path / "out"), tmp_path, "a.zip")
    found = {path.name for path in (tmp_path / "out").glob("*")}
    assert found == {"Read", "READ"} if message is None else "twice" in message


def test_very_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_MEMBERS", 10)
    names = [f"{number}" for number in range(11)]
    for archive in (tar_of(tmp_path / "a.tgz", *map(tarfile.TarInfo, names)), zip_of(tmp_path / "a.zip", *names)):
        message = harmless(lambda archive=archive: unpack(archive, tmp_path / "out"), tmp_path, archive.name)
        assert "'10' is one too many" in message


def test_a_negative_size(tmp_path: Path) -> None:
    header = bytearray(tarfile.TarInfo("a").tobuf())
    header[124:136] = b"\xff" * 11 + b"\x00"  # -256, as GNU's tar writes large numbers
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "a.tar").write_bytes(bytes(header) + bytes(10240))
    assert "a.tar" in harmless(lambda: unpack(tmp_path / "a.tar", tmp_path / "out"), tmp_path, "a.tar")


def test_members_that_share_their_bytes(tmp_path: Path) -> None:
    """Many entries for one packed member: what they hold together counts."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a" * 10, bytes(1 << 19))
        first = file.filelist[0]
        for number in range(20):
            info = zipfile.ZipInfo(f"b{number}")
            info.file_size, info.compress_size, info.CRC = first.file_size, first.compress_size, first.CRC
            info.compress_type, info.header_offset = zipfile.ZIP_DEFLATED, 0
            file.filelist.append(info)
            file.NameToInfo[info.filename] = info
            file._didModify = True  # type: ignore[attr-defined]
    message = harmless(lambda: unpack(tmp_path / "a.zip", tmp_path / "out", max_bytes=1 << 22), tmp_path, "a.zip")
    assert "holds more than" in message
