"""Enrolment: a test that asks for ``solver`` and is named after a property runs for every registered solver that it speaks of."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from hypothesis import HealthCheck, settings

from scorebed.solvers import distinct, methods_on
from scorebed.toy.properties import PROPERTIES

matplotlib.use("Agg")
settings.register_profile("ci", derandomize=True, deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ci")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "solver" in metafunc.fixturenames:
        asked = PROPERTIES.get(metafunc.function.__name__.removeprefix("test_"))
        enrolled = list((methods_on() if asked is None else distinct()).values())  # a method is measured once, under its first name
        enrolled = [s for s in enrolled if asked is None or asked.exempt(s) is None]
        metafunc.parametrize("solver", enrolled, ids=[s.name for s in enrolled])


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HEADLESS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")


class Tab:
    """A page in headless Chromium, by its debugging protocol over a pipe: opened, clicked in, made narrow or dark."""

    def __init__(self, profile: Path) -> None:
        (theirs, ours), (back, answer) = os.pipe(), os.pipe()
        options = [*HEADLESS, f"--user-data-dir={profile}", "--remote-debugging-pipe"]
        words = ["bash", "-c", f'exec "$@" 3<&{theirs} 4>&{answer}', "-", str(CHROMIUM), *options, "about:blank"]
        silent = subprocess.DEVNULL
        self.process = subprocess.Popen(words, pass_fds=(theirs, answer), stdin=silent, stdout=silent, stderr=silent)
        os.close(theirs)
        os.close(answer)
        self.write, self.read, self.held = os.fdopen(ours, "wb", buffering=0), back, b""
        self.count, self.session, self.thrown = 0, "", list[str]()
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.ask("Runtime.enable")
        self.ask("Page.enable")

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """The answer to a call; what pages throw meanwhile is kept."""
        self.count += 1
        call = {"id": self.count, "method": method, "params": params, **({"sessionId": self.session} if self.session else {})}
        self.write.write(json.dumps(call).encode() + b"\0")
        while True:
            said = json.loads(self.heard())
            if said.get("method") == "Runtime.exceptionThrown":
                self.thrown.append(str(said["params"]["exceptionDetails"].get("exception", {}).get("description", "")))
            if said.get("id") == self.count:
                assert "error" not in said, said
                return dict(said["result"])

    def heard(self, seconds: float = 120.0) -> bytes:
        """The next message of the browser, which is stopped where it is silent for so long."""
        while b"\0" not in self.held:
            more = os.read(self.read, 1 << 16) if select.select([self.read], [], [], seconds)[0] else b""
            if not more:
                self.process.kill()
                raise RuntimeError(f"the browser went away, or said nothing for {seconds:g} s")
            self.held += more
        said, _, self.held = self.held.partition(b"\0")
        return said

    def js(self, text: str) -> Any:
        """The value of an expression in the page; a promise is waited for."""
        found = self.ask("Runtime.evaluate", expression=text, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, text: str, seconds: float = 60.0) -> Any:
        """The value of an expression once it is true."""
        begun = time.monotonic()
        while not (found := self.js(text)):
            assert time.monotonic() - begun < seconds, f"never true: {text}"
            time.sleep(0.1)
        return found

    def open(self, address: str, width: int = 1200, dark: bool = False) -> None:
        """Show a page, at this width, as to a reader who likes it dark or light."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.ask("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self.ask("Page.navigate", url="about:blank")
        self.ask("Page.navigate", url=address)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def shot(self, path: Path) -> None:
        """A picture of what is seen."""
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot")["data"]))

    def close(self) -> None:
        """End the browser."""
        self.write.close()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
        os.close(self.read)


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab | None]:
    """A ``Tab``; None where no browser is installed: tests then look at the text of the page alone, and say so."""
    if CHROMIUM is None:
        yield None
        return
    made = Tab(tmp_path_factory.mktemp("tab"))
    yield made
    made.close()
