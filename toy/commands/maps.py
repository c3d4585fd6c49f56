"""``scorebed maps``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scorebed.toy.console import Force, ManyValues, bar, known, main, one_thread, screen, taking
from scorebed.toy.options import Dark, For

if TYPE_CHECKING:
    import pandas as pd


@main.command(cls=ManyValues)
def maps(
    families: Annotated[list[str] | None, typer.Option(metavar="NAME…", help="Families of few-step methods; all by default.")] = None,
    steps: Annotated[list[int] | None, typer.Option(metavar="N…", min=1, help="Numbers of steps, of 1 2 4 8 16; 1 2 4 8.")] = None,
    rounds: Annotated[int, typer.Option(metavar="N", min=0, max=4, help="Also what N rounds of reflow and distillation gain.")] = 0,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the table and the figures go.")] = Path("out/maps"),
    figures: Annotated[bool, typer.Option("--figures/--no-figures", help="Draw the two figures.")] = True,
    dark: Dark = False,
    purpose: For = None,
    force: Force = False,
) -> None:
    """Few-step maps: the error of each family by number of steps beside the exact map; exact laws on three modes, no sampling.

    [dim]scorebed maps[/dim]
    [dim]scorebed maps --families reflow_once progressive --rounds 3[/dim]
    [dim]scorebed maps --families consistency trained ddim --steps 1 2 4 8 16[/dim]
    """
    one_thread()
    from rich.markup import escape
    from rich.table import Table

    from scorebed.toy.figures import maps as draw
    from scorebed.toy.figures.style import save
    from scorebed.toy.problems.lines import modes
    from scorebed.toy.store.files import replace_text
    from scorebed.toy.studies import maps as study

    known(families, study.FAMILIES, "family", "--families")
    counts = sorted(set(steps or (1, 2, 4, 8)))
    wrong = [n for n in counts if study.FINE % n]
    if wrong:
        raise typer.BadParameter(f"{wrong[0]} does not divide {study.FINE}: give 1, 2, 4, 8 or 16", param_hint="--steps")
    signed = taking("maps.csv")
    with bar() as report:
        table = study.table(list(dict.fromkeys(families or study.FAMILIES)), counts, report=report)
    replace_text(out / "maps.csv", table.to_csv(index=False))
    signed()
    page = Table(box=None, padding=(0, 2, 0, 0))
    for head in ("family", "what", *(f"W1, N = {n}" for n in counts)):
        page.add_column(head, justify="left" if head in ("family", "what") else "right", header_style="dim", no_wrap=True)
    before = None
    for name, rows in table.groupby("family", sort=False):
        group = rows.group.iloc[0]
        if before not in (None, group):
            page.add_section()
        before = group
        page.add_row(str(name), escape(rows.what.iloc[0]), *(f"{v:.1e}" for v in rows.w1))
    screen().print(page)
    screen().print("Exact models are at the floor of the quadrature in any number of steps: the bound of all others.", style="dim")
    files = []
    if rounds:
        gained = _rounds(rounds, counts)
        replace_text(out / "rounds.csv", gained.to_csv(index=False))
        typer.echo(f"Written to {out}: rounds.csv")
    if figures:
        files += save(draw.errors(table), out, "errors", dark=dark)
        files += save(draw.maps(modes()), out, "maps", dark=dark)
    typer.echo(f"Written to {out}: maps.csv  " + "  ".join(path.name for path in files))


def _rounds(count: int, steps: list[int]) -> pd.DataFrame:
    """The table of rounds, printed."""
    from rich.table import Table

    from scorebed.toy.studies import map_rounds

    with bar() as report:
        table = map_rounds.table(count, steps, report=report)
    for fit, part in table.groupby("fit", sort=False):
        page = Table(box=None, padding=(0, 2, 0, 0), title=f"W1 by round, fits off by {fit:+.0%}" if fit else "W1 by round, exact fits")
        for head in ("by", *(f"round {r}" for r in range(count + 1))):
            page.add_column(head, justify="left" if head == "by" else "right", header_style="dim", no_wrap=True)
        tower = part[part.kind == "progressive"]
        page.add_row("progressive", *(f"{w:.1e} (N = {n})" for w, n in zip(tower.w1, tower.steps, strict=True)))
        for n, row in part[part.kind == "reflow"].groupby("steps"):
            page.add_row(f"reflow, N = {n}", *(f"{w:.1e}" for w in row.w1))
        screen().print(page)
    screen().print(
        "Round 0 is the teacher of 16 steps. The first reflow has its error in any number of steps; later rounds keep it.", style="dim"
    )
    return table
