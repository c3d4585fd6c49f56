"""The site builds without a warning, has a page for every method, problem and claim, and its tables sort in a real browser."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
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
    for word in (
        "σ_t/σ_s",
        "arXiv:2211.01095",
        "evaluations per step",
        "dpmpp_2s",
        "scorebed study --solvers dpmpp_2m",
        "RMS error at 10",
        "DPM++ 2M",
    ):
        assert word in text


def test_pages_of_guidance_are_there(site: Path) -> None:
    for name, words in {
        "ci": ("pytest --scorebed", "scorebed conform"),
        "reproduce": ("scorebed peers", "scorebed museum"),
        "museum": ("huggingface/diffusers#1512", "check_posterior"),
        "names": ("DPM++ 2M", "sample_dpmpp_2m"),
        "gallery": ("work_precision.png",),
        "versions": ("semantic",),
        "which_sampler": ("scorebed advise", "scorebed study"),
    }.items():
        text = (site / name / "index.html").read_text(encoding="utf-8")
        assert all(word in text for word in words), name


def commands() -> list[str]:
    """The lines of the pages that call the command, as they are printed."""
    out = []
    for page in sorted((ROOT / "docs").glob("*.md")):
        text = page.read_text(encoding="utf-8")
        out += [line.strip() for line in re.findall(r"^    (scorebed .+)$", text, re.MULTILINE)] + re.findall(
            r"`(scorebed [a-z][^`]*)`", text
        )
    return [line.partition("  #")[0].strip() for line in out]


@pytest.mark.parametrize("line", sorted(set(commands())))
def test_commands_of_the_pages_are_commands(line: str) -> None:
    """Every command that a page prints parses: the command is there, and so is every option."""
    import typer

    from scorebed.toy.cli import main

    words = shlex.split(line)[1:]
    group = typer.main.get_command(main)
    command = group.commands[words[0]]  # type: ignore[attr-defined]
    rest = words[1:]
    if hasattr(command, "commands"):
        command, rest = command.commands[rest[0]], rest[1:]
    command.make_context(words[0], rest, resilient_parsing=True)
    known = {option for p in command.params for option in (*p.opts, *p.secondary_opts)} | {"--json", "--help"}
    assert {word.partition("=")[0] for word in rest if word.startswith("--")} <= known


def test_in_a_browser(site: Path, browser: Callable[..., str] | None) -> None:
    """Tables sort, at a phone's width too. Without a browser the text of the page is looked at."""
    page = site / "methods" / "index.html"
    if browser is None:
        print("looked at as text: no Chromium is installed")
        assert "sort.js" in page.read_text(encoding="utf-8")
        return
    assert 'data-sortable="yes"' in browser(page)
    assert 'data-sortable="yes"' in browser(page, width=400)
    assert 'data-sortable="yes"' in browser(site / "museum" / "index.html")
