"""``scorebed solvers``."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from scorebed.toy.console import bar, known, main, one_thread, screen


@main.command()
def solvers(
    names: Annotated[list[str] | None, typer.Argument(metavar="[SOLVER…]", help="Which solvers; all by default.")] = None,
    measure: Annotated[bool, typer.Option("--measure/--claims", help="Measure, or only list claims and facts.")] = True,
) -> None:
    """The catalogue of solvers: what they claim, what their Plans show, and what is measured.

    [dim]scorebed solvers --claims[/dim]
    [dim]scorebed solvers heun dpmpp_2m unipc_2[/dim]
    """
    one_thread()
    from scorebed.solvers import SOLVERS
    from scorebed.toy.studies.catalogue import catalogue

    known(names, SOLVERS, "solver", "SOLVER")
    with bar() as report:
        lines = catalogue(names, measure, report)
    found = ("measured", "strong", "stable") if measure else ()
    numbers = ("claim", *found, "NFE/step", "start", "history")
    table = Table(box=None, padding=(0, 2, 0, 0))
    for head in ("solver", "kind", *numbers, "reference"):
        table.add_column(head, justify="right" if head in numbers else "left", header_style="dim", no_wrap=head != "reference")
    for e in lines:
        claim = f"{e.order}" if e.weak is None else f"{e.weak:g}" + ("" if e.strong is None else f" / {e.strong:g}")
        measured = [str(o or "") for o in (e.measured, e.measured_strong)] + ["" if e.interval is None else f"{e.interval:.4g}"]
        counts = ("" if e.nfe is None else f"{e.nfe}", f"+{e.start}" if e.start else "", "" if e.history is None else f"{e.history}")
        name = f"[bold]{e.name}[/bold]" + (f" [dim]= {e.alias_of}[/dim]" if e.alias_of else "")
        table.add_row(name, e.kind, claim, *(measured if measure else ()), *counts, e.reference)
    screen(150).print(table)
