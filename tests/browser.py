"""A headless Chromium under selenium, for the pages of the sandbox and of the examples.

A test is skipped where Chromium or its driver is missing, unless they must be there (see ``requirements``).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from requirements import absent, program
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from benchmarks.ports import reserved_port

__all__ = ["DESK", "PHONE", "Page", "axe", "chromium"]

PHONE, DESK = 390, 1280
"""Widths in pixels."""

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)


LOOK_WITH_AXE = """
const done = arguments[arguments.length - 1];
const where = one => one.nodes.map(node => node.target.join(" ")).join(", ");
axe.run().then(found => done(found.violations.map(one => `${one.id}: ${where(one)}`)));
"""


@pytest.fixture(scope="module")
def axe() -> str:
    """The script of axe-core; the test is skipped without it, and fails if CI requires it."""
    if not (path := os.environ.get("ZEGO_TEST_AXE")):
        absent("axe", "ZEGO_TEST_AXE is not the path of axe-core's axe.min.js")
    return Path(path).read_text(encoding="utf-8")


class Page:
    """A page in a browser."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def show(self, url: str, width: int, scheme: str = "light", *, height: int = 900) -> None:
        """Show an address in a window of a size, in the colours of a scheme (``light`` or ``dark``)."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        self.driver.get("about:blank")  # an earlier page may still ask for what has ended
        self.driver.get_log("browser")
        self.driver.get(url)

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script returns."""
        return self.driver.execute_script(script, *arguments)

    def text(self, selector: str) -> str:
        """The text of the first element that fits; empty if none does."""
        found: str = self.run("return document.querySelector(arguments[0])?.textContent ?? ''", selector)
        return found

    def click(self, selector: str) -> None:
        """Click on the first element that fits."""
        self.driver.find_element("css selector", selector).click()

    def type(self, selector: str, text: str) -> None:
        """Type into the first element that fits."""
        self.driver.find_element("css selector", selector).send_keys(text)

    def keys(self, *keys: str) -> None:
        """Press keys where the focus is."""
        self.driver.switch_to.active_element.send_keys(*keys)

    def wait(self, condition: Callable[[], object]) -> None:
        """Wait until a condition holds: what a page shows follows what happens within a second or so."""
        ends = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < ends, self.run("return document.body.innerText")
            time.sleep(0.05)

    def complaints(self) -> list[str]:
        """What the browser's console has had since the last time."""
        return [str(entry["message"]) for entry in self.driver.get_log("browser")]

    def violations(self, axe: str) -> list[str]:
        """What axe finds wrong with what is shown.

        Args:
            axe: its script.
        """
        self.run(axe)
        found: list[str] = self.driver.execute_async_script(LOOK_WITH_AXE)
        return found

    def screenshot(self, path: Path) -> None:
        """Write what the window shows to a PNG file."""
        self.driver.save_screenshot(str(path))


@contextlib.contextmanager
def chromium(profile: Path) -> Iterator[Any]:
    """A browser with a profile of its own."""
    options = webdriver.ChromeOptions()
    options.binary_location = program("chromium")
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(program("chromedriver"), port=reserved_port()))
    try:
        yield driver
    finally:
        driver.quit()
