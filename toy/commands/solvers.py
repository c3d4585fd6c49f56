"""``scorebed solvers``."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from scorebed.toy.console import ManyValues, bar, known, main, one_thread, screen

_SORTS = ("name", "order", "nfe", "measured", "stable", "memory")
_KINDS = ("ODE", "SDE", "adaptive", "space", "gaussian", "phase", "bridge", "sequence", "jump")
LEGEND = (
    "claim: order, of a stochastic method weak / strong · measured: the order found, and the strong one · stable: how far the interval of "
    "stability reaches · NFE/step: evaluations a step · start: evaluations more in the first steps · memory: arrays kept besides x"
)


@main.command(cls=ManyValues)
def solvers(
    names: Annotated[list[str] | None, typer.Argument(metavar="[SOLVER…]", help="Which solvers; all by default.")] = None,
    kind: Annotated[str | None, typer.Option(metavar="KIND", help=f"One of {', '.join(_KINDS)}.")] = None,
    order: Annotated[float | None, typer.Option(metavar="P", help="Claimed order, of stochastic methods the weak one.")] = None,
    nfe_per_step: Annotated[int | None, typer.Option(metavar="N", help="Evaluations in a step.")] = None,
    stochastic: Annotated[bool | None, typer.Option("--stochastic/--deterministic", help="Methods that draw noise, or do not.")] = None,
    called: Annotated[str | None, typer.Option(metavar="NAME", help="What it is called elsewhere, e.g. 'DPM++ 2M Karras'.")] = None,
    sort: Annotated[str, typer.Option(metavar="COLUMN", help=f"By {', '.join(_SORTS)}; in families by default.")] = "",
    elsewhere: Annotated[bool, typer.Option("--elsewhere", help="Names in diffusers, k-diffusion, ComfyUI and A1111 instead.")] = False,
    measure: Annotated[bool, typer.Option("--measure/--claims", help="Measure, or only list claims and facts.")] = True,
) -> None:
    """The catalogue of solvers: what they claim, what their Plans show, what is measured, and what others call them.

    [dim]scorebed solvers --claims[/dim]
    [dim]scorebed solvers --kind ODE --order 3 --nfe-per-step 1 --claims --sort memory[/dim]
    [dim]scorebed solvers --called "DPM++ 2M Karras"[/dim]
    [dim]scorebed solvers --elsewhere[/dim]
    [dim]scorebed solvers heun dpmpp_2m unipc_2 --json[/dim]
    """
    one_thread()
    from scorebed.solvers import SOLVERS
    from scorebed.toy.foreign.names import LIBRARIES, LIKE, NAMES
    from scorebed.toy.foreign.names import called as ours
    from scorebed.toy.studies.catalogue import catalogue

    known(names, SOLVERS, "solver", "SOLVER")
    known([kind] if kind else None, dict.fromkeys(_KINDS), "kind", "--kind")
    known([sort] if sort else None, dict.fromkeys(_SORTS), "column", "--sort")
    if called is not None:
        found = ours(called)
        if found is None:
            others = sorted({one for table in NAMES.values() for text in table.values() for one in text.split(", ")})
            raise typer.BadParameter(f"nothing here is called {called!r} elsewhere; known: {', '.join(others)}", param_hint="--called")
        names = [*(names or ()), found]
    lines = [
        e for e in catalogue(names or list(SOLVERS), measure=False) if _wanted(e, SOLVERS[e.name], kind, order, nfe_per_step, stochastic)
    ]
    if measure and lines and not elsewhere:
        with bar() as report:
            lines = catalogue([e.name for e in lines], True, report)
    if sort:
        lines.sort(key=lambda e: _key(e, sort))
    table = Table(box=None, padding=(0, 2, 0, 0))
    if elsewhere or called is not None:
        for head in ("solver", *LIBRARIES):
            table.add_column(head, header_style="dim", overflow="fold")
        shown = [e for e in lines if e.name in NAMES]
        for e in shown:
            texts = (", ".join(f"{one} ≈" if one in LIKE else one for one in NAMES[e.name].get(lib, "").split(", ")) for lib in LIBRARIES)
            table.add_row(f"[bold]{e.name}[/bold]", *texts)
        screen(170).print(table)
        apart = {one: LIKE[one] for e in shown for text in NAMES[e.name].values() for one in text.split(", ") if one in LIKE}
        if apart:
            lines_of = "\n".join(f"  {one}: {why}" for one, why in apart.items())
            typer.echo(f"\n≈ not the same to the last coefficient:\n{lines_of}", err=True)
        return
    found_columns = ("measured", "strong", "stable") if measure else ()
    numbers = ("claim", *found_columns, "NFE/step", "start", "memory")
    for head in ("solver", "kind", *numbers, "reference"):
        table.add_column(head, justify="right" if head in numbers else "left", header_style="dim", no_wrap=head != "reference")
    for e in lines:
        claim = f"{e.order}" if e.weak is None else f"{e.weak:g}" + ("" if e.strong is None else f" / {e.strong:g}")
        measured = [str(o or "") for o in (e.measured, e.measured_strong)] + ["" if e.interval is None else f"{e.interval:.4g}"]
        counts = ("" if e.nfe is None else f"{e.nfe}", f"+{e.start}" if e.start else "", "" if e.history is None else f"{e.history}")
        name = f"[bold]{e.name}[/bold]" + (f" [dim]= {e.alias_of}[/dim]" if e.alias_of else "")
        table.add_row(name, e.kind, claim, *(measured if measure else ()), *counts, e.reference)
    screen(150).print(table)
    typer.echo(f"\n{len(lines)} methods. {LEGEND}", err=True)


def _wanted(e: Any, solver: Any, kind: str | None, order: float | None, nfe: int | None, stochastic: bool | None) -> bool:
    kinds = (e.kind, *solver.on, *(["space"] if solver.spaces else []))
    claim = e.order if e.weak is None else e.weak
    return (
        (kind is None or kind in kinds)
        and (order is None or claim == order)
        and (nfe is None or e.nfe == nfe)
        and (stochastic is None or stochastic == (e.weak is not None))
    )


def _key(e: Any, sort: str) -> tuple[bool, Any]:
    value = {
        "name": e.name,
        "order": -(e.order if e.weak is None else e.weak),
        "nfe": e.nfe,
        "measured": None if e.measured is None else -e.measured.slope,
        "stable": None if e.interval is None else -e.interval,
        "memory": e.history,
    }[sort]
    return value is None, value  # what has no value comes last
