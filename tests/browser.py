"""A headless Chromium for tests of pages: one a session, with its own empty profile.

Where Debian's `chromium` and `chromium-driver` are not installed, the tests that ask for it are
skipped and say so.
"""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.expected_conditions import staleness_of
from selenium.webdriver.support.wait import WebDriverWait

_ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--hide-scrollbars",
)  # fmt: skip
DESKTOP, PHONE = 1280, 390
_WAIT_S = 30

_FOCUSABLE = """
return Array.from(document.querySelectorAll(
  'a[href], button, input, summary, [tabindex="0"]')).filter(one =>
    one.checkVisibility({visibilityProperty: true}) && one.getClientRects().length);
"""

_CONTRAST = """
function channel(c) { c /= 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; }
function light(rgb) {
  return 0.2126 * channel(rgb[0]) + 0.7152 * channel(rgb[1]) + 0.0722 * channel(rgb[2]); }
function read(text) { return (text.match(/[\\d.]+/g) || []).map(Number); }
function ground(node) {
  for (; node; node = node.parentElement) {
    const rgb = read(getComputedStyle(node).backgroundColor);
    if (rgb.length === 3 || rgb[3] === 1) return rgb;
  }
  return [255, 255, 255];
}
const poor = new Set(), walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  const one = walk.currentNode.parentElement;
  if (!walk.currentNode.data.trim() || !one.checkVisibility()) continue;
  if (one.closest('script,.skip')) continue;
  const style = getComputedStyle(one);
  const ink = read(one instanceof SVGElement ? style.fill : style.color);
  const box = one.closest('.graph a') ? one.closest('.graph a').querySelector('.box') : null;
  const back = box ? read(getComputedStyle(box).fill) : ground(one);
  const pair = [light(ink), light(back)].sort((a, b) => b - a);
  const ratio = (pair[0] + 0.05) / (pair[1] + 0.05);
  if (ratio < 4.5) poor.add(ratio.toFixed(2) + ' ' + walk.currentNode.data.trim().slice(0, 40));
}
return Array.from(poor);
"""


class Browser:
    """What the tests do with a page."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def look(self, width: int = DESKTOP, *, dark: bool = False) -> None:
        """Have a window of a width, and prefer light or dark."""
        self._tell(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width == PHONE},
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._tell("Emulation.setEmulatedMedia", {"features": [scheme]})

    def open(self, address: str | Path) -> None:
        """Go to a page, and forget what an earlier one told."""
        self.driver.get("about:blank")
        self.complaints()
        self.driver.get(address.as_uri() if isinstance(address, Path) else address)

    def find(self, selector: str) -> Any:
        """The first element that a CSS selector names."""
        return self.driver.find_element("css selector", selector)

    def follow(self, link: Any) -> None:
        """Click what leads to another page, and wait for it."""
        self._leave(link.click)

    def ask(self, question: str) -> None:
        """Type a question into the page's field, press Enter, and wait for the answer."""
        field = self.find("#q")
        field.clear()
        self._leave(lambda: field.send_keys(question, Keys.ENTER))

    def _leave(self, act: Callable[[], object]) -> None:
        before = self.find("html")
        act()
        WebDriverWait(self.driver, _WAIT_S).until(staleness_of(before))

    def run(self, script: str, *arguments: object) -> Any:
        """What a script on the page gives."""
        return self.driver.execute_script(script, *arguments)

    def complaints(self) -> list[str]:
        """What the console says since it was last asked."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            ActionChains(self.driver).send_keys(key).perform()

    def tab(self) -> Any:
        """Press Tab; gives what has the focus then."""
        self.press(Keys.TAB)
        return self.driver.switch_to.active_element

    def focusable(self) -> list[Any]:
        """What Tab should reach, in order."""
        found: list[Any] = self.run(_FOCUSABLE)
        return found

    def poor_contrasts(self) -> list[str]:
        """Visible texts whose contrast is below 4.5 (WCAG 2.2, level AA)."""
        found: list[str] = self.run(_CONTRAST)
        return found

    def overflow(self) -> int:
        """Pixels by which the page is wider than the window."""
        wide: int = self.run(
            "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        return wide

    def print(self) -> bytes:
        """The page as a PDF."""
        answer = self._tell("Page.printToPDF", {"preferCSSPageSize": True})
        return base64.b64decode(answer["data"])

    def _tell(self, command: str, values: dict[str, Any]) -> Any:
        return self.driver.execute_cdp_cmd(command, values)


def start_browser(profile: Path) -> Iterator[Browser]:
    """Start Chromium with an empty profile, and end it afterwards. Skips where there is none."""
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or chromedriver is None:
        pytest.skip("no headless browser: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (*_ARGUMENTS, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(chromedriver))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
