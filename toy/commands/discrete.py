"""``scorebed discrete``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scorebed.toy.console import Force, ManyValues, bar, known, main, one_thread, screen, taking
from scorebed.toy.options import Dark, For, each


@main.command(cls=ManyValues)
def discrete(
    methods: Annotated[
        list[str] | None, typer.Option(metavar="NAME…", help="Methods on tokens, your own as file.py:name, or all; eight by default.")
    ] = None,
    problems: Annotated[list[str] | None, typer.Option(metavar="NAME…", help="Joint tables, or all; four by default.")] = None,
    steps: Annotated[list[int] | None, typer.Option(metavar="N…", min=1, help="Numbers of steps; 4 8 16 32 64.")] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the table and the figures go.")] = Path("out/discrete"),
    figures: Annotated[bool, typer.Option("--figures/--no-figures", help="Draw the figures.")] = True,
    dark: Dark = False,
    purpose: For = None,
    force: Force = False,
) -> None:
    """Samplers of tokens against exact laws: total variation and KL with their orders, and which step loses what; two pictures.

    [dim]scorebed discrete[/dim]
    [dim]scorebed discrete --methods flow_euler flow_leaping jump_ancestral --problems hybrid_tokens metric_levels d3pm_levels[/dim]
    [dim]scorebed discrete --methods jump_euler theta_trapezoidal --problems masked_bits --steps 8 16 32 64 128[/dim]
    """
    one_thread()
    from rich.table import Table

    from scorebed.toy.figures import discrete as draw
    from scorebed.toy.figures.style import save
    from scorebed.toy.store.files import replace_text
    from scorebed.toy.studies import discrete as study

    chosen = known(methods or study.DEFAULT, study.known(), "method on tokens", "--methods")
    if other := [m.name for m in chosen if not study.followed(m)]:
        raise typer.BadParameter(f"{', '.join(other)}: no method whose draws of tokens can be followed", param_hint="--methods")
    if problems != ["all"]:
        known(problems, study.TABLES, "joint table", "--problems")
    wanted = list(study.TABLES) if problems == ["all"] else problems or study.USUAL
    places = [study.TABLES[name] for name in dict.fromkeys(wanted)]
    counts = sorted(set(steps or (4, 8, 16, 32, 64)))
    signed = taking("discrete.csv")
    with bar() as report:
        table = study.table(chosen, places, counts, report)
    replace_text(out / "discrete.csv", table.to_csv(index=False))
    signed()
    page = Table(box=None, padding=(0, 2, 0, 0))
    for head in ("method", "problem", "claim", "order", *(f"{n} steps" for n in counts), "KL"):
        page.add_column(head, justify="left" if head in ("method", "problem") else "right", header_style="dim", no_wrap=True)
    for (problem, method), rows in table.groupby(["problem", "method"], sort=False):
        last = rows.iloc[-1]
        order = "exact" if last["tv"] <= study.FLOOR else f"{last['order']:.2f}"
        page.add_row(method, problem, f"{last['claim']}", order, *(f"{v:.1e}" for v in rows["tv"]), f"{last['kl']:.1e}")
    screen().print(page)
    files = []
    if figures:
        files += save(draw.convergence(table), out, "convergence", dark=dark)
        for place in each(places, lambda one: f"drawing {one.name}"):
            here = [m for m in chosen if m.name in set(table[table["problem"] == place.name]["method"])]
            if here:
                files += save(draw.where(here, place, min(16, counts[-1])), out, f"where_{place.name}", dark=dark)
    typer.echo(f"Written to {out}: discrete.csv  " + "  ".join(path.name for path in files))
