"""The command ``scorebed``: what ``--help`` shows is all of it.

Lists are given as ``--nfe 5 10 20``, ``--nfe 5,10,20`` or ``--nfe 5 --nfe 10 --nfe 20``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from typer.core import TyperCommand, TyperOption

BUDGETS = (5, 10, 20, 40)
WIDTH = 120
"""Columns of a table that goes to a file or a pipe."""


def spread(args: Sequence[str], many: Iterable[str]) -> list[str]:
    """Write ``--flag a b,c`` as ``--flag a --flag b --flag c`` for the flags in ``many``; all else stays as it is."""
    many, flag, given = set(many), "", True
    out: list[str] = []
    for i, arg in enumerate(args):
        if arg == "--":
            return [*out, *args[i:]]
        head, equals, tail = arg.partition("=")
        if head in many and (equals or arg == head):
            if not given:
                out.append(flag)  # a flag without a value: let the parser say so
            flag, given = head, bool(equals)
            values = tail.split(",") if equals else []
        elif arg.startswith("-") and not _number(arg):
            if not given:
                out.append(flag)
            flag, given, values = "", True, []
            out.append(arg)
        elif flag:
            given, values = True, arg.split(",")
        else:
            values = []
            out.append(arg)
        out += [part for value in values if value.strip() for part in (flag, value.strip())]
    return out if given else [*out, flag]


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


class ManyValues(TyperCommand):
    """A command whose list options take several values after one flag."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        many = [name for p in self.params if isinstance(p, TyperOption) and p.multiple for name in p.opts]
        return super().parse_args(ctx, spread(args, many))


main = typer.Typer(
    name="scorebed",
    help="Diffusion and flow solvers, tested against closed-form truth.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        try:
            typer.echo(f"scorebed {version('scorebed')}")
        except PackageNotFoundError:
            typer.echo("scorebed, not installed: run from the folder of the sources")
        raise typer.Exit


@main.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", help="Show the version and stop.", callback=_version, is_eager=True)] = False,
) -> None:
    pass


def screen(width: int = WIDTH) -> Console:
    """Where tables go: the width of the terminal, or a fixed one where there is none."""
    console = Console()
    return console if console.is_terminal else Console(width=width)


