"""A browser as a person uses it, and what its console and network said meanwhile."""

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


@dataclass(frozen=True)
class Browser:
    """One browser on the pages of several namespaces."""

    driver: webdriver.Chrome
    pages: Callable[[str], PageProcess]
    screenshots: str

    def reset(self) -> None:
        """As it is for most people: a wide window, light, English, an empty console."""
        self.resize(1280, 900)
        self.colours("light")
        self.speak("en-GB,en")
        self.complaints()

    def resize(self, width: int, height: int) -> None:
        """Take the window of another device."""
        self._tell("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)

    def colours(self, scheme: str) -> None:
        """Prefer `light` or `dark`."""
        self._tell("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def speak(self, languages: str) -> None:
        """Like these languages, best first."""
        agent = str(self.driver.execute_script("return navigator.userAgent"))
        self._tell("Network.setUserAgentOverride", userAgent=agent, acceptLanguage=languages)

    def open(self, namespace: str, path: str = "/") -> None:
        """Open a page and wait until it is live."""
        self.driver.get(self.pages(namespace).url + path)
        eventually(lambda: self.text("#live") in ("live", "en direct"), within=30)

    def text(self, selector: str) -> str:
        """The text of the first element; empty if there is none."""
        found = self.driver.find_elements("css selector", selector)
        return str(found[0].text) if found else ""

    def count(self, selector: str) -> int:
        """How many elements there are."""
        return len(self.driver.find_elements("css selector", selector))

    def script(self, text: str) -> Any:
        """What a script returns."""
        return self.driver.execute_script(text)

    def tab(self) -> str:
        """Press the tabulator; return what has the focus then."""
        webdriver.ActionChains(self.driver).send_keys(Keys.TAB).perform()
        return str(self.script("return document.activeElement.textContent.trim()"))

    def complaints(self) -> list[str]:
        """What the console said since it was last asked, and what was asked of other machines."""
        said = [str(entry["message"]) for entry in self.driver.get_log("browser")]  # type: ignore[no-untyped-call]
        for entry in self.driver.get_log("performance"):  # type: ignore[no-untyped-call]
            event = json.loads(entry["message"])["message"]
            if event["method"] == "Network.requestWillBeSent":
                url = str(event["params"]["request"]["url"])
                if not url.startswith(("http://127.0.0.1:", "data:", "chrome:", "about:")):
                    said.append(f"asked for {url}")
        return said

    def picture(self, name: str, whole: bool = False) -> None:
        """Keep a picture where pictures are wanted; `whole` also of what is below the window."""
        if not self.screenshots:
            return
        folder = Path(self.screenshots)
        folder.mkdir(parents=True, exist_ok=True)
        if whole:
            self.resize(int(self.script("return innerWidth")), int(self.script("return document.documentElement.scrollHeight")))
        (folder / f"{name}.png").write_bytes(self.driver.get_screenshot_as_png())

    def _tell(self, command: str, **parameters: Any) -> None:
        self.driver.execute_cdp_cmd(command, parameters)
