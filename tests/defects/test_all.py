"""The fifty defects in one place: each has a test or a reason, and the page in the documentation says the same."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PAGE = ROOT / "nbs" / "reference" / "defects.md"

NOT_APPLICABLE = {
    44: "callback/tensorboard.py:51, 58-64 cannot trace a model in half precision: textxfer does not use tensorboard",
    45: "callback/mixup.py mixes inputs, which are ids for text: textxfer has no mixup",
    46: "callback/captum.py shows pixels and patches ipykernel: textxfer neither uses captum nor explains",
}
ABSENT = {44: "tensorboard", 45: "mixup", 46: "captum"}
"""A word that the package would have if the reason were no longer true."""


def numbered() -> Iterator[tuple[int, ast.FunctionDef]]:
    """Yield the numbered tests of this folder."""
    for path in sorted(HERE.glob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and (number := re.match(r"test_defect_(\d\d)_", node.name)):
                yield int(number[1]), node


def rows() -> dict[int, tuple[str, list[str]]]:
    """Return what the page says of each number: the defect, and the names of its tests."""
    found = re.findall(r"^\| (\d+) \| ([^|]+) \| ([^|]+) \|$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert len(found) == 50
    return {int(number): (what, re.findall(r"`(\w+)`", names)) for number, what, names in found}


def test_each_defect_has_a_test_or_a_reason() -> None:
    tested = {number for number, _ in numbered()}
    assert not tested & NOT_APPLICABLE.keys()
    assert tested | NOT_APPLICABLE.keys() == set(range(1, 51))


def test_each_test_says_where_the_defect_is() -> None:
    names = [node.name for _, node in numbered()]
    assert len(set(names)) == len(names)
    for _, node in numbered():
        line = ast.get_docstring(node) or ""
        assert "\n" not in line and re.search(r"\.py:\d+|METADATA|text/all\.py|Text defaults", line), node.name
    assert all(re.search(r"\.py", reason) for reason in NOT_APPLICABLE.values())


def test_what_is_said_not_to_be_there_is_not_there() -> None:
    sources = [path.read_text(encoding="utf-8").lower() for path in (ROOT / "src").rglob("*.py")]
    assert ABSENT.keys() == NOT_APPLICABLE.keys() and len(sources) > 100
    for number, word in ABSENT.items():
        assert word in NOT_APPLICABLE[number]
        assert not any(word in source for source in sources)


def test_the_page_names_each_test() -> None:
    page = rows()
    assert list(page) == list(range(1, 51))
    expected: dict[int, list[str]] = {number: [] for number in page}
    for number, node in numbered():
        expected[number].append(node.name)
    assert {number: names for number, (_, names) in page.items()} == expected
    assert len({what for what, _ in page.values()}) == 50
