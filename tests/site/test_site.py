"""The built site: every public name has a place, every page loads whole and alone, search and theme work."""

from __future__ import annotations

import re
import urllib.request
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbs._ext import public
from tests.site.browser import Browser

pytestmark = pytest.mark.site
NARROW, WIDE = 390, 1280


def pages(docs: Path) -> Iterator[str]:
    """Yield the pages of the site, relative to it."""
    return (path.relative_to(docs).as_posix() for path in sorted(docs.rglob("*.html")))


def inventory(docs: Path) -> dict[str, str]:
    """Return the page of each Python object: objects.inv of Sphinx, version 2."""
    data = (docs / "objects.inv").read_bytes()
    lines = zlib.decompress(data.split(b"\n", 4)[4]).decode().splitlines()
    found = [re.fullmatch(r"(\S+) py:(\w+) \S+ (\S+) .*", line) for line in lines]
    return {match[1]: match[3].partition("#")[0] for match in found if match}


@pytest.mark.parametrize("module", public.MODULES)
def test_each_public_name_is_on_the_page_of_its_module(docs: Path, module: str) -> None:
    objects = inventory(docs)
    page = f"api/{module.removeprefix('textxfer.')}.html"
    names = public.documented(module)
    assert {name.path: objects.get(name.path) for name in names} == dict.fromkeys((name.path for name in names), page)


def test_the_names_of_textxfer_are_linked_in_a_table(docs: Path) -> None:
    text = (docs / "api" / "textxfer.html").read_text(encoding="utf-8")
    places = {public.names()["textxfer", name].path for name in public.exported("textxfer")}
    assert places <= set(re.findall(r'href="[^"#]*#(textxfer\.[\w.]+)"', text))


def test_each_page_answers_and_no_link_is_dead(docs: Path, address: str) -> None:
    for page in pages(docs):
        with urllib.request.urlopen(f"{address}/{page}") as answer:
            text = answer.read().decode()
            assert answer.status == 200
        for target in re.findall(r'(?:href|src)="([^"#:]+)[^":]*"', text):
            place = (docs / page).parent / target.partition("?")[0]
            assert place.exists(), f"{page} links to {target}"


def test_each_page_loads_whole_and_alone(docs: Path, address: str, browser: Browser) -> None:
    browser.resize(WIDE)
    wrong: dict[str, list[str]] = {}
    for page in pages(docs):
        if page.startswith("_modules/") and page != "_modules/index.html":
            continue  # sources, all made in one way; the links are checked above
        browser.open(f"{address}/{page}")
        asked = browser.requests()
        assert f"{address}/{page}" in asked
        outside = [url for url in asked if not url.startswith(f"{address}/")]
        if found := [*browser.errors(), *browser.broken_images(), *outside]:
            wrong[page] = found
    assert not wrong


def test_a_request_to_the_network_would_be_seen(address: str, browser: Browser) -> None:
    browser.open(f"{address}/index.html")
    browser.requests()
    browser.driver.execute_script("document.body.append(Object.assign(new Image(), {src: 'http://example.org/a.png'}))")
    browser.wait("return [...document.images].at(-1).complete")
    assert "http://example.org/a.png" in browser.requests()
    assert browser.broken_images() == ["http://example.org/a.png"]
    assert browser.errors()


def test_search_finds_a_callback(address: str, browser: Browser) -> None:
    browser.open(f"{address}/search.html?q=GradualUnfreeze")
    browser.wait("return document.querySelectorAll('ul.search li a').length > 0")
    links = browser.driver.execute_script("return [...document.querySelectorAll('ul.search li a')].map(a => a.href)")
    assert f"{address}/api/callbacks.html#textxfer.callbacks.GradualUnfreeze" in links


def test_the_theme_can_be_switched(address: str, browser: Browser) -> None:
    browser.resize(WIDE)
    browser.open(f"{address}/index.html")
    seen = set()
    for _ in range(3):
        browser.driver.execute_script(
            "[...document.querySelectorAll('.theme-toggle')].find(each => each.offsetParent).click()"
        )
        theme, colour = browser.driver.execute_script(
            "return [document.body.dataset.theme, getComputedStyle(document.body).backgroundColor]"
        )
        seen.add((theme, colour))
    assert {theme for theme, _ in seen} == {"auto", "light", "dark"}
    assert len({colour for _, colour in seen}) == 2


def test_formulas_are_drawn_by_the_browser(docs: Path, address: str, browser: Browser) -> None:
    with_formulas = [page for page in pages(docs) if "<math" in (docs / page).read_text(encoding="utf-8")]
    if not with_formulas:
        pytest.skip("no page has a formula")
    browser.open(f"{address}/{with_formulas[0]}")
    assert browser.driver.execute_script("return document.querySelector('math').getBoundingClientRect().width") > 4


def narrow_pages(docs: Path) -> list[str]:
    """Return what is looked at on a telephone: the front page, a notebook, a page of the API, and wide tables."""
    fixed = [
        "index.html",
        "api/training.html",
        "api/models.html",
        "reference/events.html",
        "reference/performance.html",
    ]
    return [*fixed, *sorted(path.name for path in docs.glob("0*.html"))]


def test_no_page_scrolls_sideways_on_a_telephone(docs: Path, address: str, browser: Browser) -> None:
    browser.resize(NARROW, 844)
    wrong: dict[str, list[str]] = {}
    for page in narrow_pages(docs):
        browser.open(f"{address}/{page}")
        if found := browser.overflow():
            wrong[page] = found
    browser.resize(WIDE)
    assert not wrong
