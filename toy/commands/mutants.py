"""``scorebed mutants``."""

from __future__ import annotations

from typing import Annotated

import typer

from toy.console import known, main


@main.command()
def mutants(
    names: Annotated[list[str] | None, typer.Argument(metavar="[SOLVER…]", help="Which solvers; all by default.")] = None,
) -> None:
    """Corrupt every coefficient of every solver by 1 %, and show which law notices."""
    from solvers import SOLVERS

    known(names, SOLVERS, "solver", "SOLVER")
    try:
        from toy.mutants import main as run
    except ImportError as missing:
        typer.echo(f"scorebed mutants cannot start: {missing}. It may need the extra dev: pip install 'scorebed[dev]'", err=True)
        raise typer.Exit(1) from missing
    raise typer.Exit(run(names or None))
