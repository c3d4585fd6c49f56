"""``scorebed cache``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from scorebed.toy.commands.tune import LIBRARY, MODEL, PREDICTION, SCHEDULE, SHAPE, setting_of
from scorebed.toy.console import Force, ManyValues, bar, main, one_thread, screen, taking
from scorebed.toy.options import Dark, For


@main.command(cls=ManyValues)
def cache(
    model: MODEL = "product2d",
    solver: Annotated[str, typer.Option(metavar="NAME", help="The method whose evaluations are cached; auto asks advise.")] = "dpmpp_2m",
    steps: Annotated[int, typer.Option("--steps", "--nfe", metavar="N", min=2, help="Of the full run.")] = 20,
    grid: Annotated[str, typer.Option(metavar="NAME", help="Of the full run.")] = "uniform_lam",
    what: Annotated[str, typer.Option(metavar="NAME", help="The prediction that is held: denoised, eps, score, v, flow.")] = "eps",
    tolerance: Annotated[float, typer.Option(metavar="X", help="What a threshold rule may cost, in units of the data (RMS).")] = 0.02,
    states: Annotated[int, typer.Option(metavar="N", min=4, help="States of the model that are run.")] = 64,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of the states.")] = 0,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the table and the picture go.")] = Path("out/cache"),
    figures: Annotated[bool, typer.Option("--figures/--no-figures", help="Draw the picture.")] = True,
    dark: Dark = False,
    purpose: For = None,
    shape: SHAPE = None,
    schedule: SCHEDULE = "VP",
    prediction: PREDICTION = "eps",
    library: LIBRARY = "torch",
    force: Force = False,
) -> None:
    """What does skipping evaluations cost? Order, stability, exact and measured errors of caches, the threshold for a tolerance.

    [dim]scorebed cache[/dim]
    [dim]scorebed cache --model digits --solver ddim --steps 30 --what eps --tolerance 0.01[/dim]
    [dim]scorebed cache --model galaxy-hsc-32 --solver dpmpp_2m --steps 20 --what score[/dim]
    """
    one_thread()
    import pandas as pd
    from rich.table import Table

    from scorebed.solvers import GRIDS, PREDICTIONS, methods_on
    from scorebed.toy.console import known
    from scorebed.toy.store.files import replace_text
    from scorebed.toy.tuning.advise import auto
    from scorebed.toy.tuning.caches import table

    named = [] if solver == "auto" else known([solver], methods_on(), "solver", "--solver")
    known([grid], GRIDS, "grid", "--grid")
    known([what], dict.fromkeys(PREDICTIONS), "prediction", "--what")
    signed = taking("cache.csv")
    setting = setting_of(model, shape, schedule, prediction, library)
    if solver == "auto":
        found = auto(setting, steps)
        solver, method = found.label, found.solver
    else:
        method = named[0]
    try:
        with bar() as report:
            rows = table(setting, method, steps, grid=grid, what=what, tolerance=tolerance, states=states, seed=seed, report=report)
    except ValueError as problem:
        raise typer.BadParameter(str(problem)) from None
    data = pd.DataFrame(rows)
    replace_text(out / "cache.csv", data.to_csv(index=False))
    signed()
    page = Table(box=None, padding=(0, 2, 0, 0), title=f"[bold]{setting.name}[/bold], {solver}, {steps} steps", title_justify="left")
    for head in ("cache", "NFE", "rounds", "order", "stable to", "predicted", "on the twin", "error", "without", "gains"):
        page.add_column(head, justify="left" if head == "cache" else "right", header_style="dim", no_wrap=True)
    for row in rows:
        order = "–" if row["order"] is None else str(row["order"])
        stable = "–" if math.isnan(row["interval"]) else f"{row['interval']:.3g}"
        errors = (f"{row[k]:.3g}" for k in ("predicted", "on the twin", "error", "fewer steps"))
        page.add_row(row["cache"], str(row["nfe"]), str(row["rounds"]), order, stable, *errors, "yes" if row["wins"] else "")
    screen().print(page)
    typer.echo(
        "predicted: RMS error on the Gaussian of the same spectrum, in closed form; on the twin: the same by a run; error: median on the\n"
        "model; without: the same solver with as many evaluations, or rounds, and no cache; stable to: −z of dy/dρ = λy, for one step."
    )
    files = ["cache.csv"]
    if figures:
        from scorebed.toy.figures.caches import draw
        from scorebed.toy.figures.style import save

        files += [path.name for path in save(draw(data, f"{setting.name}, {solver}"), out, "cache", dark=dark)]
    typer.echo(f"Seed {seed}. Written to {out}: " + "  ".join(files))
