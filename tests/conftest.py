"""Enrolment: a test that asks for ``solver`` and is named after a property runs for every registered solver that it speaks of."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

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


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str] | None:
    """``browser(page, fragment, width)``: a page after its scripts ran, in headless Chromium; None where no browser is installed: tests
    then look at the text of the page alone, and say so."""
    if CHROMIUM is None:
        return None

    def dom(page: Path, fragment: str = "", width: int = 1200) -> str:
        profile = tmp_path_factory.mktemp("chromium")
        options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", f"--window-size={width},1600"]
        words = [str(CHROMIUM), *options, "--virtual-time-budget=20000", "--dump-dom", f"{page.resolve().as_uri()}#{fragment}"]
        return subprocess.run(words, capture_output=True, text=True, timeout=120, check=True).stdout

    return dom
