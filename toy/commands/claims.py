"""``scorebed claims``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scorebed.toy.console import bar, main, one_thread, screen


@main.command()
def claims(
    ids: Annotated[list[int] | None, typer.Argument(metavar="[ID…]", help="Numbers of claims; all by default.")] = None,
    figures: Annotated[bool, typer.Option("--figures", help="Also draw the figure of each.")] = False,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the table, the record and the figures go.")] = Path("out/claims"),
    dark: Annotated[bool, typer.Option("--dark", help="With --figures: also for a dark slide.")] = False,
) -> None:
    """Claims of papers as experiments: measured against their bounds, each with a negative control that must fail.

    Exit status 1 if a claim has another verdict than the one asserted, or if a control passes.

    [dim]scorebed claims[/dim]
    [dim]scorebed claims 3 192 --figures[/dim]
    """
    one_thread()
    from scorebed.toy.claims.registry import load
    from scorebed.toy.claims.report import save_all, show
    from scorebed.toy.figures.style import save

    known = load()
    unknown = [i for i in ids or () if i not in known]
    if unknown:
        wanted, numbers = ", ".join(map(str, unknown)), ", ".join(map(str, known))
        raise typer.BadParameter(f"no claim {wanted}; the claims are {numbers}", param_hint="ID")
    chosen = [known[i] for i in dict.fromkeys(ids or known)]
    console, found, files = screen(), {}, []
    with bar() as report:
        for i, claim in enumerate(chosen):
            report(i, len(chosen), f"claim {claim.id}")
            found[claim] = claim.run()
            show(claim, found[claim], console)
            if figures:
                files += save(claim.draw(), out, f"claim_{claim.id}", dark=dark)
    files = save_all(found, out) + files
    wrong = [claim for claim, verdict in found.items() if not claim.as_it_must(verdict)]
    count = {status: sum(v.status == status for v in found.values()) for status in ("holds", "false as printed", "does not hold")}
    controls = sum(v.control_fails for v in found.values())
    console.print("\n" + ", ".join(f"{n} {status}" for status, n in count.items() if n) + f"; {controls} of {len(found)} controls fail")
    typer.echo(f"Written to {out}: {len(files)} files, claims.json and claims.csv among them")
    if wrong:
        typer.echo("Not as it must be: " + ", ".join(str(claim.id) for claim in wrong), err=True)
        raise typer.Exit(1)
