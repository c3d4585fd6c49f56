"""What every command takes, looked at in a loop over all of them: one's own networks, one's own methods, and what figures are for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from scorebed.toy.cli import main
from scorebed.toy.options import each

COMMANDS: dict[str, Any] = dict(typer.main.get_command(main).commands)  # type: ignore[attr-defined]
OPTIONS = {name: {o for p in c.params for o in p.opts} for name, c in COMMANDS.items()}


def said(name: str, option: str) -> str:
    return next(p.help or "" for p in COMMANDS[name].params if option in p.opts)


@pytest.mark.parametrize("name", [n for n, options in OPTIONS.items() if "--model" in options])
def test_a_model_may_be_ones_own(name: str) -> None:
    assert "file.py:callable" in said(name, "--model")
    assert {"--shape", "--schedule", "--prediction"} <= OPTIONS[name]


OTHERS = {
    "doctor": "it looks at registered methods",
    "guided": "its rows are kept by the names of registered methods",
    "discrete": "its samplers are of tokens",
    "advise": "it races what is registered",
}
"""Commands whose methods are names of the registry, and why."""


@pytest.mark.parametrize("name", [n for n, options in OPTIONS.items() if {"--solvers"} & options and n not in OTHERS])
def test_a_method_may_be_ones_own(name: str, tmp_path: Path) -> None:
    """A file that is not there is said to be missing, before any work: the word was taken for a place."""
    more = ["--out", str(tmp_path)] if "--out" in OPTIONS[name] else []
    done = CliRunner().invoke(main, [name, "--solvers", "no_such_file.py:mine", *more])
    assert done.exit_code == 2, done.output
    assert "no_such_file.py" in done.output
    assert "not known" not in done.output


@pytest.mark.parametrize("name", [n for n, options in OPTIONS.items() if "--dark" in options])
def test_whatever_draws_can_draw_for_a_slide_or_a_paper(name: str) -> None:
    assert "--for" in OPTIONS[name]


def test_a_loop_under_a_bar_leaves_nothing_out() -> None:
    assert list(each(["a", "b"], str)) == ["a", "b"]
