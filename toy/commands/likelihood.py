"""``scorebed likelihood``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scorebed.toy.console import Force, ManyValues, known, main, one_thread, screen, taking
from scorebed.toy.options import Dark, For, each


@main.command(cls=ManyValues)
def likelihood(
    solvers: Annotated[list[str] | None, typer.Option(metavar="NAME…", help="Deterministic solvers; ddim, heun and dpmpp_3m.")] = None,
    steps: Annotated[list[int] | None, typer.Option(metavar="N…", min=1, help="Numbers of steps; 8 16 32 64 128.")] = None,
    probes: Annotated[int, typer.Option(metavar="M", min=0, help="Hutchinson's probes of signs; 0 for the exact trace.")] = 4,
    gradient: Annotated[float, typer.Option(help="Gradient part of the score error: s + g s.")] = 0.001,
    solenoidal: Annotated[float, typer.Option(help="Solenoidal part of the score error: s + S s.")] = 0.02,
    samples: Annotated[int, typer.Option(metavar="N", min=2, help="How many data log p is taken at.")] = 64,
    by: Annotated[str, typer.Option(help="quadrature of the divergence, or determinant of the solver's map.")] = "quadrature",
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the table and the figure go.")] = Path("out/likelihood"),
    dark: Dark = False,
    purpose: For = None,
    force: Force = False,
) -> None:
    """Whose is which part of the error of log p: the prior's, the steps', the score's, the probes'. Exact, on a product of mixtures.

    [dim]scorebed likelihood[/dim]
    [dim]scorebed likelihood --solvers unipc_3 --probes 1 --steps 10 20 40[/dim]
    """
    one_thread()
    import pandas as pd
    from rich.table import Table

    from scorebed.solvers import VP, grid, methods_on
    from scorebed.toy.figures.likelihood import figure
    from scorebed.toy.figures.style import save
    from scorebed.toy.problems.products import product2d
    from scorebed.toy.store.files import replace_text
    from scorebed.toy.studies.budget import ScoreError
    from scorebed.toy.studies.likelihood import split

    methods = known(solvers or ("ddim", "heun", "dpmpp_3m"), methods_on(), "solver", "--solvers")
    known([by], {"quadrature": 0, "determinant": 0}, "way", "--by")
    signed = taking("likelihood.csv")
    law, counts = product2d(), sorted(set(steps or (8, 16, 32, 64, 128)))
    grids = [grid.uniform_lam(VP(), n, end=0.02)[::-1] for n in counts]
    x, error = law.sample(samples, 0, grids[0][0]), ScoreError(gradient, solenoidal)
    options = {"error": error, "by": by, "probes": probes if by == "quadrature" else 0}
    try:
        made = [[split(one, law, nodes, x, **options) for nodes in grids] for one in each(methods, lambda m: m.name)]  # type: ignore[arg-type]
    except (TypeError, ValueError) as refused:
        raise typer.BadParameter(str(refused), param_hint="--solvers") from None
    tables = [pd.concat(rows, ignore_index=True) for rows in made]
    table = pd.concat(tables, ignore_index=True)
    replace_text(out / "likelihood.csv", table.to_csv(index=False))
    signed()
    page = Table(box=None, padding=(0, 2, 0, 0))
    for head in ("solver", "part", *(f"N = {n}" for n in counts)):
        page.add_column(head, justify="left" if head in ("solver", "part") else "right", header_style="dim")
    for (solver, part), rows in table.groupby(["solver", "part"], sort=False):
        page.add_row(str(solver), str(part), *(f"{v:.2e}" for v in rows.rms), end_section=part == "probes")
    screen().print("RMS error of log p over the data, nats")
    screen().print(page)
    files = save(figure(tables), out, "likelihood", dark=dark)
    typer.echo(f"Written to {out}: likelihood.csv  " + "  ".join(path.name for path in files))
