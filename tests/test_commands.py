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

from scorebed.toy.cli import PANELS, main
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


OWN = [(name, flag) for name, options in OPTIONS.items() for flag in ("--solver", "--solvers", "--methods") if flag in options]


@pytest.mark.parametrize(("name", "flag"), OWN)
def test_a_method_may_be_ones_own(name: str, flag: str, tmp_path: Path) -> None:
    """A file that is not there is said to be missing, before any work: the word was taken for a place."""
    more = ["--out", str(tmp_path / "new.png" if name == "sample" else tmp_path)] if "--out" in OPTIONS[name] else []
    more += ["--model", "mixture1d"] if any("--model" in p.opts and p.required for p in COMMANDS[name].params) else []
    done = CliRunner().invoke(main, [name, flag, "no_such_file.py:mine", *more])
    assert done.exit_code == 2, done.output
    assert "no_such_file.py" in done.output
    assert "not known" not in done.output


MINE = """
import math
from scorebed import SOLVERS, solver
from scorebed.solvers.inverse import sampler

@solver(order=1, reference="DDIM by another name", register=False)
def mine(denoise, x, s, t, carry, noise):
    return (t.sigma / s.sigma) * x - t.alpha * math.expm1(s.lam - t.lam) * denoise(x, s), carry

@solver(order=1, reference="the same on tokens", register=False, on=("jump",))
def tokens(denoise, x, s, t, carry, noise):
    return SOLVERS["jump_euler"].step(denoise, x, s, t, carry, noise)

@sampler(reference="the prior's mean", register=False)
def still(c, x, nodes, noise):
    return 0.0 * x
"""
SMALL = {
    "advise --model mixture1d --nfe 4 --states 4 --grids uniform_lam karras --solvers {}:mine ddim": "mine",
    "discrete --methods {}:tokens --problems masked_bits --steps 4 8 --no-figures": "tokens",
    "doctor --solvers {}:mine --faces sample scheduler --jobs 1": "1 methods",
    "guided --solvers {}:mine --scales 1 2 --steps 5 --no-figures": "mine",
    "guided --problem modes --rules cfg --solvers {}:mine --scales 2 --steps 5 --no-figures": "mine",
    "posterior --methods {}:still --problems mixture2d --steps 2 --samples 20 --joint 0 --no-figures": "still",
}


@pytest.mark.parametrize("words", SMALL, ids=lambda words: words.partition(" {")[0])
def test_a_method_of_ones_own_runs(words: str, tmp_path: Path) -> None:
    """A small run of each command with one method out of a file; the file shadows nothing that is registered."""
    (tmp_path / "own_methods.py").write_text(MINE, encoding="utf-8")
    where = ["--out", str(tmp_path / ("plan.json" if words.startswith("advise") else "out"))]
    done = CliRunner().invoke(main, [*words.format(tmp_path / "own_methods.py").split(), *where])
    assert done.exit_code == 0, done.output
    assert SMALL[words] in done.output
    if "ddim" in words:
        assert "the same Plan as" in done.output
        assert "ddim on uniform_lam" in " ".join(done.output.split())


@pytest.mark.parametrize("name", [n for n, options in OPTIONS.items() if "--dark" in options])
def test_whatever_draws_can_draw_for_a_slide_or_a_paper(name: str) -> None:
    assert "--for" in OPTIONS[name]


def test_help_has_every_command_under_what_one_comes_for() -> None:
    names = [name for names in PANELS.values() for name in names]
    assert len(names) == len(set(names))
    assert set(names) == {name.partition(" ")[0] for name in COMMANDS}
    shown = CliRunner().invoke(main, ["--help"]).output
    assert [shown.index(panel) for panel in PANELS] == sorted(shown.index(panel) for panel in PANELS)
    assert shown.index("Which method?") < shown.index("advise") < shown.index("Is it right?") < shown.index("check-grid")


QUICK = ("check-grid", "conform", "report", "vectors", "results compare", "results delete", "results export", "results list")
"""Commands that only read and write files."""


@pytest.mark.parametrize("name", [n for n in sorted(COMMANDS) if n not in QUICK])
def test_whatever_takes_long_says_how_far_it_is(name: str) -> None:
    source = inspect.getsource(COMMANDS[name].callback.__wrapped__)
    words = set(re.findall(r"\w+", source)) | {w for f in re.findall(r"\b(_\w+)\(", source) for w in used(name, f)}
    assert words & {"bar", "each"} or name == "tune", "a bar, but for the one that prints a line for each thing done"


def used(name: str, function: str) -> set[str]:
    """The words of a function of the command's file."""
    found = getattr(inspect.getmodule(COMMANDS[name].callback), function, None)
    return set(re.findall(r"\w+", inspect.getsource(found))) if inspect.isfunction(found) else set()


def test_a_loop_under_a_bar_leaves_nothing_out() -> None:
    assert list(each(["a", "b"], str)) == ["a", "b"]
