"""The site builds without a warning, has a page for every method, problem and claim, and its tables sort in a real browser."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scorebed import SOLVERS
from scorebed.toy.problems.registry import PROBLEMS

ROOT = Path(__file__).resolve().parent.parent
pytest.importorskip("mkdocs")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    for command in (
        [str(ROOT / "docs" / "build.py"), str(folder)],
        ["-m", "mkdocs", "build", "--strict", "--quiet", "-f", str(folder / "mkdocs.yml")],
    ):
        run = [sys.executable, *command]
        done = subprocess.run(run, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder / "html"


def test_there_is_a_page_for_everything(site: Path) -> None:
    missing = [name for name in SOLVERS if not (site / "methods" / name / "index.html").is_file()]
    missing += [name for name in PROBLEMS if not (site / "problems" / name / "index.html").is_file()]
    missing += [name for name in ("claims", "conventions", "scoreboard", "architecture") if not (site / name / "index.html").is_file()]
    assert not missing
    assert len(list(site.rglob("index.html"))) >= 150


def test_a_method_page_says_what_is_claimed(site: Path) -> None:
    text = (site / "methods" / "dpmpp_2m" / "index.html").read_text(encoding="utf-8")
    for word in ("σ_t/σ_s", "arXiv:2211.01095", "evaluations per step", "dpmpp_2s", "scorebed study --solvers dpmpp_2m"):
        assert word in text


def test_in_a_browser(site: Path, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("there is no Chromium here")
    quiet = ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-gpu"]
    command = [browser, "--headless", "--no-sandbox", *quiet, f"--user-data-dir={tmp_path}", "--virtual-time-budget=8000", "--dump-dom"]
    page = (site / "methods" / "index.html").as_uri()
    done = subprocess.run([*command, page], capture_output=True, text=True, timeout=120, check=False)
    assert 'data-sortable="yes"' in done.stdout
