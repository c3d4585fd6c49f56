"""``scorebed maps``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scorebed.toy.console import ManyValues, bar, known, main, one_thread, screen


@main.command(cls=ManyValues)
def maps(
    families: Annotated[list[str] | None, typer.Option(metavar="NAME…", help="Families of few-step methods; all by default.")] = None,
    steps: Annotated[list[int] | None, typer.Option(metavar="N…", min=1, help="Numbers of steps, of 1 2 4 8 16; 1 2 4 8.")] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the table and the figures go.")] = Path("out/maps"),
    figures: Annotated[bool, typer.Option("--figures/--no-figures", help="Draw the two figures.")] = True,
    dark: Annotated[bool, typer.Option("--dark", help="Also draw the figures for a dark slide.")] = False,
) -> None:
    """Few-step maps: the error of each family by number of steps beside the exact map; exact laws on three modes, no sampling.

    [dim]scorebed maps[/dim]
    [dim]scorebed maps --families consistency trained ddim --steps 1 2 4 8 16[/dim]
    """
    one_thread()
    from rich.markup import escape
    from rich.table import Table

    from scorebed.toy.figures import maps as draw
    from scorebed.toy.figures.style import save
    from scorebed.toy.problems.lines import modes
    from scorebed.toy.store.files import ready, replace_text
    from scorebed.toy.studies import maps as study

    known(families, study.FAMILIES, "family", "--families")
    counts = sorted(set(steps or (1, 2, 4, 8)))
    wrong = [n for n in counts if study.FINE % n]
    if wrong:
        raise typer.BadParameter(f"{wrong[0]} does not divide {study.FINE}: give 1, 2, 4, 8 or 16", param_hint="--steps")
    ready(out)
    with bar() as report:
        table = study.table(list(dict.fromkeys(families or study.FAMILIES)), counts, report=report)
    replace_text(out / "maps.csv", table.to_csv(index=False))
    page = Table(box=None, padding=(0, 2, 0, 0))
    for head in ("family", "", *(f"W1, N = {n}" for n in counts)):
        page.add_column(head, justify="left" if head in ("family", "") else "right", header_style="dim", no_wrap=True)
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
    if figures:
        files += save(draw.errors(table), out, "errors", dark=dark)
        files += save(draw.maps(modes()), out, "maps", dark=dark)
    typer.echo(f"Written to {out}: maps.csv  " + "  ".join(path.name for path in files))
