"""``scorebed check-grid``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from scorebed.toy.console import main
from scorebed.toy.tables import document


def _read(path: Path) -> dict[str, Any]:
    """A dump: JSON, an object with ``sigmas`` and the like or a bare list; else numbers with spaces, commas or lines between them."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise typer.BadParameter(f"{path} cannot be read: {problem}") from None
    try:
        made = json.loads(text)
    except json.JSONDecodeError:
        try:
            made = [float(word) for word in text.replace(",", " ").split()]
        except ValueError as problem:
            raise typer.BadParameter(f"{path} holds neither JSON nor numbers: {problem}") from None
    if isinstance(made, list):
        return {"sigmas": made}
    known = ("sigmas", "timesteps", "convention", "shift", "steps", "last", "name")
    unknown = sorted(set(made) - set(known)) if isinstance(made, dict) else ["no object"]
    if unknown:
        raise typer.BadParameter(f"{path} has {', '.join(unknown)}: a dump is a list, or an object of {', '.join(known)}")
    return made


@main.command("check-grid")
def check_grid_command(
    dump: Annotated[Path, typer.Argument(metavar="FILE", help="The levels as the engine wrote them: JSON, or plain numbers.")],
    convention: Annotated[str | None, typer.Option(metavar="NAME", help="What the numbers mean; seen by their ends without.")] = None,
    shift: Annotated[float | None, typer.Option(metavar="S", help="The time shift that the grid claims, e^mu for a dynamic one.")] = None,
    steps: Annotated[int | None, typer.Option(metavar="N", help="How many evaluations the run was asked for.")] = None,
    last: Annotated[float | None, typer.Option(metavar="X", help="The last level before the clean end that is claimed.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Is a list of noise levels what its convention, its shift and its number of steps say?

    Strictly monotone, ends right, shift applied once, N evaluations, precision, direction, timesteps that belong to the levels, several
    clocks. The exit status is 0 where everything passes, 1 where something fails, 2 for a wrong use.

    [dim]scorebed check-grid sigmas.txt --convention flow --shift 3 --steps 50[/dim]
    [dim]scorebed check-grid dump.json[/dim]      {"sigmas": {"video": […], "audio": […]}, "shift": {"video": 9, "audio": 1}, "steps": 4}
    """
    from scorebed.toy.conform.grid import check_grid

    given = _read(dump)
    options = {"convention": convention, "shift": shift, "steps": steps, "last": last}
    given.update({key: value for key, value in options.items() if value is not None})
    given.setdefault("name", dump.name)
    try:
        result = check_grid(**given)
    except (TypeError, ValueError) as problem:
        raise typer.BadParameter(str(problem)) from None
    typer.echo(document(result.as_dict()) if as_json else str(result))
    raise typer.Exit(0 if result.passed else 1)
