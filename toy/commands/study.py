"""``scorebed study``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from scorebed.toy.console import ManyValues, bar, known, main, one_thread, screen

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
    jobs: Annotated[int | None, typer.Option(metavar="N", min=1, help="Processes; one for each core by default.")] = None,
    backend: Annotated[str, typer.Option(metavar="NAME", help="Who computes: local, or dask.")] = "local",
    scheduler: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Of a dask scheduler, such as tcp://head:8786.")] = None,
    store: Annotated[Path | None, typer.Option(metavar="FILE", help="Where rows are kept; store.sqlite in --out by default.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin a new store; the one that is there is set aside.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the results of another study in --out.")] = False,
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
    from scorebed.solvers import GRIDS, methods_on
    from scorebed.toy.figures import report as pictures
    from scorebed.toy.problems.registry import PROBLEMS
    from scorebed.toy.store.database import place
    from scorebed.toy.store.engines import BACKENDS
    from scorebed.toy.studies.study import pairs, run_study

    known(problems, PROBLEMS, "problem", "--problems")
    known(solvers, methods_on(), "solver", "--solvers")
    known(grids, GRIDS, "grid", "--grids")
    try:
        pairs(problems, solvers)
    except ValueError as apart:
        raise typer.BadParameter(str(apart), param_hint="--solvers") from None
    began, budgets = time.perf_counter(), sorted(set(nfe or BUDGETS))
    known([backend], dict.fromkeys(BACKENDS), "backend", "--backend")
    if (backend == "dask") != (scheduler is not None):
        raise typer.BadParameter("--backend dask and --scheduler ADDRESS go together", param_hint="--scheduler")
    how: dict[str, Any] = {"store": store, "fresh": fresh, "force": force, "jobs": jobs, "backend": backend, "scheduler": scheduler}
    try:
        with bar() as report:
            table = run_study(problems, solvers, grids, budgets, seed, out, report, **how)
            took = time.perf_counter() - began
            pages = pictures.tables(table, budgets, out, screen().print)
            drawn = pictures.figures(table, out, seed, report) if figures else []
    except KeyboardInterrupt:
        typer.echo(f"\nstopped; what was finished is kept in {place(store or out)}, and the same command goes on from there", err=True)
        raise typer.Exit(130) from None
    files = [out / "results.csv", *pages, *(path for path in drawn if path.suffix == ".png")]
    typer.echo(f"{table.attrs['kept']} rows kept, {table.attrs['made']} measured in {took:.0f} s", nl=False)
    typer.echo(f", {time.perf_counter() - began:.0f} s with tables and figures. Written to {out}:")
    typer.echo("  " + "  ".join(path.name for path in files))
