from __future__ import annotations

import json
import math
import os

import pytest

from textxfer.files import replacing, write_json, write_text
from textxfer.non_finite import decode


def test_writes_a_file_and_its_folder(tmp_path):
    write_text(tmp_path / "a" / "b.txt", "grün\n")
    assert (tmp_path / "a" / "b.txt").read_bytes() == "grün\n".encode()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.txt"]


def test_json_is_such_that_strict_readers_take_it(tmp_path):
    value = {"loss": math.nan, "rows": [{"a": (math.inf, 1.5)}, -math.inf], "name": "NaN?", "none": None}
    write_json(tmp_path / "a.json", value)

    def refuse(constant):
        pytest.fail(f"{constant} is no JSON")

    written = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"), parse_constant=refuse)
    assert written == {"loss": "NaN", "rows": [{"a": ["Infinity", 1.5]}, "-Infinity"], "name": "NaN?", "none": None}
    assert math.isnan(decode(written).pop("loss")) and decode(written)["rows"] == [{"a": [math.inf, 1.5]}, -math.inf]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "b.txt"
    write_text(path, "old")
    with pytest.raises(type(error)), replacing(path) as scratch:
        scratch.write_text("half of the n")
        raise error
    assert path.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["b.txt"]


@pytest.mark.skipif(os.name != "posix", reason="makes links")
def test_a_link_stays_one_and_its_file_is_written(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "b.txt")
    for text in ("new", "newer"):
        write_text(tmp_path / "link", text)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "disk" / "b.txt").read_text() == text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "link"]


def test_the_old_file_stands_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "b.txt"
    write_text(path, "old")
    with replacing(path) as scratch:
        scratch.write_text("new")
        assert scratch.parent == path.parent  # the same disk: the change of name is atomic
        assert path.read_text() == "old"
    assert path.read_text() == "new"
