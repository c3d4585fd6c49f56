"""``scorebed doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from scorebed.toy.console import (
    Backend,
    Force,
    Fresh,
    Jobs,
    ManyValues,
    Scheduler,
    bar,
    check_engine,
    keeping,
    known,
    main,
    one_thread,
    screen,
)


@main.command(cls=ManyValues)
def doctor(
    solvers: Annotated[list[str] | None, typer.Option(metavar="NAME…", help="Methods, your own as file.py:name; all by default.")] = None,
    faces: Annotated[list[str] | None, typer.Option(metavar="NAME…", help="sample, Plan.run, gpu.run, scheduler; all by default.")] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the table goes.")] = Path("out/doctor"),
    jobs: Jobs = None,
    backend: Backend = "local",
    scheduler: Scheduler = None,
    fresh: Fresh = False,
    force: Force = False,
) -> None:
    """Bad input and shared memory: every method by every face under every kind is refused clearly, or gives what the good call gives.

    Exit status 1 if anything is silently wrong, or refused by an error that does not say what was wrong.

    [dim]scorebed doctor[/dim]
    [dim]scorebed doctor --solvers heun ddpm --faces sample gpu.run[/dim]
    """
    one_thread()
    check_engine(backend, scheduler)
    from rich.table import Table

    from scorebed.solvers import SOLVERS, distinct
    from scorebed.toy.properties.faces import FACES
    from scorebed.toy.store.files import replace_text
    from scorebed.toy.store.owner import begin, sign
    from scorebed.toy.studies.doctor import BAD, summary, table

    methods = known(solvers, SOLVERS, "solver", "--solvers")
    known(faces, FACES, "face", "--faces")
    chosen = methods if solvers and solvers != ["all"] else list(distinct().values())
    arguments: dict[str, Any] = {"solvers": [s.name for s in chosen], "faces": list(faces or FACES)}
    begin(out, "doctor.csv", "doctor.json", arguments, force)
    how: dict[str, Any] = {"jobs": jobs, "backend": backend, "scheduler": scheduler, "fresh": fresh}
    with keeping(out), bar() as report:
        found = table(chosen, arguments["faces"], report, out, **how)
    replace_text(out / "doctor.csv", found.to_csv(index=False))
    sign(out, "doctor.json", arguments)
    counts = summary(found)
    page = Table(box=None, padding=(0, 2, 0, 0))
    for head in ("kind", "face", *counts.columns):
        page.add_column(head, justify="left" if head in ("kind", "face") else "right", header_style="dim", no_wrap=True)
    for (kind, face), row in counts.iterrows():
        page.add_row(kind, face, *(str(n) if n else "" for n in row))
    screen().print(page)
    bad = found[found.verdict.isin(BAD)]
    for row in bad.itertuples():
        typer.echo(f"{row.verdict}: {row.solver} by {row.face}, {row.kind}: {row.said}")
    totals = ", ".join(f"{n} {verdict}" for verdict, n in found.verdict.value_counts().items())
    typer.echo(f"{len(found)} cells of {len(chosen)} methods: {totals}; {found.attrs['kept']} parts kept, {found.attrs['made']} examined.")
    typer.echo(f"Written to {out}: doctor.csv")
    if len(bad):
        raise typer.Exit(1)
