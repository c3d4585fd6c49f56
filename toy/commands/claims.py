"""``scorebed claims``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scorebed.toy.console import Backend, Force, Fresh, Jobs, Scheduler, bar, check_engine, keeping, main, one_thread, screen
from scorebed.toy.options import Dark, For
from scorebed.toy.tables import document

if TYPE_CHECKING:
    from scorebed.toy.claims.registry import Claim


def _chosen(ids: list[int] | None, family: list[str] | None, search: str | None) -> list[Claim]:
    """The claims asked for by number, family and words; exit status 2 where nothing is meant."""
    from scorebed.toy.claims.families import FAMILIES
    from scorebed.toy.claims.registry import load

    known = load()
    unknown = [i for i in ids or () if i not in known]
    if unknown:
        wanted, numbers = ", ".join(map(str, unknown)), ", ".join(map(str, known))
        raise typer.BadParameter(f"no claim {wanted}; the claims are {numbers}", param_hint="ID")
    strange = [name for name in family or () if name not in FAMILIES]
    if strange:
        raise typer.BadParameter(f"no family {', '.join(strange)}; the families are {', '.join(FAMILIES)}", param_hint="--family")
    chosen = [known[i] for i in dict.fromkeys(ids or known)]
    chosen = [claim for claim in chosen if (not family or claim.family in family) and claim.says(search or "")]
    if not chosen:
        raise typer.BadParameter(f"no claim among them has the words {search!r}" if search else "no claim among them is in that family")
    return chosen


@main.command()
def claims(
    ids: Annotated[list[int] | None, typer.Argument(metavar="[ID…]", help="Numbers of claims; all by default.")] = None,
    family: Annotated[list[str] | None, typer.Option("--family", metavar="NAME", help="Only these subjects, e.g. guidance.")] = None,
    search: Annotated[str | None, typer.Option("--search", metavar="WORDS", help="Only claims that have all these words.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one record for each claim.")] = False,
    only_list: Annotated[bool, typer.Option("--list", help="Say which claims these are, and measure nothing.")] = False,
    figures: Annotated[bool, typer.Option("--figures", help="Also draw the figure of each.")] = False,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the table, the record and the figures go.")] = Path("out/claims"),
    dark: Dark = False,
    purpose: For = None,
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
    [dim]scorebed claims --family inversion-editing --search flow --json[/dim]
    """
    one_thread()
    from scorebed.toy.claims.common import told
    from scorebed.toy.claims.report import heads, record, save_all, show
    from scorebed.toy.claims.run import beside, run_claims
    from scorebed.toy.figures.style import save
    from scorebed.toy.store.files import ready

    chosen = _chosen(ids, family, search)
    if only_list:
        if as_json:
            typer.echo(document(heads(chosen)))
        else:
            for head in heads(chosen):
                typer.echo(f"{head['id']:>4}  {head['family']:<18} {head['reference']:<18} {head['paper']}")
        return
    check_engine(backend, scheduler)
    console, files = screen(), []
    with keeping(ready(out)), bar() as report:
        others = {} if fresh else beside(out, out, chosen, force)
        found, kept = run_claims(chosen, out, report, fresh=fresh, jobs=jobs, backend=backend, scheduler=scheduler)
        for claim, verdict in found.items():
            if not as_json:
                show(claim, verdict, console)
            if figures and claim.draw is not None:
                files += save(told(claim, verdict), out, f"claim_{claim.id}", dark=dark)
        files = save_all({**found, **others}, out) + files
    wrong = [claim for claim, verdict in found.items() if not claim.as_it_must(verdict)]
    count = {status: sum(v.status == status for v in found.values()) for status in ("holds", "false as printed", "does not hold")}
    controls = sum(v.control_fails for v in found.values())
    if as_json:
        typer.echo(document([record(claim, verdict) for claim, verdict in found.items()]))
    else:
        console.print("\n" + ", ".join(f"{n} {status}" for status, n in count.items() if n) + f"; {controls} of {len(found)} controls fail")
    written = f"Written to {out}: {len(files)} files, claims.json and claims.csv among them"
    typer.echo(f"{kept} kept, {len(found) - kept} measured. {written}", err=as_json)
    if wrong:
        typer.echo("Not as it must be: " + ", ".join(str(claim.id) for claim in wrong), err=True)
        raise typer.Exit(1)
