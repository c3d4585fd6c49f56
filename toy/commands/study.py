"""``scorebed study``."""

from __future__ import annotations

import time
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Annotated, Any

import typer

from scorebed.toy.console import (
    Backend,
    Force,
    Fresh,
    Jobs,
    ManyValues,
    Place,
    Scheduler,
    bar,
    check_engine,
    keeping,
    known,
    main,
    one_thread,
    screen,
)

BUDGETS = (5, 10, 20, 40)


def _budget(text: str | int) -> int:
    try:
        if int(text) < 1:
            raise ValueError
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a number of evaluations: give integers of at least 1") from None
    return int(text)


@main.command(cls=ManyValues)
def study(
    problems: Annotated[list[str] | None, typer.Option(metavar="NAME…", help="Problems, or all; those of R^d by default.")] = None,
    solvers: Annotated[list[str] | None, typer.Option(metavar="NAME…", help="Solvers, or all; a few well-known ones by default.")] = None,
    grids: Annotated[list[str] | None, typer.Option(metavar="NAME…", help="Grids, or all; each problem's own by default.")] = None,
    nfe: Annotated[
        list[int] | None, typer.Option(metavar="N…", parser=_budget, help="Budgets of evaluations of the denoiser; 5 10 20 40.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where results, tables and figures go.")] = Path("out"),
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of the initial states.")] = 0,
    figures: Annotated[bool, typer.Option("--figures/--no-figures", help="Draw the figures.")] = True,
    jobs: Jobs = None,
    backend: Backend = "local",
    scheduler: Scheduler = None,
    store: Place = None,
    fresh: Fresh = False,
    force: Force = False,
) -> None:
    """Measure solvers against exact truth: order of convergence, and error at a number of evaluations.

    Every row is kept the moment it is known: the same command goes on where it was stopped, and a longer one computes what is missing.

    [dim]scorebed study[/dim]
    [dim]scorebed study --problems mixture1d product2d --solvers heun dpmpp_2m --nfe 6 12 24[/dim]
    [dim]scorebed study --problems digits --grids uniform_lam karras --out out/digits[/dim]
    [dim]scorebed study --problems sphere so3 torus box hyperbolic --out out/spaces[/dim]
    [dim]scorebed study --problems mixture1d --solvers heun --grids align_gaussian tangent flow_shift --out out/grids[/dim]
    """
    one_thread()
    check_engine(backend, scheduler)
    from scorebed.solvers import GRIDS
    from scorebed.toy.problems.registry import PROBLEMS
    from scorebed.toy.studies.study import AT_CHOICE, pairs, run_study

    known(problems, PROBLEMS, "problem", "--problems")
    known(solvers, AT_CHOICE, "solver", "--solvers")
    known(grids, GRIDS, "grid", "--grids")
    try:
        pairs(problems, solvers)
    except ValueError as apart:
        raise typer.BadParameter(str(apart), param_hint="--solvers") from None
    began, budgets = time.perf_counter(), sorted(set(nfe or BUDGETS))
    how: dict[str, Any] = {"store": store, "fresh": fresh, "force": force, "jobs": jobs, "backend": backend, "scheduler": scheduler}
    Thread(target=import_module, args=("scorebed.toy.figures.report",), daemon=True).start()  # while the processes work
    with keeping(store or out), bar() as report:
        table = run_study(problems, solvers, grids, budgets, seed, out, report, **how)
    took = time.perf_counter() - began
    from scorebed.toy.figures import report as pictures

    with bar() as report:
        pages = pictures.tables(table, budgets, out, screen().print)
        drawn = pictures.figures(table, out, seed, report) if figures else []
    files = [out / "results.csv", *pages, *(path for path in drawn if path.suffix == ".png")]
    typer.echo(f"{table.attrs['kept']} rows kept, {table.attrs['made']} measured in {took:.0f} s", nl=False)
    typer.echo(f", {time.perf_counter() - began:.0f} s with tables and figures. Written to {out}:")
    typer.echo("  " + "  ".join(path.name for path in files))
