"""What every command takes, looked at in a loop over all of them: one's own networks, one's own methods, and what figures are for."""

from __future__ import annotations

import inspect
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.table import Table
from typer.testing import CliRunner

from scorebed.toy.cli import main
from scorebed.toy.console import ManyValues, screen
from scorebed.toy.options import each
from scorebed.toy.tables import document

COMMANDS: dict[str, Any] = dict(typer.main.get_command(main).commands)  # type: ignore[attr-defined]
COMMANDS |= {f"results {name}": command for name, command in COMMANDS.pop("results").commands.items()}
OPTIONS = {name: {o for p in c.params for o in p.opts} for name, c in COMMANDS.items()}


def said(name: str, option: str) -> str:
    return next(p.help or "" for p in COMMANDS[name].params if option in p.opts)


NO_TABLE = {
    "report": "writes a page",
    "results delete": "says how many rows are gone",
    "results export": "writes a file, as CSV or Parquet",
    "sample": "writes a picture, or an array",
    "tune": "writes a Plan, as JSON",
    "vectors": "writes the vectors, as JSON",
}
"""Commands that print no table, and what they do instead."""


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_whatever_prints_a_table_prints_it_as_json(name: str) -> None:
    """The option is in ``--help`` of each command that names a table in its source, and of no other."""
    source = inspect.getsource(inspect.getmodule(COMMANDS[name].callback))  # type: ignore[arg-type]
    assert ("--json" in OPTIONS[name]) == (name not in NO_TABLE)
    assert name in NO_TABLE or re.search(r"screen|show|as_json", source)


def printed(how: str) -> str:
    """What a command with two tables, one number that is none and a line of text writes as JSON."""
    app = typer.Typer()

    @app.command(cls=ManyValues)
    def one() -> None:
        for title in ("one", "two")[: int(how[0])]:
            page = Table("", "n", "n", "what", title=title)
            page.add_row("[bold]a[/bold]", "3", "nan", "–")
            screen().print(page)
        typer.echo("a line")
        if "wrong" in how:
            raise typer.BadParameter("nothing like it")
        if "fails" in how:
            raise typer.Exit(1)

    done = CliRunner().invoke(app, ["--json"])
    assert done.exit_code == (2 if "wrong" in how else 1 if "fails" in how else 0)
    assert "a line" in done.stderr
    return done.stdout


def test_one_run_is_one_document() -> None:
    """One table is its rows, several an object; what is no number is null; a wrong use writes nothing, a failure what it found."""

    def strict(text: str) -> Any:
        return json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))

    rows = [{"column 1": "a", "n": 3, "n, column 3": None, "what": None}]
    assert strict(printed("1")) == strict(printed("1 fails")) == rows
    assert strict(printed("2")) == {"one": rows, "two": rows}
    assert strict(printed("0")) == []
    assert printed("1 wrong") == ""
    assert strict(document({"a": [math.nan, (1.0, math.inf)]})) == {"a": [None, [1.0, None]]}


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
