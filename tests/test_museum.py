"""The museum: every public defect is found and named unaided, and no mended twin is flagged; the table of it is complete."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scorebed.toy.cli import main
from scorebed.toy.museum.registry import CHECKS, EXHIBITS, exhibit, load

EXHIBITED = load()


@pytest.mark.parametrize("name", EXHIBITED)
def test_found_named_and_its_twin_passes(name: str) -> None:
    seen = EXHIBITED[name].run()
    assert seen.found, f"{name}: passes as shipped"
    assert seen.named, f"{name}: {seen.exhibit.named!r} is not in {seen.said!r}"
    assert not seen.flagged, f"{name}: the mended twin is flagged: {seen.twin_said}"
    assert seen.seconds < 60.0


def test_at_least_sixty_each_with_a_thread_of_its_own() -> None:
    assert len(EXHIBITED) >= 60
    threads = [e.thread for e in EXHIBITED.values()]
    assert len(set(threads)) == len(threads)
    peers = (Path(__file__).parent.parent / "toy" / "PEERS.md").read_text(encoding="utf-8")
    for e in EXHIBITED.values():
        for thread in (e.thread, *e.also):
            place, _, key = thread.partition("#")
            if place == "toy/PEERS.md":
                assert f'<a id="{key}"></a>' in peers, thread
            else:
                assert re.fullmatch(r"[\w.-]+/[\w.+-]+#\d+", thread), thread


def test_no_exhibit_is_named_twice_or_of_an_unknown_check() -> None:
    with pytest.raises(ValueError, match="registered already"):
        exhibit("check_grid", "a/b#1", "", named="")(EXHIBITED["levels_for_steps"].subject)

    def another(mended: bool) -> None:
        return None

    with pytest.raises(ValueError, match="'check_nothing' is not known"):
        exhibit("check_nothing", "a/b#1", "", named="")(another)
    assert "another" not in EXHIBITS


def test_an_exhibit_that_is_not_found_shows() -> None:
    """The museum is no list of assertions about itself: broken on both sides, or on none, it is not right."""
    from dataclasses import replace

    one = EXHIBITED["levels_for_steps"]
    assert not replace(one, subject=lambda mended: one.subject(True)).run().found
    assert replace(one, subject=lambda mended: one.subject(False)).run().flagged
    assert not replace(one, named="something else").run().right


def test_the_command() -> None:
    run = CliRunner()
    done = run.invoke(main, ["museum", "--check", "check_grid"])
    assert done.exit_code == 0, done.output
    count = sum(e.check == "check_grid" for e in EXHIBITED.values())
    assert f"{count} of {count} found, {count} named, 0 of {count} mended twins flagged" in done.output
    listed = json.loads(run.invoke(main, ["museum", "--list", "--json"]).output)
    assert {row["check"] for row in listed} <= set(CHECKS)
    assert len(listed) == len(EXHIBITED)
    assert run.invoke(main, ["museum", "nothing"]).exit_code == 2
