"""A browser for tests, with everything that its console and network reported."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.common.keys import Keys

from support.eventually import eventually
from support.page import PageProcess

_RUN_AXE = """
const done = arguments[arguments.length - 1];
const said = (rule) => rule.nodes.map((node) => `${rule.id}: ${node.target}: ${node.failureSummary}`);
axe.run(document, {resultTypes: ["violations"]}).then((found) => done(found.violations.flatMap(said)), (error) => done([String(error)]));
"""


@dataclass(frozen=True)
class Browser:
    """One browser for the pages of several namespaces."""

    driver: webdriver.Chrome
    pages: Callable[[str], PageProcess]
    screenshots: str

    def reset(self) -> None:
        """Restore the defaults: a wide window, light colours, English, an empty console."""
        self.resize(1280, 900)
        self.colours("light")
        self.speak("en-GB,en")
        self.complaints()

    def resize(self, width: int, height: int) -> None:
        """Set the window size; below 600 pixels it is a mobile device."""
        self._tell("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)

    def colours(self, scheme: str) -> None:
        """Prefer the colour scheme `light` or `dark`."""
        self._tell("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def speak(self, languages: str) -> None:
        """Accept these languages, best first."""
        agent = str(self.driver.execute_script("return navigator.userAgent"))
        self._tell("Network.setUserAgentOverride", userAgent=agent, acceptLanguage=languages)

    def open(self, namespace: str, path: str = "/") -> None:
        """Open a page and wait until its event stream is connected."""
        self.driver.get(self.pages(namespace).url + path)
        eventually(lambda: self.text("#live") in ("live", "en direct"), within=30)

    def text(self, selector: str) -> str:
        """Return the text of the first element; empty if there is no such element."""
        found = self.driver.find_elements("css selector", selector)
        return str(found[0].text) if found else ""

    def count(self, selector: str) -> int:
        """Return the number of elements."""
        return len(self.driver.find_elements("css selector", selector))

    def script(self, text: str) -> Any:
        """Return the result of a script."""
        return self.driver.execute_script(text)

    def violations(self, axe: str) -> list[str]:
        """Return what axe-core finds wrong, details open; `axe` is its source."""
        self.script("for (const each of document.querySelectorAll('details')) each.open = true")
        return list(self.driver.execute_async_script(axe + _RUN_AXE))

    def tab(self) -> str:
        """Press Tab; return the text of the element that has the focus."""
        webdriver.ActionChains(self.driver).send_keys(Keys.TAB).perform()
        return str(self.script("return document.activeElement.textContent.trim()"))

    def complaints(self) -> list[str]:
        """Return new messages of the console, and requests to other machines."""
        said = [str(entry["message"]) for entry in self.driver.get_log("browser")]  # type: ignore[no-untyped-call]
        for entry in self.driver.get_log("performance"):  # type: ignore[no-untyped-call]
            event = json.loads(entry["message"])["message"]
            if event["method"] == "Network.requestWillBeSent":
                url = str(event["params"]["request"]["url"])
                if not url.startswith(("http://127.0.0.1:", "data:", "chrome:", "about:")):
                    said.append(f"asked for {url}")
        return said

    def picture(self, name: str, whole: bool = False) -> None:
        """Save a screenshot if `--screenshots` is set; `whole` includes the part below the window."""
        if not self.screenshots:
            return
        folder = Path(self.screenshots)
        folder.mkdir(parents=True, exist_ok=True)
        if whole:
            self.resize(int(self.script("return innerWidth")), int(self.script("return document.documentElement.scrollHeight")))
        (folder / f"{name}.png").write_bytes(self.driver.get_screenshot_as_png())

    def _tell(self, command: str, **parameters: Any) -> None:
        self.driver.execute_cdp_cmd(command, parameters)
