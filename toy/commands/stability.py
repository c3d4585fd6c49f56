"""``scorebed stability``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scorebed.toy.console import (
    Backend,
    Force,
    Fresh,
    Jobs,
    ManyValues,
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

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table


@main.command(cls=ManyValues)
def stability(
    solvers: Annotated[list[str] | None, typer.Option(metavar="NAME…", help="Solvers that have a Plan; eight by default.")] = None,
    steps: Annotated[list[int] | None, typer.Option(metavar="N…", min=1, help="Numbers of steps; 5 to 100.")] = None,
    guidance: Annotated[list[float] | None, typer.Option(metavar="W…", min=0.0, help="Guidance scales; 1 to 30.")] = None,
    bound: Annotated[
        float, typer.Option(metavar="X", min=1.0, help="An error of the first state may grow to this many times its size.")
    ] = 1.0,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where tables and figures go.")] = Path("out/stability"),
    figures: Annotated[bool, typer.Option("--figures/--no-figures", help="Draw the figures.")] = True,
    dark: Dark = False,
    purpose: For = None,
    jobs: Jobs = None,
    backend: Backend = "local",
    scheduler: Scheduler = None,
    fresh: Fresh = False,
    force: Force = False,
) -> None:
    """Regions of absolute stability, and what becomes of a small error along a grid: stiff, near a manifold, guided. Exact, no runs.

    [dim]scorebed stability[/dim]
    [dim]scorebed stability --solvers lms_4 pndm ghvb_1 ghvb_2 ghvb_4 --steps 5 10 20 40[/dim]
    [dim]scorebed stability --solvers dpmpp_2m unipc_3 --guidance 1 2 4 7.5 15 --out out/guidance --dark[/dim]
    """
    one_thread()
    from rich.table import Table

    from scorebed.solvers import methods_on
    from scorebed.toy.figures.amplification import heat_map, limit_lines
    from scorebed.toy.figures.stability import regions
    from scorebed.toy.figures.style import save
    from scorebed.toy.store.files import replace_text
    from scorebed.toy.store.owner import begin, sign
    from scorebed.toy.studies.amplification import DEFAULT, SCALES, STEPS, amplifications, fewest_steps, limits
    from scorebed.toy.studies.stability import families, intervals

    chosen = known(solvers or DEFAULT, methods_on(), "solver", "--solvers")
    counts, scales = sorted(set(steps or STEPS)), sorted({1.0, *(guidance or SCALES)})
    methods = [one for one in chosen if one.nonlinear is None]
    if left := [one.name for one in chosen if one.nonlinear is not None]:
        typer.echo(f"Left out, for they have no Plan: {', '.join(left)}")
    if not methods:
        raise typer.BadParameter("none of these has a Plan, of which amplification is a product", param_hint="--solvers")
    check_engine(backend, scheduler)
    arguments = {"solvers": [s.name for s in methods], "steps": counts, "guidance": scales, "bound": bound}
    begin(out, "amplification.csv", "stability.json", arguments, force)
    how: dict[str, Any] = {"where": out, "jobs": jobs, "backend": backend, "scheduler": scheduler}
    try:
        with keeping(out), bar() as report:
            table = amplifications(methods, steps=counts, guidance=scales, report=report, fresh=fresh, **how)
            most = limits(methods, counts, bound=bound, report=report, **how)
    except (TypeError, ValueError) as refused:
        raise typer.BadParameter(str(refused), param_hint="--solvers") from None
    least = fewest_steps(table, bound)
    lengths = intervals(
        {s.name: s for s in methods} if solvers else {f"{g}, {k}": s for g, part in families().items() for k, s in part.items()}
    )
    for name, rows in (("amplification", table), ("limits", most), ("fewest_steps", least), ("intervals", lengths)):
        replace_text(out / f"{name}.csv", rows.to_csv(index=False))
    sign(out, "stability.json", arguments)
    page = Table(box=None, padding=(0, 2, 0, 0), title="Largest guidance scale that stays bounded, by steps", title_justify="left")
    for head in ("solver", *map(str, counts)):
        page.add_column(head, justify="left" if head == "solver" else "right", header_style="dim", no_wrap=True)
    for solver, rows in most.groupby("solver", sort=False):
        found = dict(zip(rows["steps"], rows["guidance"], strict=True))
        page.add_row(solver, *(f"{found[n]:.3g}" if n in found else "–" for n in counts))
    screen().print(page)
    screen().print(_fewest(least))
    names = ["amplification.csv", "limits.csv", "fewest_steps.csv", "intervals.csv"]
    if figures:
        groups = families()
        if solvers:
            autonomous = set(lengths.loc[lengths["length"].notna(), "solver"])
            groups = {s.name: {s.name: s} for s in methods if s.name in autonomous}
        with bar() as report:
            report(0, 1, "drawing regions")
            drawn = {"regions": regions(groups, points=101)} if groups else {}
        drawn |= {"heat_map": heat_map(table, most, bound=bound), "limits": limit_lines(table, most)}
        names += [path.name for name, figure in drawn.items() for path in save(figure, out, name, dark=dark)]
    kept, made = (table.attrs[what] + most.attrs[what] for what in ("kept", "made"))
    typer.echo(f"{kept} parts kept, {made} measured. Written to {out}: " + "  ".join(names))


def _fewest(least: pd.DataFrame) -> Table:
    """The fewest steps without guidance and at a few guidance scales."""
    from rich.table import Table

    scales = least["guidance"].drop_duplicates()
    shown = sorted({float(scales.iloc[(scales - w).abs().argmin()]) for w in (1.0, 2.0, 4.0, 7.5, 15.0)})
    page = Table(box=None, padding=(0, 2, 0, 0), title="Fewest steps from which on all are bounded", title_justify="left")
    plain = [s for s in least["problem"].unique() if s != "guided"]
    for head in ("solver", *plain, *(f"w = {w:.3g}" for w in shown)):
        page.add_column(head, justify="left" if head == "solver" else "right", header_style="dim", no_wrap=True)
    for solver, rows in least.groupby("solver", sort=False):
        cells = [rows[rows["problem"] == s] for s in plain]
        cells += [rows[(rows["problem"] == "guided") & (rows["guidance"] == w)] for w in shown]
        page.add_row(solver, *("–" if part.empty or part["steps"].isna().all() else f"{part['steps'].iloc[0]:.0f}" for part in cells))
    return page
