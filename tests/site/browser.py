"""A headless Chromium: load pages, and tell what went wrong while they loaded."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_ARGUMENTS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions"),
    *("--disable-dev-shm-usage", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
)
_WITHIN = ("data", "blob", "about", "chrome", "chrome-untrusted")
_LOADED = "return document.readyState === 'complete'"
_BROKEN_IMAGES = """
return [...document.images].filter(image => !(image.complete && image.naturalWidth > 0)).map(image => image.src)
"""
_WIDER_THAN_THE_PAGE = """
const width = document.documentElement.clientWidth;
if (document.documentElement.scrollWidth <= width) return [];
return [...document.body.querySelectorAll('*')]
    .filter(each => each.getBoundingClientRect().right > width + 1)
    .map(each => `${each.tagName}.${each.className}`).slice(0, 8)
    .concat([`the page is ${document.documentElement.scrollWidth} wide`])
"""


@dataclass
class Browser:
    """Chromium and what its logs say.

    Attributes:
        driver: The driver of selenium.
    """

    driver: Any

    def open(self, url: str) -> None:
        """Load a page completely, images below the fold too."""
        self.driver.get(url)
        self.driver.execute_script("document.querySelectorAll('img').forEach(image => image.loading = 'eager')")
        self.wait(_LOADED)

    def wait(self, script: str, seconds: float = 10) -> None:
        """Wait until a script returns something true."""
        from selenium.webdriver.support.wait import WebDriverWait

        WebDriverWait(self.driver, seconds, poll_frequency=0.05).until(lambda driver: driver.execute_script(script))

    def resize(self, width: int, height: int = 900) -> None:
        """Give the page this width, in CSS pixels, which a window of its own could not be narrow enough for."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def errors(self) -> list[str]:
        """Return the errors of the console since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]

    def requests(self) -> list[str]:
        """Return the addresses that were asked for since the last call; those within a page or Chromium left out."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        urls = [each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"]
        return [url for url in urls if urlsplit(url).scheme not in _WITHIN]

    def broken_images(self) -> list[str]:
        """Return the addresses of images that did not load."""
        return self.driver.execute_script(_BROKEN_IMAGES)

    def overflow(self) -> list[str]:
        """Return what stands out of the page at the right; nothing if the page does not scroll sideways."""
        return self.driver.execute_script(_WIDER_THAN_THE_PAGE)


def start(chromium: str, chromedriver: str, profile: Path) -> Browser:
    """Start Chromium; names outside of this machine lead nowhere for it."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        *_ARGUMENTS,
        f"--user-data-dir={profile}",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return Browser(webdriver.Chrome(options=options, service=Service(chromedriver)))