@contextmanager
def bar() -> Iterator[Callable[[int, int, str], None]]:
    """A live progress bar on a terminal, and nothing elsewhere; yields ``report(done, all, what)``."""
    columns = (TextColumn("{task.description:<32}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=None)
        yield lambda done, total, what: progress.update(task, completed=done, total=total, description=what)


def known(names: Sequence[str] | None, registry: Mapping[str, Any], what: str, flag: str) -> None:
    """Refuse unknown names with one message that lists the known ones; exit status 2."""
    from toy.study import pick

    try:
        pick(names, registry, what)
    except ValueError as unknown:
        raise typer.BadParameter(str(unknown), param_hint=flag) from None


def _budget(text: str | int) -> int:
    try:
        if int(text) < 1:
            raise ValueError
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a number of evaluations: give integers of at least 1") from None
    return int(text)


@main.command(cls=ManyValues)
def study(
    problems: Annotated[list[str] | None, typer.Option(metavar="NAME…", help="Problems, or all; all by default.")] = None,
    solvers: Annotated[list[str] | None, typer.Option(metavar="NAME…", help="Solvers, or all; ten of the best known by default.")] = None,
    grids: Annotated[list[str] | None, typer.Option(metavar="NAME…", help="Grids, or all; each problem's own by default.")] = None,
    nfe: Annotated[
        list[int] | None, typer.Option(metavar="N…", parser=_budget, help="Budgets of evaluations of the denoiser; 5 10 20 40.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where results, tables and figures go.")] = Path("out"),
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of the initial states.")] = 0,
    figures: Annotated[bool, typer.Option("--figures/--no-figures", help="Draw the figures.")] = True,
) -> None:
    """Measure solvers against exact truth: order of convergence, and error at a number of evaluations.

    [dim]scorebed study[/dim]
    [dim]scorebed study --problems mixture1d product2d --solvers heun dpmpp_2m --nfe 6 12 24[/dim]
    [dim]scorebed study --problems digits --grids uniform_lam karras --out out/digits[/dim]
    """
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")  # before NumPy is loaded: on matrices this small, threads cost more than they give
    import toy.report
    from solvers import GRIDS, SOLVERS
    from toy.problems import PROBLEMS
    from toy.study import run_study

    known(problems, PROBLEMS, "problem", "--problems")
    known(solvers, SOLVERS, "solver", "--solvers")
    known(grids, GRIDS, "grid", "--grids")
    began, budgets = time.perf_counter(), sorted(set(nfe or BUDGETS))
    try:
        with bar() as report:
            table = run_study(problems, solvers, grids, budgets, seed, out, report)
            took = time.perf_counter() - began
            pages = toy.report.tables(table, budgets, out, screen().print)
            drawn = toy.report.figures(table, out, seed, report) if figures else []
    except KeyboardInterrupt:
        partial = out / "results.partial.csv"
        typer.echo(f"\nstopped; the rows so far are in {partial if partial.exists() else out / 'results.csv'}", err=True)
        raise typer.Exit(130) from None
    files = [out / "results.csv", *pages, *(path for path in drawn if path.suffix == ".png")]
    typer.echo(f"{len(table)} runs in {took:.0f} s, {time.perf_counter() - began:.0f} s with tables and figures. Written to {out}:")
    typer.echo("  " + "  ".join(path.name for path in files))


@main.command()
def solvers(
    names: Annotated[list[str] | None, typer.Argument(metavar="[SOLVER…]", help="Which solvers; all by default.")] = None,
    measure: Annotated[bool, typer.Option("--measure/--claims", help="Measure, or only list claims and facts.")] = True,
) -> None:
    """The catalogue of solvers: what they claim, what their Plans show, and what is measured.

    [dim]scorebed solvers --claims[/dim]
    [dim]scorebed solvers heun dpmpp_2m unipc_2[/dim]
    """
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    from solvers import SOLVERS
    from toy.catalogue import catalogue

    known(names, SOLVERS, "solver", "SOLVER")
    with bar() as report:
        lines = catalogue(names, measure, report)
    found = ("measured", "strong", "stable") if measure else ()
    numbers = ("claim", *found, "NFE/step", "start", "history")
    table = Table(box=None, padding=(0, 2, 0, 0))
    for head in ("solver", "kind", *numbers, "reference"):
        table.add_column(head, justify="right" if head in numbers else "left", header_style="dim", no_wrap=head != "reference")
    for e in lines:
        claim = f"{e.order}" if e.weak is None else f"{e.weak:g}" + ("" if e.strong is None else f" / {e.strong:g}")
        measured = [str(o or "") for o in (e.measured, e.measured_strong)] + ["" if e.interval is None else f"{e.interval:.4g}"]
        counts = ("" if e.nfe is None else f"{e.nfe}", f"+{e.start}" if e.start else "", "" if e.history is None else f"{e.history}")
        table.add_row(f"[bold]{e.name}[/bold]", e.kind, claim, *(measured if measure else ()), *counts, e.reference)
    screen(150).print(table)


@main.command()
def mutants(
    names: Annotated[list[str] | None, typer.Argument(metavar="[SOLVER…]", help="Which solvers; all by default.")] = None,
) -> None:
    """Corrupt every coefficient of every solver by 1 %, and show which law notices."""
    from solvers import SOLVERS

    known(names, SOLVERS, "solver", "SOLVER")
    try:
        from toy.mutants import main as run
    except ImportError as missing:
        typer.echo(f"scorebed mutants cannot start: {missing}. It may need the extra dev: pip install 'scorebed[dev]'", err=True)
        raise typer.Exit(1) from missing
    raise typer.Exit(run(names or None))


if __name__ == "__main__":
    main()
