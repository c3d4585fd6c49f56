"""``scorebed schedules``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from scorebed.toy.commands.tune import LIBRARY, MODEL, PREDICTION, SCHEDULE, SHAPE, setting_of
from scorebed.toy.console import Force, ManyValues, bar, known, main, one_thread, screen, taking
from scorebed.toy.options import Dark, For
from scorebed.toy.tables import document


@main.command(cls=ManyValues)
def schedules(
    model: MODEL = "product2d",
    solver: Annotated[str, typer.Option(metavar="NAME", help="A deterministic method; auto asks advise.")] = "ddim",
    steps: Annotated[int, typer.Option("--steps", "--nfe", metavar="N", min=2, help="Of every schedule.")] = 6,
    makers: Annotated[list[str] | None, typer.Option(metavar="NAMES", help="Schedules that are made; all by default.")] = None,
    states: Annotated[int, typer.Option(metavar="N", min=2, help="States that schedules are made on.")] = 48,
    held_out: Annotated[int, typer.Option("--held-out", metavar="N", min=4, help="States that they are judged on.")] = 96,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of the states.")] = 0,
    per_step: Annotated[bool, typer.Option("--per-step/--one-solver", help="Choose a formula for every step too.")] = True,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where tables and the picture go.")] = Path("out/schedules"),
    figures: Annotated[bool, typer.Option("--figures/--no-figures", help="Draw the picture.")] = True,
    dark: Dark = False,
    purpose: For = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    shape: SHAPE = None,
    schedule: SCHEDULE = "VP",
    prediction: PREDICTION = "eps",
    library: LIBRARY = "torch",
    force: Force = False,
) -> None:
    """Which schedule? Usual ones, closed forms and ones made for the model, judged on states never used, beside as many random ones.

    [dim]scorebed schedules[/dim]
    [dim]scorebed schedules --model product8d --solver dpmpp_2m --steps 8[/dim]
    [dim]scorebed schedules --model galaxy-hsc-32 --solver ddim --steps 10 --states 8 --held-out 16 --makers klub gits spectrum[/dim]
    """
    one_thread()
    import pandas as pd
    from rich.table import Table

    from scorebed.solvers import methods_on
    from scorebed.toy.store.files import replace_text
    from scorebed.toy.tuning.advise import auto
    from scorebed.toy.tuning.schedule_makers import MAKERS
    from scorebed.toy.tuning.schedules import bench, table

    named = [] if solver == "auto" else known([solver], methods_on(), "solver", "--solver")
    known(makers, MAKERS, "maker", "--makers")
    signed = taking("schedules.csv")
    setting = setting_of(model, shape, schedule, prediction, library)
    if solver == "auto":
        found = auto(setting, steps)
        solver, method = found.label, found.solver
    else:
        method = named[0]
    how: dict[str, Any] = {"states": states, "held_out": held_out, "seed": seed, "per_step": per_step}
    try:
        with bar() as report:
            rows = table(bench(setting, method, steps, makers=makers, report=report, **how))
    except ValueError as problem:
        raise typer.BadParameter(str(problem)) from None
    data = pd.DataFrame(rows)
    replace_text(out / "schedules.csv", data.drop(columns="lams").to_csv(index=False))
    signed()
    replace_text(out / "schedules.json", json.dumps({row["schedule"]: row["times"] for row in rows}, indent=1) + "\n")
    if as_json:
        typer.echo(document({"model": setting.name, "solver": solver, "steps": steps, "schedules": rows}))
        return
    page = Table(box=None, padding=(0, 2, 0, 0), title=f"[bold]{setting.name}[/bold], {solver}, {steps} steps", title_justify="left")
    for head in ("schedule", "kind", "NFE", "in sample", "held out", "95 %", "against the best usual one"):
        page.add_column(head, justify="left" if head in ("schedule", "kind") else "right", header_style="dim", no_wrap=True)
    for row in rows:
        between = f"{row['low']:.3g} to {row['high']:.3g}"
        against = f"{row['ratio']:.2f} [{row['ratio low']:.2f}, {row['ratio high']:.2f}]"
        page.add_row(row["schedule"], row["kind"], str(row["nfe"]), f"{row['train']:.3g}", f"{row['error']:.3g}", between, against)
    screen(140).print(page)
    typer.echo("in sample: on the states that schedules are made on, where the best usual one is chosen; random: as many as were searched")
    files = ["schedules.csv", "schedules.json"]
    if figures:
        from scorebed.toy.figures.schedules import draw
        from scorebed.toy.figures.style import save

        files += [path.name for path in save(draw(data, f"{setting.name}, {solver}, {steps} steps"), out, "schedules", dark=dark)]
    typer.echo(f"Written to {out}: " + "  ".join(files))
