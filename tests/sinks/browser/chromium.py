"""A headless Chromium, driven over its DevTools protocol."""

import base64
import io
import itertools
import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from websockets.sync.client import ClientConnection, connect

START_TIMEOUT_S = 60.0
CALL_TIMEOUT_S = 60.0
TIMEOUT_S = 60.0  # for states that come within a second on a quiet machine
_FLAGS = (
    *("--headless=new", "--no-sandbox", "--remote-debugging-port=0", "--disable-gpu", "--mute-audio"),
    *("--no-first-run", "--disable-extensions", "--disable-dev-shm-usage", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


class Chromium:
    """A browser process; `page` opens a tab. Downloads go to `folder`/downloads."""

    def __init__(self, folder: Path) -> None:
        binary = shutil.which("chromium")
        if binary is None:
            pytest.fail("these tests need Chromium: apt-get install chromium", pytrace=False)
        self.downloads = folder / "downloads"
        self.downloads.mkdir(parents=True)
        profile = folder / "profile"
        self._process = subprocess.Popen(
            [binary, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        port_file = profile / "DevToolsActivePort"
        wait_until(lambda: port_file.is_file() and port_file.read_text().count("\n") >= 1, START_TIMEOUT_S)
        self._port = int(port_file.read_text().splitlines()[0])

    def page(
        self, url: str, size: tuple[int, int] = (1280, 720), scheme: str = "light", script: str = ""
    ) -> "Page":
        """A tab of this size in CSS pixels that shows `url`.

        scheme: light or dark; script: JavaScript to run before that of the page.
        """
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}/json/new?about:blank", method="PUT")
        with urllib.request.urlopen(request) as answer:
            target = json.load(answer)
        page = Page(target["webSocketDebuggerUrl"])
        page.call("Page.enable")
        page.call("Runtime.enable")
        page.call("Log.enable")
        page.resize(size)
        page.call("Page.addScriptToEvaluateOnNewDocument", source=script)
        page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        behaviour = {"behavior": "allow", "downloadPath": str(self.downloads)}
        page.call("Browser.setDownloadBehavior", **behaviour)
        page.call("Page.navigate", url=url)
        page.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'")
        return page

    def cpu_s(self) -> float:
        """CPU time in seconds that all its processes have used."""
        parents, used = {}, {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # the process has ended
                continue
            parents[int(folder.name)], used[int(folder.name)] = (
                int(fields[1]),
                int(fields[11]) + int(fields[12]),
            )

        def belongs(process: int) -> bool:
            return process == self._process.pid or (process in parents and belongs(parents[process]))

        return sum(ticks for process, ticks in used.items() if belongs(process)) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """End the browser."""
        self._process.terminate()
        try:
            self._process.wait(10.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Page:
    """One tab."""

    def __init__(self, address: str) -> None:
        self._resources = ExitStack()
        self._socket: ClientConnection = self._resources.enter_context(
            connect(address, max_size=None, compression=None, ping_interval=None)
        )
        self._ids = itertools.count(1)
        self.complaints: list[str] = []  # errors and violations of the security policy

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Run a command of the protocol and return its result."""
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        deadline_s = time.monotonic() + CALL_TIMEOUT_S
        while True:
            message = json.loads(self._socket.recv(timeout=max(0.1, deadline_s - time.monotonic())))
            self._note(message)
            if message.get("id") == number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result

    def _note(self, message: dict[str, Any]) -> None:
        parameters = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(
                parameters["exceptionDetails"]["exception"].get("description", "exception")
            )
        elif message.get("method") == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            entry = parameters["entry"]
            if "ERR_CONNECTION_REFUSED" not in entry["text"]:
                self.complaints.append(f"{entry['text']} {entry.get('url', '')}")

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def text(self, selector: str) -> str:
        """The visible text of an element."""
        return str(self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText"))

    def shows(self, selector: str) -> bool:
        """Whether the element is visible."""
        query = f"document.querySelector({json.dumps(selector)})"
        return bool(self.evaluate(f"{query} !== null && {query}.checkVisibility()"))

    def state(self) -> str:
        """The name of the page's state."""
        return str(self.evaluate("document.body.dataset.state"))

    def click(self, selector: str) -> None:
        """Click on an element."""
        self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")

    def press(self, key: str) -> None:
        """Press a key."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, text=key if kind == "keyDown" else "")

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """Send a mouse event: mousePressed, mouseMoved, mouseReleased or mouseWheel."""
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def drag(self, start: tuple[float, float], end: tuple[float, float], button: str = "left") -> None:
        """Drag with a mouse button held down."""
        buttons = {"left": 1, "right": 2}[button]
        self.mouse("mousePressed", *start, button=button, buttons=buttons, clickCount=1)
        self.mouse("mouseMoved", *end, button=button, buttons=buttons)
        self.mouse("mouseReleased", *end, button=button, clickCount=1)

    def resize(self, size: tuple[int, int]) -> None:
        """Change the size in CSS pixels; narrow pages are phones with a touch screen."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=size[0], height=size[1], deviceScaleFactor=1, mobile=size[0] < 600,
        )  # fmt: skip

    def screenshot(self, selector: str | None = None) -> np.ndarray:
        """(H, W, 3) uint8 RGB of the page or of one element."""
        clip = {}
        if selector:
            box = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
            x, y, width, height = self.evaluate(
                f"(({{x, y, width, height}}) => [x, y, width, height])({box})"
            )
            clip = {"clip": {"x": x, "y": y, "width": width, "height": height, "scale": 1}}
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png", **clip)["data"])
        return np.array(Image.open(io.BytesIO(data)).convert("RGB"))

    def still(self, selector: str) -> np.ndarray:
        """A screenshot of an element that no longer changes: two in a row are equal."""
        deadline_s = time.monotonic() + TIMEOUT_S
        last = self.screenshot(selector)
        while time.monotonic() < deadline_s:
            image = self.screenshot(selector)
            if np.array_equal(image, last):
                return image
            last = image
        pytest.fail(f"{selector} did not come to rest within {TIMEOUT_S} s")

    def wait_for(self, expression: str, timeout_s: float = TIMEOUT_S) -> None:
        """Wait until a JavaScript expression is true."""
        wait_until(lambda: bool(self.evaluate(expression)), timeout_s, expression)

    def wait_for_state(self, state: str, timeout_s: float = TIMEOUT_S) -> None:
        """Wait until the page is in this state."""
        self.wait_for(f"document.body.dataset.state === {json.dumps(state)}", timeout_s)

    def drawn(self) -> int:
        """How often the 3D view was drawn."""
        return int(self.evaluate("document.getElementById('scene').dataset.drawn ?? 0"))

    def wait_until_drawn(self, after: int) -> None:
        """Wait until the 3D view is drawn once more than `after` times, and turns no more."""
        self.wait_for(
            f"(({{drawn, turning}}) => drawn > {after} && turning === 'false')"
            "(document.getElementById('scene').dataset)"
        )

    def close(self) -> None:
        """Close the tab."""
        self.call("Page.close")
        self._resources.close()


def wait_until(condition: Callable[[], bool], timeout_s: float, what: str = "the condition") -> None:
    """Wait until `condition()` is true; fail after `timeout_s`."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            pytest.fail(f"{what} was not true within {timeout_s} s")
        time.sleep(0.05)
