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
from scorebed.toy.options import Dark, For

BUDGETS = (5, 10, 20, 40)
READY = ("scorebed.toy.studies.cell", "scorebed.toy.problems.registry")
"""What every row needs."""


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
    dark: Dark = False,
    purpose: For = None,
    device: Annotated[
        str | None, typer.Option(metavar="NAME", help="Instead: output laws by very many trajectories on this device, cuda or cpu.")
    ] = None,
    trajectories: Annotated[int, typer.Option(metavar="N", min=2, help="With --device: of every run.")] = 1_000_000,
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
    [dim]scorebed study --device cuda --problems product8d --nfe 10 20 40 80 --out out/many[/dim]
    [dim]scorebed study --problems phase bridge paired sequence --out out/processes[/dim]
    [dim]scorebed study --problems mixture1d --solvers heun --grids align_gaussian tangent flow_shift --out out/grids[/dim]
    """
    if device is not None:
        _many(device, trajectories, problems, solvers, grids, nfe, out, seed)
        return
    one_thread()
    check_engine(backend, scheduler)
    from scorebed.solvers import GRIDS
    from scorebed.toy.problems.registry import PROBLEMS
    from scorebed.toy.store.engines import engine
    from scorebed.toy.studies.study import AT_CHOICE, grids_of, pairs, run_study

    known(problems, PROBLEMS, "problem", "--problems")
    known(solvers, AT_CHOICE, "solver", "--solvers")
    known(grids, GRIDS, "grid", "--grids")
    try:
        pairs(problems, solvers)
    except ValueError as apart:
        raise typer.BadParameter(str(apart), param_hint="--solvers") from None
    try:
        cells = sum(len(grids_of(problem, grids)) * len(methods) for problem, methods in pairs(problems, solvers))
    except ValueError as unfit:
        raise typer.BadParameter(str(unfit), param_hint="--grids") from None
    began, budgets = time.perf_counter(), sorted(set(nfe or BUDGETS))
    how: dict[str, Any] = {"store": store, "fresh": fresh, "force": force}
    with keeping(store or out), engine(backend, jobs, scheduler, cells, READY) as who:
        Thread(target=import_module, args=("scorebed.toy.figures.report",), daemon=True).start()  # while others work
        with bar() as report:
            table = run_study(problems, solvers, grids, budgets, seed, out, report, backend=who, **how)
        took = time.perf_counter() - began
        from scorebed.toy.figures import report as pictures

        pages = pictures.tables(table, budgets, out, screen().print)
        with bar() as report:
            drawn = pictures.figures(table, out, seed, report, dark, who if who.near else "local", jobs) if figures else []
    files = [out / "results.csv", *pages, *(path for path in drawn if path.suffix == ".png")]
    typer.echo(f"{table.attrs['kept']} rows kept, {table.attrs['made']} measured in {took:.0f} s", nl=False)
    typer.echo(f", {time.perf_counter() - began:.0f} s with tables and figures; seed {seed}. Written to {out}:")
    typer.echo("  " + "  ".join(path.name for path in files))


def _many(
    device: str,
    n: int,
    problems: list[str] | None,
    solvers: list[str] | None,
    grids: list[str] | None,
    steps: list[int] | None,
    out: Path,
    seed: int,
) -> None:
    from rich.table import Table

    from scorebed.toy.store.files import ready, replace_text
    from scorebed.toy.studies.many import DEFAULT_GRIDS, DEFAULT_SOLVERS
    from scorebed.toy.studies.many import study as study_many

    ready(out)
    began = time.perf_counter()
    try:
        with bar() as report:
            table = study_many(
                problems or ("mixture1d", "product2d"),
                solvers or DEFAULT_SOLVERS,
                grids or DEFAULT_GRIDS,
                sorted(set(steps or (10, 40))),
                n=n,
                device=device,
                seed=seed,
                tell=report,
            )
    except (ValueError, RuntimeError) as problem:  # torch's own word where it knows no such device
        raise typer.BadParameter(str(problem).splitlines()[0], param_hint="--device, --problems, --solvers or --grids") from None
    replace_text(out / "many.csv", table.to_csv(index=False))
    best = table.sort_values("kolmogorov").groupby(["problem", "steps"], sort=True).head(3)
    page = Table(box=None, padding=(0, 2, 0, 0))
    for head in best.columns:
        page.add_column(head, justify="right" if best[head].dtype.kind in "if" else "left", header_style="dim", overflow="fold")
    for row in best.sort_values(["problem", "steps", "kolmogorov"]).itertuples(index=False):
        page.add_row(*(f"{v:.3g}" if isinstance(v, float) else str(v) for v in row))
    screen().print(page)
    typer.echo(
        f"{len(table)} runs of {n:,} trajectories in {time.perf_counter() - began:.0f} s, {table.seconds.sum():.1f} s of them the runs; "
        f"the best three of each are shown; seed {seed}. Written to {out}: many.csv"
    )
