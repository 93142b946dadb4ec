"""A headless Chromium, driven by chromedriver over HTTP."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key of an element's id in WebDriver's answers
LOGS = {"browser": "ALL"}


@dataclass
class Browser:
    """A session of a browser."""

    session: str  # its address

    def call(self, path: str, content: dict[str, Any] | None = None) -> Any:
        """Return the value of a WebDriver command; None sends a GET."""
        return _request(f"{self.session}/{path}", content)

    def open(self, address: str) -> None:
        self.call("url", {"url": address})

    def run(self, script: str) -> Any:
        """Return the value of a script's `return`."""
        return self.call("execute/sync", {"script": script, "args": []})

    def upload(self, selector: str, paths: Sequence[Path]) -> None:
        """Choose files in an input."""
        element = self.call("element", {"using": "css selector", "value": selector})[ELEMENT]
        self.call(f"element/{element}/value", {"text": "\n".join(map(str, paths))})

    def wait(self, script: str, seconds: float = 60) -> None:
        """Return as soon as a script returns true."""
        end = time.monotonic() + seconds
        while not self.run(script):
            assert time.monotonic() < end, f"not true within {seconds} s: {script}"
            time.sleep(0.1)

    def log(self) -> list[str]:
        """Return the messages of the console, such as violations of the Content-Security-Policy."""
        return [entry["message"] for entry in self.call("se/log", {"type": "browser"})]

    def screen(self, width: int, height: int, scheme: str) -> None:
        """Set the size of the page, and the colour scheme: light or dark."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self._devtools("Emulation.setDeviceMetricsOverride", metrics)
        self._devtools("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("screenshot")))

    def _devtools(self, command: str, parameters: dict[str, Any]) -> None:
        self.call("goog/cdp/execute", {"cmd": command, "params": parameters})


@contextlib.contextmanager
def open_browser() -> Iterator[Browser]:
    """Start chromedriver and a headless Chromium; both end with the context."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    driver = subprocess.Popen(["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{address}/status")
        arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        options = {"browserName": "chrome", "goog:chromeOptions": {"args": arguments}, "goog:loggingPrefs": LOGS}
        session = _request(f"{address}/session", {"capabilities": {"alwaysMatch": options}})["sessionId"]
        browser = Browser(f"{address}/session/{session}")
        try:
            yield browser
        finally:
            urllib.request.urlopen(urllib.request.Request(browser.session, method="DELETE"), timeout=30).close()
    finally:
        driver.terminate()
        driver.wait(30)


def _request(address: str, content: dict[str, Any] | None) -> Any:
    data = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)["value"]


def _wait_for(address: str) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError):
            _request(address, None)
            return
        time.sleep(0.1)
    raise AssertionError(f"no answer at {address}")
