"""``scorebed museum``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from scorebed.toy.console import ManyValues, bar, known, main, one_thread, screen
from scorebed.toy.tables import document


@main.command(cls=ManyValues)
def museum(
    names: Annotated[list[str] | None, typer.Argument(metavar="[EXHIBIT…]", help="Which exhibits; all by default.")] = None,
    check: Annotated[list[str] | None, typer.Option(metavar="CHECK…", help="Only those that these checks find.")] = None,
    listed: Annotated[bool, typer.Option("--list", help="List them and look at none.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """The museum of defects: public faults as minimal cases, each found unaided by a check, each with a mended twin that is not flagged.

    The exit status is 1 where a defect is not found and named, or a twin is flagged.

    [dim]scorebed museum[/dim]
    [dim]scorebed museum --check check_grid check_posterior[/dim]
    [dim]scorebed museum second_slope_of_heun[/dim]
    """
    one_thread()
    from rich.table import Table

    from scorebed.toy.museum.registry import CHECKS, load

    exhibits = load()
    known(names, exhibits, "exhibit", "EXHIBIT")
    known(check, CHECKS, "check", "--check")
    chosen = [e for e in exhibits.values() if (not names or e.name in names) and (not check or e.check in check)]
    if listed:
        if as_json:
            typer.echo(document([_told(e) for e in chosen]))
            return
        page = Table(box=None, padding=(0, 2, 0, 0))
        for head in ("exhibit", "check", "thread", "what was written"):
            page.add_column(head, header_style="dim", overflow="fold")
        for e in chosen:
            page.add_row(f"[bold]{e.name}[/bold]", e.check, e.thread, e.fault)
        screen(170).print(page)
        return
    seen = []
    with bar() as report:
        for i, e in enumerate(chosen):
            report(i, len(chosen), e.name)
            seen.append(e.run())
    wrong = [s for s in seen if not s.right]
    figure = (
        f"{sum(s.found for s in seen)} of {len(seen)} found, {sum(s.named for s in seen)} named, "
        f"{sum(s.flagged for s in seen)} of {len(seen)} mended twins flagged; the slowest took {max(s.seconds for s in seen):.1f} s"
    )
    if as_json:
        marks = ("found", "named", "flagged", "said", "seconds")
        rows = [_told(s.exhibit) | {mark: getattr(s, mark) for mark in marks} for s in seen]
        typer.echo(document({"figure": figure, "exhibits": rows}))
    else:
        page = Table(box=None, padding=(0, 2, 0, 0))
        for head in ("exhibit", "check", "thread", "said", "found", "twin"):
            page.add_column(head, header_style="dim", overflow="fold")
        for s in seen:
            shown = ("[green]yes[/green]" if s.found and s.named else "[red]no[/red]", "[red]flagged[/red]" if s.flagged else "passes")
            page.add_row(f"[bold]{s.exhibit.name}[/bold]", s.exhibit.check, s.exhibit.thread, s.said.partition(";")[0][:70], *shown)
        screen(190).print(page)
        typer.echo(f"\n{figure}")
    if wrong:
        typer.echo("Not as it must be: " + ", ".join(s.exhibit.name for s in wrong), err=True)
        raise typer.Exit(1)


def _told(exhibit: Any) -> dict[str, Any]:
    return {"name": exhibit.name, "check": exhibit.check, "thread": exhibit.address, "fault": exhibit.fault}
