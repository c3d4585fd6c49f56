"""``scorebed budget``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scorebed.toy.console import Force, ManyValues, known, main, one_thread, screen
from scorebed.toy.options import Dark, For, each


@main.command(cls=ManyValues)
def budget(
    solvers: Annotated[list[str] | None, typer.Option(metavar="NAME…", help="Solvers; heun, dpmpp_2m and ddpm by default.")] = None,
    steps: Annotated[list[int] | None, typer.Option(metavar="N…", min=1, help="Numbers of steps; 5 10 20 40 80.")] = None,
    target: Annotated[str, typer.Option(help="gaussian (in the plane) or mixture (on the line).")] = "gaussian",
    gradient: Annotated[float, typer.Option(help="Gradient part of the score error: s + g s.")] = 0.01,
    solenoidal: Annotated[float, typer.Option(help="Solenoidal part of the score error: s + S s; none on the line.")] = 0.05,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the table and the figure go.")] = Path("out/budget"),
    dark: Dark = False,
    purpose: For = None,
    force: Force = False,
) -> None:
    """The exact error budget in W2: truncation, initialisation, discretisation, and the gradient and solenoidal parts of a score error.

    [dim]scorebed budget[/dim]
    [dim]scorebed budget --target mixture --solvers ddim heun --steps 5 10 20[/dim]
    """
    one_thread()
    import pandas as pd
    from rich.table import Table

    from scorebed.analytic import GaussianMixture
    from scorebed.solvers import VP, grid, methods_on
    from scorebed.toy.figures.budget import figure
    from scorebed.toy.figures.style import save
    from scorebed.toy.store.files import replace_text
    from scorebed.toy.store.owner import begin, sign
    from scorebed.toy.studies.budget import ScoreError, budgets

    chosen = known(solvers or ("heun", "dpmpp_2m", "ddpm"), methods_on(), "solver", "--solvers")
    known([target], {"gaussian": 0, "mixture": 0}, "target", "--target")
    law = GaussianMixture([1.0], [[1.0, -0.5]], [[[1.0, 0.3], [0.3, 0.2]]])
    error = ScoreError(gradient, solenoidal)
    if target == "mixture":
        law, error = GaussianMixture([0.3, 0.7], [[-1.0], [1.2]], [0.04, 0.15]), ScoreError(gradient)
    counts = sorted(set(steps or (5, 10, 20, 40, 80)))
    grids = [grid.uniform_lam(VP(), n, end=0.01) for n in counts]
    named = list(solvers or [one.name for one in chosen])
    arguments = {
        "solvers": named,
        "steps": counts,
        "target": target,
        "gradient": gradient,
        "solenoidal": solenoidal,
    }
    begin(out, "budget.csv", "budget.json", arguments, force)
    try:
        tables = [budgets(one, law, grids, score_error=error) for one in each(chosen, lambda one: one.name)]
    except (TypeError, ValueError) as refused:
        raise typer.BadParameter(str(refused), param_hint="--solvers") from None
    table = pd.concat(tables, ignore_index=True)
    replace_text(out / "budget.csv", table.to_csv(index=False))
    sign(out, "budget.json", arguments)
    page = Table(box=None, padding=(0, 2, 0, 0))
    for head in ("solver", "part", *(f"W2, N = {n}" for n in counts)):
        page.add_column(head, justify="left" if head in ("solver", "part") else "right", header_style="dim")
    for (solver, part), rows in table.groupby(["solver", "part"], sort=False):
        page.add_row(solver, part, *(f"{w:.2e}" for w in rows.w2), end_section=part == "total")
    screen().print(page)
    files = save(figure(tables), out, "budget", dark=dark)
    typer.echo(f"Written to {out}: budget.csv  " + "  ".join(path.name for path in files))
