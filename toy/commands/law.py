"""``scorebed law``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scorebed.toy.console import Force, ManyValues, known, main, one_thread, screen
from scorebed.toy.options import Dark, For, each


@main.command(cls=ManyValues)
def law(
    solvers: Annotated[
        list[str] | None, typer.Option(metavar="NAME…", help="Solvers with a Plan; four stochastic ones by default.")
    ] = None,
    steps: Annotated[list[int] | None, typer.Option(metavar="N…", min=1, help="Numbers of steps; 10 20 40 80.")] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the table and the figure go.")] = Path("out/law"),
    dark: Dark = False,
    purpose: For = None,
    force: Force = False,
) -> None:
    """The exact law of a solver's output in one dimension: density, tails, weak errors and their orders. No Monte Carlo.

    [dim]scorebed law[/dim]
    [dim]scorebed law --solvers ddpm dpmpp_2m_sde --steps 10 20 40[/dim]
    """
    one_thread()
    import pandas as pd
    from rich.table import Table

    from scorebed.analytic import GaussianMixture
    from scorebed.solvers import VP, grid, methods_on
    from scorebed.toy.figures.output_law import figure
    from scorebed.toy.figures.style import save
    from scorebed.toy.measure.convergence import order_of
    from scorebed.toy.measure.output_law import weak_errors
    from scorebed.toy.store.files import replace_text
    from scorebed.toy.store.owner import begin, sign

    default = ("euler_maruyama", "ddpm", "dpmpp_2s_ancestral", "churn")
    chosen = known(solvers or default, methods_on(), "solver", "--solvers")
    target = GaussianMixture([0.3, 0.7], [[-1.0], [1.2]], [0.04, 0.15])
    counts = sorted(set(steps or (10, 20, 40, 80)))
    grids = [grid.uniform_lam(VP(), n, end=0.03) for n in counts]
    arguments = {"solvers": [s.name for s in chosen], "steps": counts}
    begin(out, "law.csv", "law.json", arguments, force)
    try:
        table = pd.concat([weak_errors(solver, target, grids) for solver in each(chosen, lambda one: one.name)], ignore_index=True)
    except (TypeError, ValueError) as refused:
        raise typer.BadParameter(str(refused), param_hint="--solvers") from None
    replace_text(out / "law.csv", table.to_csv(index=False))
    sign(out, "law.json", arguments)
    page = Table(box=None, padding=(0, 2, 0, 0))
    for head in ("solver", "quantity", *(f"error, N = {n}" for n in counts), "weak order"):
        page.add_column(head, justify="left" if head in ("solver", "quantity") else "right", header_style="dim")
    for (solver, quantity), rows in table.groupby(["solver", "quantity"], sort=False):
        slope = order_of(list(rows.steps), list(rows.error)) if len(counts) > 1 else ""
        page.add_row(solver, quantity, *(f"{e:.2e}" for e in rows.error), str(slope))
    screen().print(page)
    files = save(figure(chosen, target, grids), out, "law", dark=dark)
    typer.echo(f"Written to {out}: law.csv  " + "  ".join(path.name for path in files))
