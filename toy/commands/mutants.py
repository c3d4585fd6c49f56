"""``scorebed mutants``."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from scorebed.toy.console import Jobs, ManyValues, bar, keeping, known, main, screen


@main.command(cls=ManyValues)
def mutants(
    names: Annotated[list[str] | None, typer.Argument(metavar="[SOLVER…]", help="Which solvers; all by default.")] = None,
    spaces: Annotated[
        bool, typer.Option("--spaces", help="The methods that move in a Space: every number in their source instead.")
    ] = False,
    store: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where judgements are kept, so that the same command goes on from them.")
    ] = None,
    jobs: Jobs = None,
) -> None:
    """Corrupt every coefficient of every solver by 1 %, its drift and its noise by a tenth, and show which property notices.

    [dim]scorebed mutants[/dim]
    [dim]scorebed mutants heun dpmpp_2m[/dim]
    [dim]scorebed mutants --jobs 1 --store out/mutants.sqlite[/dim]
    [dim]scorebed mutants --spaces[/dim]
    """
    if spaces:
        if names or store is not None or jobs is not None:
            raise typer.BadParameter("with --spaces every method on spaces is judged, one after the other: give nothing else")
        from scorebed.toy.properties.space_mutants import main as run_spaces

        raise typer.Exit(min(run_spaces(show=screen().print), 1))
    from scorebed.solvers import SOLVERS

    known(names, SOLVERS, "solver", "SOLVER")
    try:
        from scorebed.toy.properties.survivors import main as run
    except ImportError as missing:
        typer.echo(f"scorebed mutants cannot start: {missing}. It may need the extra dev: pip install 'scorebed[dev]'", err=True)
        raise typer.Exit(1) from missing
    with bar() as report, nullcontext() if store is None else keeping(store):
        wrong = run(names or None, screen().print, report, where=store, jobs=jobs)
    raise typer.Exit(wrong)
