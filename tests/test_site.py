"""The site builds without a warning, has a page for every method, problem and claim, and its tables sort in a real browser."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

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
    missing += [
        name for name in ("claims", "conventions", "scoreboard", "architecture", "reference") if not (site / name / "index.html").is_file()
    ]
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


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """Where the site is served on this machine: its search reads an index, which a page from a file may not."""
    silent = type("Silent", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(silent, directory=str(site)))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def read(site: Path, tab: Any) -> bool:
    """Whether there is a browser; without one the text of a page is looked at."""
    if tab is None:
        print("looked at as text: no Chromium is installed")
        assert "sort.js" in (site / "methods" / "index.html").read_text(encoding="utf-8")
    return tab is not None


_COLUMN = "[...document.querySelectorAll('article tbody tr')].map(row => row.cells[3].textContent.trim())"


def test_tables_sort_by_a_click(site: Path, address: str, tab: Any) -> None:
    if not read(site, tab):
        return
    tab.open(f"{address}methods/")
    tab.until("document.querySelector('article table')?.dataset.sortable === 'yes'")
    for sign in (1, -1):
        tab.js("document.querySelectorAll('article th')[3].click()")
        orders = [float(text) for text in tab.js(_COLUMN) if text.replace(".", "").isdigit()]
        assert len(orders) > 100
        assert orders == sorted(orders, reverse=sign < 0)


def test_the_search_finds_a_method(site: Path, address: str, tab: Any) -> None:
    if not read(site, tab):
        return
    tab.open(address)
    tab.until("!!document.querySelector('.md-search__input')")
    tab.js("document.querySelector('.md-search__input').focus()")
    tab.ask("Input.insertText", text="dpmpp_2m")
    links = "[...document.querySelectorAll('.md-search-result__item a')].map(a => a.href)"
    tab.until(f"{links}.length > 0")
    assert any("methods/dpmpp_2m" in link for link in tab.js(links))


def test_dark_where_the_reader_likes_it_and_light_by_a_click(site: Path, address: str, tab: Any) -> None:
    if not read(site, tab):
        return
    ground = "getComputedStyle(document.body).backgroundColor.match(/[0-9.]+/g).slice(0, 3).map(Number)"
    for dark, host in ((False, "127.0.0.1"), (True, "localhost")):  # a choice is kept by host: each is a new reader
        tab.open(f"{address.replace('127.0.0.1', host)}methods/heun/", dark=dark)
        tab.until(f"document.body.dataset.mdColorScheme === '{'slate' if dark else 'default'}'")
        assert (max(tab.js(ground)) < 90) == dark
        drawn = tab.js("[...document.querySelectorAll('.drawn svg')].map(s => s.getBoundingClientRect().width)")
        assert len(drawn) == 2  # the region and the convergence, both seen
        assert min(drawn) > 150
    tab.js("document.querySelector('.md-header__option label:not([hidden])').click()")
    tab.until("document.body.dataset.mdColorScheme === 'default'")


@pytest.mark.parametrize("page", ["", "methods/", "methods/dpmpp_2m/", "which_sampler/", "claims/", "names/", "gallery/"])
def test_a_page_fits_a_phone(page: str, site: Path, address: str, tab: Any) -> None:
    """Nothing but what scrolls in its own box is wider than the screen, and nothing was thrown."""
    if not read(site, tab):
        return
    tab.open(f"{address}{page}", width=390)
    assert tab.js("document.documentElement.scrollWidth") <= 390
    assert tab.js("document.querySelector('label.md-header__button[for=__drawer]').getBoundingClientRect().width") > 0
    assert tab.thrown == []
