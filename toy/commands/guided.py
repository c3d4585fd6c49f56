"""``scorebed guided``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scorebed.toy.console import Dark, For, ManyValues, bar, known, main, one_thread, screen


@main.command(cls=ManyValues)
def guided(
    problem: Annotated[str, typer.Option(metavar="NAME", help="gaussian, or classes.")] = "classes",
    rules: Annotated[list[str] | None, typer.Option(metavar="NAME…", help="cfg, interval; cfg by default.")] = None,
    solvers: Annotated[list[str] | None, typer.Option(metavar="NAME…", help="Methods; ddim and ddpm.")] = None,
    scales: Annotated[list[float] | None, typer.Option(metavar="W…", help="Guidance scales; 1 2 3 5 8.")] = None,
    steps: Annotated[list[int] | None, typer.Option(metavar="N…", min=2, help="Numbers of steps; 5 10 20 40 80.")] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the table and the figures go.")] = Path("out/guided"),
    figures: Annotated[bool, typer.Option("--figures/--no-figures", help="Draw the two figures.")] = True,
    dark: Dark = False,
    purpose: For = None,
) -> None:
    """What guidance samples, against p_c^w p_u^(1-w), which it means: its bias apart from the discretisation error. Exact, no samples.

    [dim]scorebed guided[/dim]
    [dim]scorebed guided --problem gaussian --scales 1 4 7.5 --solvers dpmpp_2m ddpm[/dim]
    [dim]scorebed guided --rules cfg interval --solvers ddim --steps 5 10 20[/dim]
    """
    one_thread()
    from rich.table import Table

    from scorebed.solvers import SOLVERS
    from scorebed.toy.figures import guided as draw
    from scorebed.toy.figures.style import save
    from scorebed.toy.problems.guided import GUIDED
    from scorebed.toy.store.files import ready, replace_text
    from scorebed.toy.studies import guided as study

    lines = {name: p for name, p in GUIDED.items() if p.given.d == 1}
    known([problem], lines, "problem of guidance on the line", "--problem")
    known(rules, study.RULES, "rule on the line", "--rules")
    known(solvers, SOLVERS, "solver", "--solvers")
    ready(out)
    place, wanted = lines[problem], list(dict.fromkeys(solvers or ("ddim", "ddpm")))
    try:
        with bar() as report:
            table = study.table(
                place,
                list(dict.fromkeys(rules or ("cfg",))),
                wanted,
                scale=scales or (1.0, 2.0, 3.0, 5.0, 8.0),
                steps=steps or (5, 10, 20, 40, 80),
                report=report,
            )
    except ValueError as problem_told:
        raise typer.BadParameter(str(problem_told)) from None
    replace_text(out / "guided.csv", table.to_csv(index=False))
    page = Table(box=None, padding=(0, 2, 0, 0))
    for head in ("rule", "solver", "scale", "steps", "bias", "discretisation", "total"):
        page.add_column(head, justify="left" if head in ("rule", "solver") else "right", header_style="dim", no_wrap=True)
    for row in table.itertuples():
        page.add_row(
            row.rule, row.solver, f"{row.scale:g}", str(row.steps), f"{row.bias:.4f}", f"{row.discretisation:.4f}", f"{row.total:.4f}"
        )
    screen().print(page)
    files = []
    if figures:
        files += save(draw.bias_and_steps(table), out, "guided", dark=dark)
        chosen = sorted(table.scale.unique())
        files += save(draw.laws(place, wanted[:3], chosen[:: max(1, (len(chosen) - 1) // 2)][:3]), out, "laws", dark=dark)
    typer.echo(f"Written to {out}: guided.csv  " + "  ".join(path.name for path in files))
