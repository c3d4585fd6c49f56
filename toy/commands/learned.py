"""``scorebed learned``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scorebed.toy.console import Force, ManyValues, bar, known, main, one_thread, screen, taking
from scorebed.toy.options import Dark, For


@main.command(cls=ManyValues)
def learned(
    data: Annotated[list[str] | None, typer.Option("--data", metavar="NAME…", help="digits, torsions, wine; all by default.")] = None,
    train: Annotated[int, typer.Option(metavar="N", min=1, help="Steps of training of a network that is not in the cache.")] = 4000,
    width: Annotated[int, typer.Option(metavar="N", min=1, help="Of its hidden layers.")] = 128,
    steps: Annotated[int, typer.Option(metavar="N", min=2, help="Of the reverse chain that the budget is of.")] = 24,
    paths: Annotated[int, typer.Option(metavar="N", min=10, help="Forward paths that the total is measured with.")] = 400,
    seed: Annotated[int, typer.Option(help="Of training and draws.")] = 0,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where networks, tables and the figure go.")] = Path("out/learned"),
    dark: Dark = False,
    purpose: For = None,
    force: Force = False,
) -> None:
    """What did a network learn wrong? Small networks are trained on three data sets whose score is exact, and their error is split.

    The parts, prior, steps, gradient and solenoidal part of the score error, add up to the measured total, in nats. Needs torch.

    [dim]scorebed learned[/dim]
    [dim]scorebed learned --data torsions --train 500[/dim]
    """
    one_thread()
    import pandas as pd
    from rich.table import Table

    from scorebed.toy.figures.learned import figure
    from scorebed.toy.figures.style import save
    from scorebed.toy.store.files import replace_text
    from scorebed.toy.studies.learned import apart, budget, domains, network

    known(data, domains(), "data set", "--data")
    signed = taking("learned.csv")
    made = {}
    page = Table(box=None, padding=(0, 2, 0, 0))
    for head in ("data", "part", "nats", "± error"):
        page.add_column(head, justify="left" if head in ("data", "part") else "right", header_style="dim")
    for name in data or domains():
        domain = domains()[name]
        with bar() as report:
            net = network(domain, out / "networks", steps=train, width=width, seed=seed, report=report)
            made[name] = budget(domain, net.numpy, steps=steps, paths=paths, seed=seed, report=report)
        for row in made[name][0].itertuples():
            page.add_row(name, str(row.part), f"{row.nats:.4g}", f"{row.error:.2g}", end_section=row.part == "total")
    screen().print(page)
    for name, (table, _) in made.items():
        typer.echo(f"{name}: sum and total are {apart(table):.1f} standard errors apart")
    tables = pd.concat([table for table, _ in made.values()], ignore_index=True)
    replace_text(out / "learned.csv", tables.to_csv(index=False))
    levels = pd.concat([table.assign(domain=name) for name, (_, table) in made.items()], ignore_index=True)
    replace_text(out / "levels.csv", levels.to_csv(index=False))
    signed()
    files = save(figure(made), out, "learned", dark=dark)
    typer.echo(f"Written to {out}: learned.csv  levels.csv  networks/  " + "  ".join(path.name for path in files))
