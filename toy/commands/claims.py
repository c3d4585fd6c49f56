"""``scorebed claims``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scorebed.toy.console import Backend, Force, Fresh, Jobs, Scheduler, bar, check_engine, keeping, main, one_thread, screen


@main.command()
def claims(
    ids: Annotated[list[int] | None, typer.Argument(metavar="[ID…]", help="Numbers of claims; all by default.")] = None,
    figures: Annotated[bool, typer.Option("--figures", help="Also draw the figure of each.")] = False,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the table, the record and the figures go.")] = Path("out/claims"),
    dark: Annotated[bool, typer.Option("--dark", help="With --figures: also for a dark slide.")] = False,
    jobs: Jobs = None,
    backend: Backend = "local",
    scheduler: Scheduler = None,
    fresh: Fresh = False,
    force: Force = False,
) -> None:
    """Claims of papers as experiments: measured against their bounds, each with a negative control that must fail.

    Every verdict is kept the moment it is known: the same command goes on where it was stopped. Claims that were measured into the same
    folder before stay in its tables. Exit status 1 if a claim has another verdict than the one asserted, or if a control passes.

    [dim]scorebed claims[/dim]
    [dim]scorebed claims 3 192 --figures[/dim]
    """
    one_thread()
    from scorebed.toy.claims.registry import load
    from scorebed.toy.claims.report import save_all, show
    from scorebed.toy.claims.run import beside, run_claims
    from scorebed.toy.figures.style import save
    from scorebed.toy.store.files import ready

    known = load()
    unknown = [i for i in ids or () if i not in known]
    if unknown:
        wanted, numbers = ", ".join(map(str, unknown)), ", ".join(map(str, known))
        raise typer.BadParameter(f"no claim {wanted}; the claims are {numbers}", param_hint="ID")
    chosen = [known[i] for i in dict.fromkeys(ids or known)]
    check_engine(backend, scheduler)
    console, files = screen(), []
    with keeping(ready(out)), bar() as report:
        others = {} if fresh else beside(out, out, chosen, force)
        found, kept = run_claims(chosen, out, report, fresh=fresh, jobs=jobs, backend=backend, scheduler=scheduler)
        for claim, verdict in found.items():
            show(claim, verdict, console)
            if figures and claim.draw is not None:
                files += save(claim.draw(), out, f"claim_{claim.id}", dark=dark)
        files = save_all({**found, **others}, out) + files
    wrong = [claim for claim, verdict in found.items() if not claim.as_it_must(verdict)]
    count = {status: sum(v.status == status for v in found.values()) for status in ("holds", "false as printed", "does not hold")}
    controls = sum(v.control_fails for v in found.values())
    console.print("\n" + ", ".join(f"{n} {status}" for status, n in count.items() if n) + f"; {controls} of {len(found)} controls fail")
    typer.echo(f"{kept} kept, {len(found) - kept} measured. Written to {out}: {len(files)} files, claims.json and claims.csv among them")
    if wrong:
        typer.echo("Not as it must be: " + ", ".join(str(claim.id) for claim in wrong), err=True)
        raise typer.Exit(1)
